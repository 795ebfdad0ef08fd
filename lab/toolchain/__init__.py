"""The programs that the lab runs: taken from this machine, else downloaded, else built from their Go modules.

Everything that runs one of them asks `ensure`, in this order:

1. the folder that KUBEBUILDER_ASSETS names, for who sets it wants it used;
2. the lab's cache, where an earlier download or build of the same pin lies;
3. PATH;
4. the official archive, where there is one for this machine and it can be reached (`archive`);
5. a build from the Go modules (`go`), which takes minutes.

1 and 3 count only if the program says that it is of the right minor version (`machine`).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lab.command import Progress
from lab.toolchain import archive, go, machine
from lab.toolchain.cache import cache_folder, locked
from lab.toolchain.go import MODULE_OF, MODULES, fingerprint, source_folder

__all__ = ["MODULES", "cache_folder", "ensure", "ensure_all", "fingerprint", "locked", "source_folder"]


def ensure(program: str, progress: Progress) -> Path:
    """The path of `program`; made to be there first, if need be."""
    return ensure_all((program,), progress)[program]


def ensure_all(programs: Iterable[str], progress: Progress) -> dict[str, Path]:
    """The paths of all these programs. Downloads and builds that do not need each other run side by side."""
    paths, missing = {}, []
    for program in programs:
        if path := _found(program, progress):
            paths[program] = path
        else:
            missing.append(program)
    if not missing:
        return paths
    offered = archive.offered(missing, progress)
    with ThreadPoolExecutor(thread_name_prefix="lab-tools") as pool:
        downloads = {program: pool.submit(archive.fetch, program, progress) for program in offered}
        builds = _start_builds(pool, [program for program in missing if program not in offered], progress)
        paths |= {program: path for program, download in downloads.items() if (path := download.result())}
        builds += _start_builds(pool, [program for program in offered if program not in paths], progress)
        for build in builds:
            paths |= build.result()
    return paths


def _start_builds(
    pool: ThreadPoolExecutor, programs: Iterable[str], progress: Progress
) -> list[Future[dict[str, Path]]]:
    modules: dict[str, list[str]] = {}
    for program in programs:
        modules.setdefault(MODULE_OF[program].name, []).append(program)
    return [pool.submit(go.build, MODULES[name], names, progress) for name, names in modules.items()]


def _found(program: str, progress: Progress) -> Path | None:
    return (
        machine.in_assets(program, progress)
        or archive.kept(program)
        or go.built(program)
        or machine.on_path(program, progress)
    )
