"""The builder `buildcache` of Docker tasks: on an instance of ECS the task's own script makes one with the driver docker-container.

Here that driver cannot serve: it wants `--privileged`, which some machines withhold, a bridge, which the lab's own dockerd has not,
and an image of its own from a public registry. So each such task finds a builder with the driver `remote`, on a buildkitd in a
container beside it: with an empty root, as on a new instance, and gone with the task. Asked by `docker_runtime.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.ecs import docker_container, docker_privileges
from lab.ecs.task import Task

BUILDX = "/var/lib/buildcache/buildx"
DOCKER_SOCKET = "/var/run/docker.sock"
NAME = "buildcache"
ENDPOINT = f"unix://{BUILDX}/buildkitd.sock"


def is_wanted(task: Task) -> bool:
    """Whether the task looks for a builder on its instance."""
    return any(_is_buildx(volume) for volume in task.definition.get("volumes") or ())


def mounted_by(task: Task) -> Mapping[str, Any]:
    """The container that uses the builder: the first that mounts its folder."""
    names = {volume["name"] for volume in task.definition["volumes"] if _is_buildx(volume)}
    return next(
        container
        for container in task.definition["containerDefinitions"]
        if names & {mount["sourceVolume"] for mount in container.get("mountPoints") or ()}
    )


def _is_buildx(volume: Mapping[str, Any]) -> bool:
    return bool((volume.get("host") or {}).get("sourcePath") == BUILDX)


class Builders:
    """Makes them with the engine of this SDK's low-level client, which listens on `socket`. `image` holds buildkitd."""

    def __init__(
        self,
        api: Any,
        *,
        image: str,
        label: Mapping[str, str],
        registry: str,
        folder: Path,
        socket: str,
        missing_capabilities: Sequence[str],
    ) -> None:
        self._api = api
        self._image = image
        self._label = dict(label)
        self._registry = registry
        self._folder = folder
        self._socket = socket
        self._missing = missing_capabilities

    def paths(self, task: Task) -> dict[str, str]:
        """Where the instance's paths lie for this task."""
        return {BUILDX: str(self._of(task)), DOCKER_SOCKET: self._socket}

    def start(self, task: Task, client_image: str) -> None:
        """A buildkitd, and the record by which the client of this image finds it. Raises the SDK's errors."""
        folder = self._of(task)
        folder.mkdir(parents=True)
        configuration = folder / "buildkitd.toml"
        configuration.write_text(docker_container.buildkit_configuration(self._registry, None))
        daemon = self._api.create_container(
            image=self._image,
            name=self._name(task),
            entrypoint=["buildkitd"],
            command=["--addr", ENDPOINT, "--config", f"{BUILDX}/{configuration.name}"],
            labels=self._label,
            host_config={
                "NetworkMode": "host",
                **docker_privileges.host_settings(self._missing),
                "Binds": [f"{folder}:{BUILDX}:rw", *docker_privileges.binds(self._missing)],
            },
        )
        self._api.start(daemon["Id"])
        record = self._api.create_container(
            image=client_image,
            entrypoint=["docker"],
            command=["buildx", "create", "--name", NAME, "--driver", "remote", ENDPOINT],
            environment={"BUILDX_CONFIG": BUILDX},
            labels=self._label,
            host_config={"NetworkMode": "host", "Binds": [f"{folder}:{BUILDX}:rw"]},
        )
        try:
            self._api.start(record["Id"])
            if self._api.wait(record["Id"])["StatusCode"]:
                raise OSError(
                    f"no builder for the task: {self._api.logs(record['Id']).decode(errors='replace').strip()}"
                )
        finally:
            self._api.remove_container(record["Id"], force=True, v=True)

    def remove(self, task: Task) -> None:
        """The builder is gone with all its state. Raises the SDK's errors."""
        try:
            self._api.remove_container(self._name(task), force=True, v=True)
        finally:
            shutil.rmtree(self._of(task), ignore_errors=True)

    def _of(self, task: Task) -> Path:
        return self._folder / task.id

    def _name(self, task: Task) -> str:
        return f"ecs-{task.id}-builder"
