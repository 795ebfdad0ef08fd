"""Debian packages that the lab needs and finds missing: Docker's engine, debootstrap. Never installed without saying so.

Called by `dockerd.py` and `debian.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError
from lab.toolchain import Progress

LISTS = Path("/var/lib/apt/lists")
TIMEOUT = 600.0


def find(program: str, packages: Sequence[str], progress: Progress) -> Path:
    """The path of `program`, after installing `packages` when it is missing and this machine lets us."""
    if path := _which(program):
        return path
    wanted = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(
            f"{program} is missing. As root on Debian or Ubuntu the lab installs it by itself; elsewhere install it first "
            f"(Debian: apt-get install {wanted})"
        )
    progress(f"{program} is missing: apt-get install {wanted}")
    if not any(LISTS.glob("*_Packages*")):
        _run("apt-get", "update", "-qq")
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    try:
        _run(*install)
    except LabError:
        # The usual cause: lists so old that the files they name are gone.
        _run("apt-get", "update", "-qq")
        _run(*install)
    if path := _which(program):
        return path
    raise LabError(f"apt-get install {wanted} succeeded, but there is still no {program} in {_search_path()}")


def _which(program: str) -> Path | None:
    found = shutil.which(program, path=_search_path())
    return Path(found) if found else None


def _search_path() -> str:
    """PATH of root's shells; `su` without a dash keeps the user's."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _run(*command: str) -> None:
    answer = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        check=False,
    )
    if answer.returncode:
        raise LabError(
            f"{' '.join(command)} failed with exit code {answer.returncode}; install it yourself and start the lab again:\n"
            f"{answer.stdout[-2000:].strip()}"
        )
