"""Source as an archive: unpacked so that nothing in it can reach outside the tree, and never without a limit.

The rules are those of tarfile's `data` filter (leading slashes go, no way out, no devices, no foreign owners, no special modes), done
here for two reasons: Debian 12's Python 3.11.2 has no filters, and theirs judge by what a path resolves to, which archives have
tricked (CVE-2025-4517). Here nothing is written through a symbolic link that the archive brought, so names mean what they say.
"""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from .failure import OTHER, UNSAFE, FetchError

KINDS = (".tgz", ".tar.gz", ".tar", ".zip")
MAX_BYTES = 8 * 1024**3
MAX_ENTRIES = 500_000
_CHUNK = 1024 * 1024
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # an encrypted entry
    ValueError,
)


def check_kind(name: str) -> None:
    """The archive's kind is told by its name; refuse before anything is downloaded."""
    if not name.endswith(KINDS):
        raise FetchError(UNSAFE, f"the archive's name must end in one of {', '.join(KINDS)}")


def extract(
    archive: Path, name: str, tree: Path, *, max_bytes: int = MAX_BYTES, max_entries: int = MAX_ENTRIES
) -> None:
    """Unpacks the archive into the tree. `name` is the one under which it was stored: it tells the kind."""
    check_kind(name)
    target = _Target(tree, max_bytes, max_entries)
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                _extract_zip(opened, target)
        else:
            with tarfile.open(archive, "r:" if name.endswith(".tar") else "r:gz") as opened_tar:
                _extract_tar(opened_tar, target)
    except OSError as error:  # gzip's own errors are OSErrors too, but without a number
        code = OTHER if error.errno in (errno.ENOSPC, errno.EDQUOT) else UNSAFE
        raise FetchError(code, f"the archive cannot be unpacked: {error}") from error
    except _DAMAGED as error:
        raise FetchError(UNSAFE, f"the archive cannot be unpacked: {error}") from error


@dataclass(slots=True)
class _Target:
    """The tree under construction, with what is left of its limits."""

    tree: Path
    bytes_left: int
    entries_left: int
    links: set[PurePosixPath] = field(default_factory=set)

    def place(self, name: str) -> Path:
        """Where an entry goes; counts it, and refuses names that lead out or through a link of the archive."""
        self.entries_left -= 1
        if self.entries_left < 0:
            raise FetchError(UNSAFE, "the archive has too many entries")
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise FetchError(UNSAFE, f"the archive holds the unsafe name {name!r}")
        if not self.links.isdisjoint(path.parents):
            raise FetchError(UNSAFE, f"the archive writes {name!r} through a symbolic link")
        return self.tree / path

    def make_file(self, name: str, content: IO[bytes], *, executable: bool) -> None:
        """Writes one file. What was there under its name (an archive may repeat one) is replaced, never written through."""
        path = self._clear(name)
        with path.open("xb") as file:
            while chunk := content.read(_CHUNK):
                self.bytes_left -= len(chunk)
                if self.bytes_left < 0:
                    raise FetchError(UNSAFE, "the archive is too large when unpacked")
                file.write(chunk)
        path.chmod(0o755 if executable else 0o644)

    def make_directory(self, name: str) -> None:
        """Makes one directory."""
        path = self.place(name)
        if path.is_symlink():
            raise FetchError(UNSAFE, f"the archive holds {name!r} twice: as a link and as a directory")
        path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def make_link(self, name: str, target: str) -> None:
        """Makes one symbolic link whose target stays inside the tree, judged by its text alone.

        Going up is allowed at the beginning only: there it starts at a real directory, later it could start where another link leads.
        """
        path, parts = self._clear(name), PurePosixPath(target).parts
        ups = next((index for index, part in enumerate(parts) if part != ".."), len(parts))
        if ups >= len(PurePosixPath(name).parts) or ".." in parts[ups:] or "/" in parts or "\0" in target or not target:
            raise FetchError(UNSAFE, f"the archive's link {name!r} leads out of it")
        path.symlink_to(target)
        self.links.add(PurePosixPath(name))

    def make_hard_link(self, name: str, target: str) -> None:
        """Makes a second name of a file that the archive brought before."""
        existing = self.place(target)
        if existing.is_symlink() or not existing.is_file():
            raise FetchError(UNSAFE, f"the archive's hard link {name!r} does not name an earlier file")
        self._clear(name).hardlink_to(existing)

    def _clear(self, name: str) -> Path:
        path = self.place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.exists():
            path.unlink()
            self.links.discard(PurePosixPath(name))
        return path


def _extract_tar(archive: tarfile.TarFile, target: _Target) -> None:
    for member in archive:
        name = member.name.lstrip("/")
        if PurePosixPath(name) == PurePosixPath("."):
            continue
        if member.isdir():
            target.make_directory(name)
        elif member.issym():
            target.make_link(name, member.linkname)
        elif member.islnk():
            target.make_hard_link(name, member.linkname)
        elif member.isreg():
            content = archive.extractfile(member)
            if content is None:
                raise FetchError(UNSAFE, f"the archive holds no content for {name!r}")
            target.make_file(name, content, executable=bool(member.mode & 0o100))
        else:
            raise FetchError(UNSAFE, f"the archive holds {name!r}, which is no file, directory or link")


def _extract_zip(archive: zipfile.ZipFile, target: _Target) -> None:
    for entry in archive.infolist():
        mode = entry.external_attr >> 16
        # zipfile turns backslashes and cuts at NUL by itself; the original name is what is judged.
        name = entry.orig_filename
        if entry.is_dir():
            target.make_directory(name)
        elif stat.S_ISLNK(mode):
            if entry.file_size > 4096:
                raise FetchError(UNSAFE, f"the archive's link {name!r} has an absurd target")
            target.make_link(name, archive.read(entry).decode("utf-8"))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            with archive.open(entry) as content:
                target.make_file(name, content, executable=bool(mode & 0o100))
        else:
            raise FetchError(UNSAFE, f"the archive holds {name!r}, which is no file, directory or link")


def empty(tree: Path) -> None:
    """Removes what a first attempt of the same container left."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True, exist_ok=True)
