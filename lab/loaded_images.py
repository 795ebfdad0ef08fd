"""Images that LAB_IMAGES brought into an engine: they go with the lab, so that the next one in that engine has only what it names.

Each is marked in the engine itself by a second tag, which outlives a killed lab. `images.py` loads, `dockerd.py` removes.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import BinaryIO

import docker
import docker.errors

MARKS = "buildcache-lab/loaded"


def load(client: docker.DockerClient, archive: BinaryIO, label: str) -> list[str]:
    """Load an archive of `docker save` and return its tags; those that the engine did not have are the lab's with this label."""
    before = {tag for image in client.images.list() for tag in image.tags}
    tags = []
    for image in client.images.load(archive):
        for tag in (tag for tag in image.tags if not tag.startswith(f"{MARKS}:")):
            tags.append(tag)
            if tag not in before:
                image.tag(_mark(label, tag))
    return tags


def remove(client: docker.DockerClient, label: str | None) -> None:
    """Remove the images that labs have loaded, of the lab with this label or of all."""
    for image in client.images.list(name=MARKS):
        marks = [tag for tag in image.tags if tag.startswith(f"{MARKS}:{label or ''}")]
        loaded = [tag for tag in image.tags if any(_mark(_label(mark), tag) == mark for mark in marks)]
        for tag in (*loaded, *marks):
            with contextlib.suppress(docker.errors.APIError):  # gone, or used by a container that is not a lab's
                client.images.remove(tag)


def _mark(label: str, tag: str) -> str:
    return f"{MARKS}:{label}-{hashlib.sha256(tag.encode()).hexdigest()[:16]}"


def _label(mark: str) -> str:
    return mark.removeprefix(f"{MARKS}:").partition("-")[0]
