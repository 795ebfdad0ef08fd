"""kill -9 of the operator at the calls that matter: afterwards one task, one file system, nothing lost."""

from typing import Any

import pytest

from lab.outside import condition
from tests.lab.world import World, wait_for

pytestmark = pytest.mark.lab
RUN_TASK = {"operation": "RunTask"}
CREATE_FILE_SYSTEM = {"operation": "CreateFileSystem"}
STATUS = {"kubernetes": "patch builds/status"}


def crash_and_restart(world: World, at: dict[str, Any], act: Any) -> None:
    """Arms the crash, does what leads to it, waits for the death of the process and starts it again."""
    pid = world.control("POST", "/operator/start")["pid"]
    world.control("POST", "/operator/crash", at)
    act()
    wait_for("the operator was killed", lambda: not alive(pid), timeout=30)
    world.control("POST", "/operator/start")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [RUN_TASK, STATUS], ids=["RunTask", "the status write after RunTask"])
def test_a_crash_at_the_launch_leaves_exactly_one_task(
    world: World, namespace: str, at: dict[str, Any], when: str
) -> None:
    """T06, T09, F19, F24: one task, whatever happened."""
    world.ready(namespace)
    crash_and_restart(world, {**at, "when": when}, lambda: world.create(namespace, "builds", world.build("web-1")))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["status"] == "True"
    assert len(world.tasks(body)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [{"operation": "StopTask"}, STATUS], ids=["StopTask", "the note before it"])
def test_a_crash_at_a_cancel_still_cancels(world: World, namespace: str, at: dict[str, Any], when: str) -> None:
    """T56, F52: the wish is noted before ECS is asked."""
    world.ready(namespace)
    world.simulate(build=600)
    build = world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    cancel = {"spec": {"cancel": True}}
    crash_and_restart(world, {**at, "when": when}, lambda: world.patch(namespace, "builds", "web-1", cancel))
    assert condition(world.ended(namespace, "web-1"), "Succeeded")["reason"] == "Cancelled"
    assert [task["status"] for task in world.tasks(build)] == ["STOPPED"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_between_two_attempts_leaves_one_task_for_each(world: World, namespace: str, when: str) -> None:
    """T52, T71."""
    world.ready(namespace)
    world.simulate(build=600)
    build = world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    world.simulate()
    (task,) = world.tasks(build)
    crash_and_restart(
        world, {**RUN_TASK, "when": when}, lambda: world.control("POST", "/tasks/interrupt", {"arn": task["arn"]})
    )
    assert condition(world.ended(namespace, "web-1"), "Succeeded")["status"] == "True"
    assert len(world.tasks(build)) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_the_file_system_leaves_exactly_one(world: World, namespace: str, when: str) -> None:
    """T01, F37."""
    crash_and_restart(
        world,
        {**CREATE_FILE_SYSTEM, "when": when},
        lambda: world.create(namespace, "buildcaches", world.cache(fileSystem={})),
    )
    cache = world.reaches(namespace, "buildcaches", "shop", "Ready", "True")
    systems = [
        system
        for system in world.aws("efs").describe_file_systems()["FileSystems"]
        if {"Key": "buildcache.dev/uid", "Value": cache["metadata"]["uid"]} in system["Tags"]
    ]
    assert [system["FileSystemId"] for system in systems] == [cache["status"]["fileSystem"]["id"]]


def test_a_lost_answer_of_run_task_leaves_one_task(world: World, namespace: str) -> None:
    """T06, F24."""
    world.ready(namespace)
    world.control("POST", "/faults", [{"operation": "RunTask", "kind": "lost", "times": 1}])
    world.create(namespace, "builds", world.build("web-1"))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["status"] == "True"
    assert len(world.tasks(body)) == 1


@pytest.mark.parametrize("kind", ["conflict", "invalid", "error", "lost", "reset"])
@pytest.mark.parametrize("write", ["patch builds", "patch builds/status"])
def test_one_spoilt_write_to_the_api_server_loses_nothing(world: World, namespace: str, write: str, kind: str) -> None:
    """F06, F07, F09, F10, F12."""
    world.ready(namespace)
    world.control("POST", "/faults", [{"kubernetes": write, "kind": kind, "times": 1}])
    world.create(namespace, "builds", world.build("web-1"))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["status"] == "True"
    assert len(world.tasks(body)) == 1
