"""A Build through the operator's process with simulated tasks: good ends, bad input, and what is written on the way."""

import subprocess
from typing import Any

import pytest

from lab.outside import condition
from lab.toolchain import ensure
from tests.lab.world import WRITES, World, wait_for

pytestmark = pytest.mark.lab


def test_a_build_is_run_once_and_reported(world: World, namespace: str) -> None:
    cache = world.ready(namespace)
    build = world.create(namespace, "builds", world.build("web-1"))
    body = world.ended(namespace, "web-1")
    assert condition(body, "Succeeded")["reason"] == "Completed"
    assert condition(body, "CacheUsed")["reason"] == "PartialHit"
    status = body["status"]
    assert status["image"]["digest"] == f"sha256:{'7' * 64}"
    assert status["cache"]["steps"] == {"total": 4, "cached": 3}
    assert (status["cache"]["hitPercent"], status["cache"]["exported"]) == (75, True)
    assert status["cache"]["ref"] == f"{cache['status']['registry']['repositoryURI']}:web.buildcache"
    assert status["executor"]["name"] == "ec2"
    assert status["logs"]["stream"].startswith("build/build/")
    assert status["timing"]["totalSeconds"] >= 0
    (task,) = world.tasks(build)
    assert status["attempts"][0]["taskARN"] == task["arn"]


def test_a_finished_build_leaves_the_watch_without_a_finalizer(world: World, namespace: str) -> None:
    world.ready(namespace)
    world.create(namespace, "builds", world.build("web-1"))
    world.ended(namespace, "web-1")
    wait_for(
        "the finished label",
        lambda: "buildcache.dev/finished" in world.get(namespace, "builds", "web-1")["metadata"].get("labels", {}),
    )
    body = world.get(namespace, "builds", "web-1")
    assert "finalizers" not in body["metadata"]
    world.delete(namespace, "builds", "web-1")
    world.gone(namespace, "builds", "web-1")


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], str, str, str]] = {
    # name: (spec, plan of the task, class, reason, part of the message)
    "unknown-executor": ({"executor": "nope"}, {}, "User", "InvalidSpec", "spec.executor"),
    "missing-cache": (
        {"cacheRef": {"name": "nowhere"}, "timeouts": {"queue": "3s"}}, {}, "Policy", "CacheNotFound", "nowhere",
    ),
    "dockerfile-fails": (
        {}, {"exitCodes": {"fetch": 0, "build": 1}, "log": ["#7 ERROR: process \"/bin/false\" did not complete"]},
        "User", "BuildStepFailed", "exit",
    ),
    "source-missing": ({}, {"exitCodes": {"fetch": 2}}, "User", "SourceNotFound", "source"),
    "source-denied": ({}, {"exitCodes": {"fetch": 3}}, "User", "SourceAuthFailed", "source"),
    "dockerfile-missing": ({}, {"exitCodes": {"fetch": 4}}, "User", "DockerfileNotFound", "Dockerfile"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_the_right_reason_and_never_in_a_traceback(world: World, namespace: str, name: str) -> None:
    spec, plan, kind, reason, text = BAD[name]
    world.ready(namespace)
    world.simulate(**plan)
    world.create(namespace, "builds", {**world.build(name), "spec": {**world.build(name)["spec"], **spec}})
    body = world.ended(namespace, name)
    succeeded, failure = condition(body, "Succeeded"), body["status"]["failure"]
    assert (succeeded["status"], succeeded["reason"]) == ("False", reason)
    assert (failure["class"], failure["reason"]) == (kind, reason)
    assert text.lower() in failure["message"].lower()
    stalled = condition(body, "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason)
    assert body["status"]["completionTime"], "what people wait for"
    assert "Traceback" not in world.operator_log()


def test_c22_what_the_documents_wait_for_comes_when_a_build_fails(world: World, namespace: str) -> None:
    world.ready(namespace)
    world.simulate(exitCodes={"fetch": 0, "build": 1})
    world.create(namespace, "builds", world.build("web-1"))
    waited = subprocess.run(
        [
            *(ensure("kubectl", print), f"--kubeconfig={world.info['kubeconfig']}", f"--namespace={namespace}"),
            *("wait", "--for=jsonpath={.status.completionTime}", "--timeout=60s", "build/web-1"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (waited.returncode, waited.stdout.strip()) == (0, "build.buildcache.dev/web-1 condition met"), waited.stderr
    assert condition(world.get(namespace, "builds", "web-1"), "Succeeded")["status"] == "False"


def test_a_build_deleted_while_it_runs_stops_its_task(world: World, namespace: str) -> None:
    """T57, F52: no orphan."""
    world.ready(namespace)
    world.simulate(build=600)
    build = world.create(namespace, "builds", world.build("web-1"))
    world.reaches(namespace, "builds", "web-1", "Succeeded", "Unknown", "Running")
    world.delete(namespace, "builds", "web-1")
    world.gone(namespace, "builds", "web-1")
    (task,) = world.tasks(build)
    assert (task["status"], task["stopCode"]) == ("STOPPED", "UserInitiated")


def test_the_straight_path_needs_few_writes_and_meets_no_conflict(world: World, namespace: str) -> None:
    """At most seven writes from creation to the end, and no refusal by RBAC or resourceVersion."""
    world.ready(namespace)
    before = world.audit_size()
    world.create(namespace, "builds", world.build("web-1"))
    world.ended(namespace, "web-1")
    requests = world.audit(before)
    writes = [
        (entry["verb"], entry["objectRef"].get("subresource", ""))
        for entry in requests
        if entry["verb"] in WRITES and entry["objectRef"]["resource"] == "builds"
    ]
    assert len(writes) <= 7, writes
    assert [entry["responseStatus"]["code"] for entry in requests if entry["responseStatus"]["code"] >= 400] == []
