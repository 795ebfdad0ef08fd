"""Queue, cancel, timeouts, retries and the commands for people, through the operator's process with simulated tasks."""

import os
import subprocess
import sys
from typing import Any

import pytest

from lab.outside import condition
from tests.lab.world import World, wait_for

pytestmark = pytest.mark.lab


def reasons(world: World, namespace: str) -> dict[str, str]:
    return {
        body["metadata"]["name"]: condition(body, "Succeeded").get("reason", "")
        for body in world.list_all(namespace, "builds")
    }


def test_builds_start_in_order_and_never_more_than_the_limit(world: World, namespace: str) -> None:
    world.ready(namespace, limits={"maxConcurrentBuilds": 2, "maxQueuedBuilds": 3})
    world.simulate(build=3)
    names = [f"web-{number}" for number in range(5)]
    for name in names:
        world.create(namespace, "builds", world.build(name))
    wait_for("three wait", lambda: list(reasons(world, namespace).values()).count("Queued") == 3)
    positions = [world.get(namespace, "builds", name)["status"]["queue"]["position"] for name in names]
    assert positions == [0, 0, 0, 1, 2]
    world.create(namespace, "builds", world.build("web-5"))
    assert condition(world.ended(namespace, "web-5"), "Succeeded")["reason"] == "QueueFull"
    most = 0

    def all_done() -> bool:
        nonlocal most
        running = [task for task in world.control("GET", "/tasks") if task["status"] != "STOPPED"]
        most = max(most, len(running))
        return list(reasons(world, namespace).values()).count("Completed") == 5

    wait_for("all five are built", all_done)
    assert most == 2
    started = [world.get(namespace, "builds", name)["status"]["startTime"] for name in names]
    assert started == sorted(started)


def test_a_cancelled_build_stops_its_task_and_one_that_waits_ends_at_once(world: World, namespace: str) -> None:
    """T56."""
    world.ready(namespace, limits={"maxConcurrentBuilds": 1})
    world.simulate(build=600)
    first = world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    world.create(namespace, "builds", world.build("web-2"))
    world.reaches(namespace, "builds", "web-2", "Succeeded", "Unknown", "Queued")
    for name in ("web-2", "web-1"):
        world.patch(namespace, "builds", name, {"spec": {"cancel": True}})
        assert condition(world.ended(namespace, name), "Succeeded")["reason"] == "Cancelled"
    (task,) = world.tasks(first)
    assert (task["status"], task["stopCode"]) == ("STOPPED", "UserInitiated")


def test_an_interrupted_build_is_tried_again(world: World, namespace: str) -> None:
    """T52, F33."""
    world.ready(namespace)
    world.simulate(build=600)
    build = world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    world.simulate()
    (task,) = world.tasks(build)
    world.control("POST", "/tasks/interrupt", {"arn": task["arn"]})
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["reason"] == "Completed"
    assert [row["number"] for row in body["status"]["attempts"]] == [1, 2]
    assert len({task["clientToken"] for task in world.tasks(build)}) == 2


def test_a_build_that_runs_too_long_is_stopped(world: World, namespace: str) -> None:
    """T58."""
    world.ready(namespace)
    world.simulate(build=600, log=["step 1 with AKIAIOSFODNN7EXAMPLE"])
    world.create(namespace, "builds", world.build("web-1", timeouts={"run": "2s"}))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["reason"] == "RunTimeout"
    assert body["status"]["failure"]["logTail"] == "step 1 with [redacted]"


def test_a_finished_build_goes_after_its_time(world: World, namespace: str) -> None:
    world.ready(namespace)
    world.create(namespace, "builds", world.build("web-1", ttlAfterFinished="2s"))
    world.gone(namespace, "builds", "web-1")


def command(world: World, namespace: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "KUBECONFIG": world.info["kubeconfig"],
        "AWS_ENDPOINT_URL": world.info["aws"],
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
    }
    run: Any = [sys.executable, "-c", "from buildcache.cli import main; main()", *arguments, "-n", namespace]
    return subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_people_watch_and_cancel_builds(world: World, namespace: str) -> None:
    world.ready(namespace)
    world.simulate(build=4, log=["#1 from", "#2 copy"])
    world.create(namespace, "builds", world.build("web-1"))
    logs, waits = command(world, namespace, "logs", "-f", "web-1"), command(world, namespace, "wait", "web-1")
    out, said = waits.communicate(timeout=60)
    assert waits.returncode == 0, said
    assert out.startswith("Completed: ")
    assert "Running" in said
    out, said = logs.communicate(timeout=60)
    assert (logs.returncode, out) == (0, "#1 from\n#2 copy\n"), said
    world.simulate(build=600)
    world.create(namespace, "builds", world.build("web-2"))
    world.reaches(namespace, "builds", "web-2", "Succeeded", "Unknown", "Running")
    cancels = command(world, namespace, "cancel", "web-2")
    assert cancels.wait(60) == 0
    cancels.communicate()
    waits = command(world, namespace, "wait", "web-2")
    out, _ = waits.communicate(timeout=60)
    assert (waits.returncode, out) == (1, "Cancelled: cancelled: spec.cancel is true\n")
