"""Debian packages that the lab needs and finds missing: Docker's engine, debootstrap. Never installed without saying so.

Called by `dockerd.py` and `debian.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.command import Progress, run
from lab.errors import LabError
from lab.toolchain.cache import cache_folder, locked

LISTS = Path("/var/lib/apt/lists")


def find(program: str, packages: Sequence[str], progress: Progress) -> Path:
    """The path of `program`, after installing `packages` when it is missing and this machine lets us."""
    if path := _which(program):
        return path
    # apt takes no second one beside it, and parts of the lab start at the same time.
    with locked(cache_folder() / ".packages.lock", "Debian packages", progress):
        return _which(program) or _install(program, packages, progress)


def _install(program: str, packages: Sequence[str], progress: Progress) -> Path:
    wanted = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(
            f"{program} is missing. As root on Debian or Ubuntu the lab installs it by itself; elsewhere install it first "
            f"(Debian: apt-get install {wanted})"
        )
    progress(f"{program} is missing: apt-get install {wanted}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    update = ("apt-get", "update", "-qq")
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    if not any(LISTS.glob("*_Packages*")):
        run("reading the package lists", update, progress, env)
    try:
        run(f"installing {wanted}", install, progress, env)
    except LabError:
        # The usual cause: lists so old that the files they name are gone.
        run("reading the package lists", update, progress, env)
        run(f"installing {wanted}", install, progress, env)
    if path := _which(program):
        return path
    raise LabError(f"apt-get install {wanted} succeeded, but there is still no {program} in {_search_path()}")


def _which(program: str) -> Path | None:
    found = shutil.which(program, path=_search_path())
    return Path(found) if found else None


def _search_path() -> str:
    """PATH of root's shells; `su` without a dash keeps the user's."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
