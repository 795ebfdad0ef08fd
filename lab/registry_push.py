"""Brings an image of the engine into the lab's registry, unless exactly this image is there. Used by `images.py`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import docker
import docker.errors

from lab.errors import LabError

MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"


def push_once(client: docker.DockerClient, image: str, name: str) -> bool:
    """Push `image` as `name` (registry/repository:tag); False when the registry has it already."""
    if str(client.images.get(image).id) in ids_in_registry(name):
        return False
    client.images.get(image).tag(name)
    try:
        for event in client.api.push(name, stream=True, decode=True):
            if "error" in event:
                raise LabError(f"cannot push {name}: {event['error']}")
    except docker.errors.DockerException as error:
        raise LabError(f"cannot push {name}: {error}") from error
    finally:
        # Only the registry needs that name: its port is another one in the next lab.
        client.images.remove(name)
    return True


def ids_in_registry(name: str) -> set[str]:
    """What an engine would call the image with this name: by its configuration, or (containerd store) by its manifest."""
    registry, _, rest = name.partition("/")
    repository, _, tag = rest.rpartition(":")
    request = urllib.request.Request(
        f"http://{registry}/v2/{repository}/manifests/{tag}", headers={"Accept": MANIFESTS}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            manifest = json.load(answer)
            return {manifest["config"]["digest"], answer.headers["Docker-Content-Digest"]}
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404:
            return set()
        raise LabError(f"the registry answers {error.code} to a question for {name}") from error
    except OSError as error:
        raise LabError(f"the registry at {registry} does not answer: {error}") from error
