"""Programs that this machine has already. They count only in the minor version that the lab's tests were written against."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lab.command import Progress

KUBERNETES = ("1.37",)
MINORS: Mapping[str, tuple[str, ...]] = {
    # 3.6 is what the lab builds, 3.7 what the official archives hold beside Kubernetes 1.37.
    "etcd": ("3.6", "3.7"),
    "kube-apiserver": KUBERNETES,
    "kube-controller-manager": KUBERNETES,
    "kubectl": KUBERNETES,
}
"""What the lab takes from elsewhere, in these minor versions. The others are built: their exact version matters."""

QUESTION: Mapping[str, tuple[str, ...]] = {"kubectl": ("version", "--client")}
ASSETS = "KUBEBUILDER_ASSETS"
VERSION = re.compile(r"\bv?(\d+\.\d+)\.\d+")


def in_assets(program: str, progress: Progress) -> Path | None:
    """The program in the folder that KUBEBUILDER_ASSETS names."""
    folder = os.environ.get(ASSETS)
    return _right(program, shutil.which(program, path=folder), ASSETS, progress) if folder else None


def on_path(program: str, progress: Progress) -> Path | None:
    """The program on PATH."""
    return _right(program, shutil.which(program), "PATH", progress)


def _right(program: str, found: str | None, where: str, progress: Progress) -> Path | None:
    if not found or program not in MINORS:
        return None
    # A folder of KUBEBUILDER_ASSETS may be relative; children of the lab run elsewhere.
    path = Path(found).absolute()
    known = path in _said
    version = version_of(path)
    if minor(version) in MINORS[program]:
        if not known:
            _said.add(path)
            progress(f"{program}: {version} from {where} ({path})")
        return path
    if not known:
        _said.add(path)
        progress(
            f"{program}: {path} from {where} is not used: it says {version or 'nothing about its version'}, "
            f"the lab needs {' or '.join(MINORS[program])}"
        )
    return None


def minor(version: str) -> str:
    """`1.37` of `v1.37.2`; empty when there is no version in it."""
    found = VERSION.search(version)
    return found[1] if found else ""


@cache
def version_of(path: Path) -> str:
    """What the program says of its version; empty when it says nothing of use. Asked once in a process."""
    command = [str(path), *QUESTION.get(path.name, ("--version",))]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = VERSION.search(answer.stdout)
    return found[0] if answer.returncode == 0 and found else ""


_said: set[Path] = set()
