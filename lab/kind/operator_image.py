"""The operator's image as an archive that a node can load, made from the project's Dockerfile and kept in the cache folder.

Used by `lab.py`. The image is called as in manifests/overlays/kind, and as `make image` calls it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from lab import debian
from lab.command import Progress
from lab.dockerd import users_docker
from lab.files import PROJECT, Folder
from lab.images import DOCKERFILES, Images, fingerprint, operator_files
from lab.kind.sandbox import Sandbox
from lab.process import Processes
from lab.toolchain import cache_folder, locked

NAME = "buildcache-operator:dev"
KEPT = 2
"""Archives that stay, this one among them: of labs that run beside this one on another source tree."""


def archive(folder: Folder, processes: Processes, progress: Progress) -> Path:
    """The archive for this source tree; built first if it was never built here."""
    files = operator_files(PROJECT)
    parts = [part for name, data in files.items() for part in (name, data)]
    base = (debian.RECIPE, debian.host_bundle(), (DOCKERFILES / "python.Dockerfile").read_bytes())
    kept = cache_folder() / "kind"
    path = kept / f"operator-{fingerprint(*base, *parts)}.tar"
    with locked(kept / ".operator.lock", "the operator's image", progress):
        if path.exists():
            path.touch()
        else:
            with _engine(folder, processes, progress) as client:
                _save(client, Images(client, "", progress).operator(), path)
        for older in sorted(kept.glob("operator-*.tar"), key=lambda each: each.stat().st_mtime)[:-KEPT]:
            older.unlink()
    return path


@contextmanager
def _engine(folder: Folder, processes: Processes, progress: Progress) -> Iterator[docker.DockerClient]:
    """The user's Docker, or one of the lab's own; the build fetches packages, so on this machine's network."""
    if host := users_docker(progress):
        client = docker.DockerClient(host)
        try:
            yield client
        finally:
            client.close()
        return
    sandbox = Sandbox("builder", folder, processes, progress, own_network=False)
    try:
        yield sandbox.start()
    finally:
        sandbox.stop()


def _save(client: docker.DockerClient, name: str, path: Path) -> None:
    client.images.get(name).tag(*NAME.split(":"))
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for chunk in client.images.get(NAME).save(named=NAME):
                file.write(chunk)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
