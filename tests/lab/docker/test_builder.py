"""The builder that a task of the Docker engine finds on its instance: its own, on an empty root, gone with the task."""

from __future__ import annotations

from typing import Any

import pytest

from lab.ecs.docker_builder import BUILDX, DOCKER_SOCKET
from tests.lab.docker.engine import Engine, shell

pytestmark = pytest.mark.docker

VOLUMES = [
    {"name": "workspace"},
    {"name": "socket", "host": {"sourcePath": DOCKER_SOCKET}},
    {"name": "buildx", "host": {"sourcePath": BUILDX}},
]


def client(engine: Engine, script: str) -> dict[str, Any]:
    return {
        **shell("build", script),
        "image": engine.docker,
        "environment": [{"name": "BUILDX_CONFIG", "value": BUILDX}, {"name": "BUILDX_BUILDER", "value": "buildcache"}],
        "mountPoints": [
            {"sourceVolume": "workspace", "containerPath": "/workspace"},
            {"sourceVolume": "socket", "containerPath": DOCKER_SOCKET},
            {"sourceVolume": "buildx", "containerPath": BUILDX},
        ],
    }


def test_c20_each_task_has_the_engine_and_a_builder_with_nothing_in_it(engine: Engine) -> None:
    build = (
        "printf 'FROM scratch\\nCOPY Dockerfile /\\n' >/tmp/Dockerfile; docker buildx build --progress plain /tmp 2>&1"
    )
    script = f"docker buildx inspect buildcache; docker info --format '{{{{.ServerVersion}}}}'; {build}"
    for _ in range(2):
        result = engine.run(client(engine, script), volumes=VOLUMES)
        assert result.exit_codes == {"build": 0}, result.logs
        lines = result.logs["build"]
        assert any(line.split() == ["Driver:", "remote"] for line in lines), lines
        assert engine.client.version()["Version"] in lines
        assert not any("CACHED" in line for line in lines)
    assert engine.nothing_left(), engine.left()


def test_a_builder_that_cannot_be_made_fails_the_start(engine: Engine) -> None:
    container = client(engine, "true") | {"image": engine.images.base.partition("/")[2]}
    result = engine.run(container, volumes=VOLUMES)
    assert result.task.stop_code == "TaskFailedToStart"
    assert str(result.task.stopped_reason).startswith("ResourceInitializationError: ")
