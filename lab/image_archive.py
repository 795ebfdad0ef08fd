"""Images built here, kept as archives in the cache folder: a further engine (a second lab's slot) loads instead of building.

Used by `images.py`, under its lock. Loading also gives every engine the same image id, which the registry's seed is known by.
"""

from __future__ import annotations

import os
from pathlib import Path

import docker

from lab.toolchain import cache_folder


def load(client: docker.DockerClient, name: str, inputs: str) -> bool:
    """Load the image made of these inputs; False when none was kept."""
    path = _path(name, inputs)
    if not path.exists():
        return False
    with path.open("rb") as file:
        client.images.load(file)
    return True


def keep(client: docker.DockerClient, name: str, inputs: str) -> None:
    """Keep the image, and forget those that were kept under this name before."""
    path = _path(name, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            for chunk in client.images.get(name).save(named=name):
                file.write(chunk)
        for older in path.parent.glob(_path(name, "*").name):
            older.unlink()
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _path(name: str, inputs: str) -> Path:
    """One file for each repository: a tag may be the hash of the inputs itself."""
    repository = name.partition(":")[0].replace("/", "_")
    return cache_folder() / "images" / f"{repository}@{inputs}.tar"
