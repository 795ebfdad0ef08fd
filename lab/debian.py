"""A Debian 12 base image made on this machine, for when no public registry answers. Used by `images.py`.

debootstrap takes half a minute; `images.py` keeps what comes of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lab import packages
from lab.command import Progress, run

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
INCLUDE = "ca-certificates"
BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")

# What a base image for builds is not asked for, as in Debian's own slim images.
UNWANTED = (
    "var/cache/apt/archives/*.deb",
    "var/lib/apt/lists/*",
    "var/log/*.log",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
)

RECIPE = f"1 {SUITE} {MIRROR} {INCLUDE} {UNWANTED}"
"""Part of the image's input hash: raise the number when `root_archive` changes in a way this text does not show."""


@contextmanager
def root_archive(work: Path, bundle: bytes, progress: Progress) -> Iterator[IO[bytes]]:
    """A tar of a new root file system with this CA bundle in it; made in `work`, where nothing of it stays."""
    with root(work, "debian", INCLUDE, progress) as folder:
        (folder / BUNDLE).write_bytes(bundle)
        archive = folder.parent / "root.tar"
        pack(folder, archive, progress)
        with archive.open("rb") as file:
            yield file


@contextmanager
def root(work: Path, name: str, include: str, progress: Progress) -> Iterator[Path]:
    """A new root file system with these packages, in a folder of its own in `work`, where nothing of it stays."""
    debootstrap = packages.find("debootstrap", ["debootstrap"], progress)
    unshare = packages.find("unshare", ["util-linux"], progress)
    what = f"making a Debian 12 root file system ({name}) with debootstrap"
    progress(f"{what} (about 45 s, once)")
    work.mkdir(parents=True, exist_ok=True)
    for left in work.glob(f".{name}-*"):  # of a lab that was killed; the caller's lock says none is at work
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=work) as folder:
        made = Path(folder) / "root"
        # In a mount namespace of its own: it mounts /proc, and must not leave that mounted when it is killed.
        apart: list[str | Path] = [unshare, "--mount", "--fork", "--kill-child"]
        run(
            what,
            [*apart, debootstrap, "--variant=minbase", f"--include={include}", SUITE, made, MIRROR],
            progress,
            _env(),
        )
        for path in [path for pattern in UNWANTED for path in made.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        yield made


def pack(root: Path, archive: Path, progress: Progress) -> None:
    """Write the tar of a root file system. The image is made of its files alone: /dev is the container's own."""
    command: list[str | Path] = ["tar", "-C", root, "--numeric-owner", "--exclude=./dev/*", "-cf", archive, "."]
    run("packing the image", command, progress, _env())


def _env() -> dict[str, str]:
    """Scripts of packages look for their tools on PATH; a user's PATH may lack /usr/sbin."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def host_bundle() -> bytes:
    """The CA certificates that this machine trusts; empty when it keeps none where programs look for them."""
    for path in (
        os.environ.get("SSL_CERT_FILE"),
        f"/{BUNDLE}",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return b""
