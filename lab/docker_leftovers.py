"""What a dockerd of the lab's own may leave behind: processes, mounts, cgroups. `dockerd.py` calls this after it is gone.

All of it is found by the run-time folder of that dockerd, which is in the command line of dockerd, containerd and every
shim; nothing is found by a name that somebody else's Docker could have too.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.process import start_time

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
MNT_DETACH = 2
TERM_DEADLINE = 15.0
KILL_DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Process:
    """A living process with what identifies it."""

    pid: int
    parent: int
    arguments: tuple[str, ...]
    started: int


def clean(run: Path, *folders: Path) -> None:
    """End every process of the dockerd with this run-time folder; unmount all under it and the other folders."""
    ours = [process for process in processes() if mentions(process, run)]
    engines = [process for process in ours if Path(process.arguments[0]).name in ("dockerd", "flock")]
    _signal(engines, signal.SIGTERM)
    _wait(engines, TERM_DEADLINE)
    ours = [process for process in processes() if mentions(process, run)]
    shims = {process.pid: process for process in ours if "shim" in Path(process.arguments[0]).name}
    # A killed shim does not take its container along, so the containers go first.
    doomed = [process for process in processes() if process.parent in shims]
    _signal([*doomed, *ours], signal.SIGKILL)
    _wait([*doomed, *ours], KILL_DEADLINE)
    for mount in reversed(mounts_under(run, *folders)):
        _unmount(mount)
    for shim in shims.values():
        _remove_cgroups(option(shim.arguments, "-id"))


def processes() -> Iterator[Process]:
    """Everything alive here; what ends while one looks is left out."""
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        started = start_time(pid)
        if arguments and started is not None:
            yield Process(pid, parent, tuple(arguments), started)


def mentions(process: Process, run: Path) -> bool:
    """Whether it is dockerd, its lock wrapper, containerd or a shim of this run-time folder."""
    name = Path(process.arguments[0]).name
    if not name.startswith(("dockerd", "containerd", "flock")):
        return False
    folder = f"{run}/exec"
    return any(argument == folder or argument.startswith(f"{folder}/") for argument in process.arguments[1:])


def option(arguments: Sequence[str], name: str) -> str:
    """The argument after `name`; empty when there is none."""
    return dict(itertools.pairwise(arguments)).get(name, "")


def mounts_under(*folders: Path) -> list[Path]:
    """Mount points in these folders, in the order in which they were mounted."""
    points = [point for point, _ in _mounts()]
    return [point for point in points if any(point.is_relative_to(folder) for folder in folders)]


def file_system(path: Path) -> str:
    """The type of the file system that holds `path`."""
    holder = ("", Path("/"))
    for point, kind in _mounts():
        if path.resolve().is_relative_to(point) and len(str(point)) >= len(str(holder[1])):
            holder = (kind, point)
    return holder[0]


def _mounts() -> list[tuple[Path, str]]:
    """Mount point and type of each line of mountinfo (proc(5)), whose spaces and tabs are written in octal."""
    found = []
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        found.append((Path(point), after.split()[0]))
    return found


def _unmount(path: Path) -> None:
    """Detach at once; who still has a file open there keeps it until it is closed. A mount that is gone already is fine."""
    ctypes.CDLL(None).umount2(os.fsencode(path), MNT_DETACH)


def _signal(targets: Sequence[Process], number: signal.Signals) -> None:
    for process in targets:
        if start_time(process.pid) == process.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _wait(targets: Sequence[Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(start_time(process.pid) == process.started for process in targets):
        time.sleep(0.02)


def _remove_cgroups(container: str) -> None:
    """Empty groups of a container whose runc never came to remove them; cgroup v1 has them once for each controller."""
    if not container:
        return
    for group in [*CGROUPS.glob(f"*/docker/{container}"), *CGROUPS.glob(f"docker/{container}")]:
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
