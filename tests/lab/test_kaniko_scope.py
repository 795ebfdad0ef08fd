"""Kaniko builds and their cache mounts on EFS, on the whole: one writer at a time, and what one leaves the next one finds."""

from datetime import datetime
from typing import Any

import pytest

from lab.outside import condition
from tests.lab.world import ROLE, World, wait_for

pytestmark = pytest.mark.lab
EXECUTOR = {
    "name": "kaniko",
    "engine": "Kaniko",
    "launchType": "Fargate",
    "cpu": 256,
    "memory": 1024,
    "taskRoleARN": ROLE,
    "executionRoleARN": ROLE,
}
STAND_IN = """\
FROM {registry}/debian:12
COPY --chmod=755 <<'SCRIPT' /kaniko/executor
#!/bin/sh
# A stand-in for Kaniko's executor, which cannot be pulled everywhere: it builds nothing, but keeps its cache mounts where Kaniko does.
echo "this is a stand-in for kaniko"
mkdir -p /kaniko/caches
for kept in /kaniko/caches/*; do test -e "$kept" && echo "found $(basename "$kept")"; done
for item; do
  case $item in --destination=*) touch "/kaniko/caches/${{item##*:}}" ;; esac
done
SCRIPT
"""


def scope_of(world: World, build: dict[str, Any]) -> str | None:
    """The access point that the Build's task mounts."""
    arn = build["status"]["executor"]["taskDefinitionARN"]
    volumes = world.aws("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]["volumes"]
    for volume in volumes:
        if "efsVolumeConfiguration" in volume:
            found: str = volume["efsVolumeConfiguration"]["authorizationConfig"]["accessPointId"]
            return found
    return None


def mounting(world: World, namespace: str, service: str) -> int:
    """Builds of a service whose task runs and mounts."""
    found = 0
    for body in world.list_all(namespace, "builds"):
        running = [task for task in world.tasks(body) if task["status"] != "STOPPED"]
        if body["spec"]["service"] == service and running and "executor" in body.get("status", {}):
            found += scope_of(world, body) is not None
    return found


def test_two_builds_of_a_service_mount_one_after_the_other_and_another_service_beside_them(
    world: World, namespace: str
) -> None:
    world.ready(namespace, fileSystem={}, executors=[EXECUTOR], limits={"maxConcurrentBuilds": 2})
    world.simulate(build=4)
    world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    world.create(namespace, "builds", world.build("web-2"))
    body = world.reaches(namespace, "builds", "web-2", "Succeeded", "Unknown", "Queued")
    assert "web-1" in condition(body, "Succeeded")["message"]
    world.create(namespace, "builds", world.build("api-1", service="api"))
    world.reaches(namespace, "builds", "api-1", "Succeeded", "Unknown", "Running")  # it was behind web-2 in line
    names = ["web-1", "web-2", "api-1"]
    most = {"web": 0, "api": 0}

    def done() -> bool:
        for service in most:
            most[service] = max(most[service], mounting(world, namespace, service))
        return all(condition(world.get(namespace, "builds", name), "Succeeded")["status"] == "True" for name in names)

    wait_for("all three are built", done)
    assert most == {"web": 1, "api": 1}
    ended, began = (
        datetime.fromisoformat(world.get(namespace, "builds", name)["status"][moment])
        for name, moment in (("web-1", "completionTime"), ("web-2", "startTime"))
    )
    assert (began - ended).total_seconds() <= 3  # it was woken
    scopes = {name: scope_of(world, world.get(namespace, "builds", name)) for name in names}
    assert scopes["web-1"] == scopes["web-2"]
    assert scopes["web-1"] not in (None, scopes["api-1"])
    assert scopes["api-1"] is not None


def test_an_operator_killed_while_one_writes_still_lets_nobody_else_write(world: World, namespace: str) -> None:
    world.ready(namespace, fileSystem={}, executors=[EXECUTOR])
    world.simulate(build=5)
    world.control("POST", "/operator/crash", {"operation": "RunTask", "when": "after"})
    first = world.create(namespace, "builds", world.build("web-1"))
    wait_for("the task of the first", lambda: world.tasks(first))
    world.create(namespace, "builds", world.build("web-2"))
    world.control("POST", "/operator/start")
    bodies = [world.ended(namespace, name) for name in ("web-1", "web-2")]
    assert [condition(body, "Succeeded")["reason"] for body in bodies] == ["Completed", "Completed"]
    assert [len(world.tasks(body)) for body in bodies] == [1, 1]
    times = [body["status"]["attempts"][0] for body in bodies]
    apart = times[1]["startedAt"] >= times[0]["stoppedAt"]
    assert apart or scope_of(world, bodies[0]) is None or scope_of(world, bodies[1]) is None
    assert scope_of(world, bodies[0]) is not None


def test_a_file_system_that_cannot_be_given_out_does_not_keep_a_build(world: World, namespace: str) -> None:
    world.ready(namespace, fileSystem={}, executors=[EXECUTOR])
    world.control("POST", "/faults", [{"operation": "CreateAccessPoint", "kind": "denied", "times": -1}])
    world.create(namespace, "builds", world.build("web-1"))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["reason"] == "Completed"
    assert scope_of(world, body) is None
    assert "without its cache mounts" in condition(body, "CacheUsed")["message"]
    assert condition(body, "CacheUsed")["status"] == "True"


@pytest.mark.docker
def test_what_one_build_leaves_in_its_cache_mounts_the_next_finds_and_another_service_does_not(
    docker: World, namespace: str
) -> None:
    image = f"{docker.info['registry']}/{namespace}/kaniko-stand-in:1"
    docker.ready(namespace, "tools")
    dockerfile = STAND_IN.format(registry=docker.info["registry"])
    docker.create(
        namespace,
        "builds",
        docker.build("stand-in", "tools", source={"inline": {"dockerfile": dockerfile}}, output={"images": [image]}),
    )
    made = docker.ended(namespace, "stand-in", timeout=180)
    assert condition(made, "Succeeded")["status"] == "True", made["status"]
    docker.ready(namespace, fileSystem={}, executors=[{**EXECUTOR, "image": image}])
    logs = {}
    for name, service in (("one", "web"), ("two", "web"), ("three", "api")):
        docker.create(namespace, "builds", docker.build(name, service=service))
        body = docker.ended(namespace, name, timeout=120)
        assert condition(body, "Succeeded")["status"] == "True", body["status"]
        where = body["status"]["logs"]
        events = docker.aws("logs").get_log_events(logGroupName=where["group"], logStreamName=where["stream"])["events"]
        logs[name] = [event["message"] for event in events]
    said = "this is a stand-in for kaniko"
    assert logs == {"one": [said], "two": [said, "found one"], "three": [said]}
