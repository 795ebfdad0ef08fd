"""Engines and caches through the whole operator: a Build object, an ECS task of real containers, and what the status says of the cache."""

from __future__ import annotations

from typing import Any

import pytest

from lab.outside import condition
from tests.lab.conformance.builder import contents
from tests.lab.world import World

pytestmark = [pytest.mark.lab, pytest.mark.docker]

# Neither base nor image is in the registry, so that it is the cache's alone.
ALONE: dict[str, Any] = {"output": {"push": False}}


def build(world: World, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    body = world.build(name)
    body["spec"].update(spec)
    world.create(namespace, "builds", body)
    return world.ended(namespace, name, timeout=240)


def used(body: dict[str, Any]) -> tuple[str, str]:
    assert condition(body, "Succeeded")["status"] == "True", body["status"]
    found = condition(body, "CacheUsed")
    return found["status"], found["reason"]


def test_a_registry_that_is_down_fails_no_build_and_the_status_says_so(docker: World, namespace: str) -> None:
    docker.ready(namespace)
    with docker.registry_down():
        reads = build(docker, namespace, "reads", **ALONE)
        writes = build(docker, namespace, "writes", cache={"mode": "Refresh"}, **ALONE)
    assert used(reads) == ("False", "ImportFailed")
    assert used(writes) == ("False", "ExportFailed")
    for body in (reads, writes):
        assert "connection refused" in condition(body, "CacheUsed")["message"]
        assert body["status"]["cache"]["exported"] is False

    assert used(build(docker, namespace, "cold", **ALONE)) == ("True", "Cold")
    assert used(build(docker, namespace, "warm", **ALONE)) == ("True", "Hit")


def test_Docker_builds_cold_and_warm_on_builders_with_an_empty_root(docker: World, namespace: str) -> None:
    executor = {**docker.cache()["spec"]["executors"][0], "name": "docker", "engine": "Docker"}
    docker.ready(namespace, executors=[executor])
    cold, warm = (build(docker, namespace, name) for name in ("cold", "warm"))
    assert used(cold) == ("True", "Cold")
    assert used(warm) == ("True", "Hit")
    assert warm["status"]["cache"]["hitPercent"] == 100
    assert warm["status"]["cache"]["exported"] is True
    assert warm["status"]["image"]["digest"] == cold["status"]["image"]["digest"]
    assert warm["status"]["timing"]["buildSeconds"] >= 0


def test_Kaniko_builds_cold_and_warm_refreshes_and_only_reads(docker: World, namespace: str) -> None:
    executor = {
        **docker.cache()["spec"]["executors"][0],
        "name": "fargate",
        "engine": "Kaniko",
        "launchType": "Fargate",
    }
    docker.ready(namespace, executors=[executor])
    dockerfile = (
        f"FROM {docker.info['registry']}/debian:12\nRUN head -c 1000 /dev/urandom >/made\nRUN sha256sum /made\n"
    )
    spec: dict[str, Any] = {"source": {"inline": {"dockerfile": dockerfile}}, "retries": 0}
    cold = build(docker, namespace, "cold", **spec)
    if cold["status"].get("failure", {}).get("reason") == "ImagePullFailed":
        pytest.skip(
            "Kaniko's image cannot be pulled here: name an archive of `docker save ghcr.io/osscontainertools/kaniko:v1.28.3` in LAB_IMAGES"
        )
    assert used(cold) == ("True", "Cold")
    assert cold["status"]["cache"]["exported"] is True
    assert cold["status"]["image"]["digest"]
    assert used(build(docker, namespace, "warm", **spec)) == ("True", "Hit")
    refreshed = build(docker, namespace, "refreshed", **spec, cache={"mode": "Refresh"})
    assert used(refreshed) == ("True", "Cold")
    before = contents(docker.info["registry"])
    reader = build(docker, namespace, "reader", **{**spec, **ALONE}, cache={"mode": "ReadOnly"})
    assert used(reader) == ("True", "Hit")
    assert contents(docker.info["registry"]) == before
