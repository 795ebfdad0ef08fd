"""Official archives of programs: quickly found to be out of reach, never used without the right checksum."""

from __future__ import annotations

import hashlib
import http.client
import platform
import shutil
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.command import PROGRESS_EVERY, Progress
from lab.errors import LabError
from lab.toolchain.cache import cache_folder, locked

ANSWERS_WITHIN = 5.0
"""Seconds to find out whether an archive can be had: name, connection, redirects and the first header together."""

SILENT_FOR = 10.0
"""Seconds without a byte after which a download is given up."""

ENDS_WITHIN = 300.0
"""Seconds after which a download takes longer than building."""

CHUNK = 1 << 18
FAILURES = (OSError, http.client.HTTPException, tarfile.TarError, LabError)


@dataclass(frozen=True, slots=True)
class Archive:
    """One .tar.gz with programs in it, wherever in it they lie."""

    name: str
    url: str
    sha512: str
    programs: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its programs are kept; another checksum is another folder."""
        return cache_folder() / "tools" / f"{self.name}-{self.sha512[:16]}"


ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
ENVTEST, SERVER = "1.37.0", "1.37.1"
SHA512: Mapping[str, Mapping[str, str]] = {
    # From envtest-releases.yaml of kubernetes-sigs/controller-tools, which is what setup-envtest checks against.
    "envtest": {
        "amd64": "1d1c453633b72c161a5d5a886cde7ac850be1a2ac796a9e1d4ffacacc64868295bdd2d57aa66cd0c158f5ce510f5dfe3fbc61ac21bd3dcfb875bd70658aa663a",  # noqa: E501
        "arm64": "ae6a670502988200b0131c943758cfd3d3a58cf4e6247ef7f0e6a6467f1cd9a333c802e86101f0446b1b92a0e327387224e1e44fe1a4693da0929c6e529cfe9a",  # noqa: E501
    },
    # From the changelog of Kubernetes 1.37.
    "kubernetes-server": {
        "amd64": "7460f368c6049dfec1121a0bb3528257f47439e4a0c3d8b1740377cf21073e45c7d911845b8de61d68aae6b57cafa24885d8378f183a26bc2df0d321c4993afd",  # noqa: E501
        "arm64": "c832cfb9ad04180cf6c4469a8950bf58c0c28066b4543e520a7a25460bbb6f763b17cc535e010f5ddfcef7c695f2faceb9c584936b4d62a554c6b015be199f16",  # noqa: E501
    },
}


def _official(architecture: str) -> tuple[Archive, ...]:
    return (
        Archive(
            f"envtest-{ENVTEST}",
            "https://github.com/kubernetes-sigs/controller-tools/releases/download/"
            f"envtest-v{ENVTEST}/envtest-v{ENVTEST}-linux-{architecture}.tar.gz",
            SHA512["envtest"][architecture],
            ("etcd", "kube-apiserver", "kubectl"),
        ),
        Archive(
            f"kubernetes-server-{SERVER}",
            f"https://dl.k8s.io/v{SERVER}/kubernetes-server-linux-{architecture}.tar.gz",
            SHA512["kubernetes-server"][architecture],
            # It holds the others too, but is several times as large.
            ("kube-controller-manager",),
        ),
    )


ARCHIVES = _official(ARCHITECTURE) if ARCHITECTURE else ()


def kept(program: str) -> Path | None:
    """The program out of an archive that was downloaded before."""
    for archive in ARCHIVES:
        if program in archive.programs and (path := archive.folder / program).is_file():
            return path
    return None


def offered(programs: Collection[str], progress: Progress) -> list[str]:
    """Those of the programs whose archive answers; each archive is asked once in a process, all at the same time."""
    wanted = [archive for archive in ARCHIVES if not set(archive.programs).isdisjoint(programs)]
    with _asking, ThreadPoolExecutor(thread_name_prefix="lab-archives") as pool:
        answers = pool.map(lambda archive: _answers(archive, progress), wanted)
    found = {program for archive, answer in zip(wanted, answers, strict=True) if answer for program in archive.programs}
    return [program for program in programs if program in found]


def fetch(program: str, progress: Progress) -> Path | None:
    """The program out of its archive, downloaded now; None where that cannot be. Tried once in a process."""
    for archive in ARCHIVES:
        if program not in archive.programs:
            continue
        with locked(archive.folder.with_name(f".{archive.name}.lock"), archive.name, progress):
            # Another lab, or another thread of this one, may have been here while this one waited.
            if path := kept(program):
                return path
            if archive.url not in _refused and _download(archive, progress):
                return kept(program)
    return None


def _answers(archive: Archive, progress: Progress) -> bool:
    if archive.url in _refused:
        return False
    if archive.url not in _answered:
        began = time.monotonic()
        try:
            _answer(archive.url).close()
        except FAILURES as error:
            _refuse(archive, time.monotonic() - began, error, progress)
            return False
        _answered.add(archive.url)
    return True


def _download(archive: Archive, progress: Progress) -> bool:
    what, began = ", ".join(archive.programs), time.monotonic()
    archive.folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{archive.name}-", dir=archive.folder.parent))
    try:
        with _answer(archive.url) as answer:
            progress(f"{what}: downloading {archive.url} ({_size(answer)}; once, kept in {archive.folder})")
            _write(answer, partial / "archive", archive, progress)
        _unpack(partial, archive)
        partial.rename(archive.folder)
    except FAILURES as error:
        _refuse(archive, time.monotonic() - began, error, progress)
        return False
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress(f"{what}: downloaded and checked in {time.monotonic() - began:.0f} s")
    return True


def _refuse(archive: Archive, after: float, error: Exception, progress: Progress) -> None:
    _refused.add(archive.url)
    what = ", ".join(archive.programs)
    progress(f"{what}: the official archive cannot be had ({error}; {after:.1f} s): building from Go modules instead")


def _answer(url: str) -> http.client.HTTPResponse:
    """The answer to a GET, or LabError after a few seconds: the look-up of a name has no time limit of its own."""
    found: Future[Any] = Future()

    def ask() -> None:
        try:
            answer = urllib.request.urlopen(url, timeout=SILENT_FOR)
        except urllib.error.HTTPError as error:
            error.close()
            found.set_exception(LabError(str(error)))
        except Exception as error:
            found.set_exception(error)
        else:
            found.set_result(answer)

    threading.Thread(target=ask, name="lab-archive", daemon=True).start()
    try:
        answer: http.client.HTTPResponse = found.result(ANSWERS_WITHIN)
    except NotInTime:
        found.add_done_callback(_close)
        raise LabError(f"{url} did not answer within {ANSWERS_WITHIN:g} s") from None
    return answer


def _close(late: Future[Any]) -> None:
    if late.exception() is None:
        late.result().close()


def _write(answer: http.client.HTTPResponse, path: Path, archive: Archive, progress: Progress) -> None:
    digest, began = hashlib.sha512(), time.monotonic()
    said, got = began, 0
    with path.open("wb") as file:
        while chunk := answer.read1(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            got += len(chunk)
            now = time.monotonic()
            if now - began > ENDS_WITHIN:
                raise LabError(f"only {got >> 20} MiB in {ENDS_WITHIN:.0f} s")
            if now - said >= PROGRESS_EVERY:
                progress(f"downloading {archive.name}: {got >> 20} MiB of {_size(answer)} after {now - began:.0f} s")
                said = now
    if digest.hexdigest() != archive.sha512:
        raise LabError(
            f"its sha512 is {digest.hexdigest()[:16]}…, lab/toolchain/archive.py says {archive.sha512[:16]}…"
        )


def _unpack(folder: Path, archive: Archive) -> None:
    """Leaves the programs in `folder`, and nothing else of the archive."""
    with tarfile.open(folder / "archive") as tar:
        for member in tar:
            name = Path(member.name).name
            if name in archive.programs and member.isfile() and (source := tar.extractfile(member)):
                with source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
                (folder / name).chmod(0o755)
    (folder / "archive").unlink()
    if missing := [name for name in archive.programs if not (folder / name).is_file()]:
        raise LabError(f"there is no {', '.join(missing)} in it")


def _size(answer: http.client.HTTPResponse) -> str:
    length = answer.headers.get("Content-Length", "")
    return f"{int(length) >> 20} MiB" if length.isdigit() else "size unknown"


_asking = threading.Lock()
_answered: set[str] = set()
_refused: set[str] = set()
"""Archives that this process could not get: one look is enough."""
