"""Every reason that a Build can show (docs/reasons.md), each reached by the facts that ECS really gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.report import Report
from buildcache.core.status import BUILD_REASONS, ConditionType, Reason
from tests.fakes.builds import START, cache_body
from tests.fakes.world import NO_ROOM, REPORT, SPOT, THROTTLED, World, cancel, others, stopped

OOM = "OutOfMemoryError: Container killed due to memory usage"


class Case(NamedTuple):
    status: str
    reason: str
    failure_class: str | None
    reached: Callable[[], World]


def task(**end: Any) -> Callable[[], World]:
    """The task ran and ECS says this of it."""

    def reached() -> World:
        world = World(retries=0)
        tail = end.pop("tail", None)
        arn = world.launched()
        if tail is not None:
            world.ecs.tails[arn, "build"] = tail
        world.finish(**end)
        return world

    return reached


def failed_to_start(said: str) -> Callable[[], World]:
    return task(codes={}, stop_code="TaskFailedToStart", reason=said)


def waiting(*answers: Any, later: dict[str, float] | None = None, **spec: Any) -> Callable[[], World]:
    """RunTask answers this for as long."""

    def reached() -> World:
        world = World(**spec)
        world.ecs.answers = [*answers]
        world.shell.settle()
        if later:
            world.shell.later(**later)
            # Where an earlier call may have started a task, it is looked for before the Build ends.
            world.shell.later(minutes=1)
        return world

    return reached


def queued(later: dict[str, float] | None = None, **spec: Any) -> Callable[[], World]:
    def reached() -> World:
        world = World(cache=cache_body(limits={"maxConcurrentBuilds": 1, "maxQueuedBuilds": 1}), **spec)
        world.view.builds = [*others(1, held=True), world.shell.body]
        world.shell.settle()
        if later:
            world.shell.later(**later)
        return world

    return reached


def full() -> World:
    world = World(cache=cache_body(limits={"maxConcurrentBuilds": 1, "maxQueuedBuilds": 1}))
    world.view.builds = [*others(1, held=True), *others(1), world.shell.body]
    world.shell.settle()
    return world


def no_cache(minutes: float) -> Callable[[], World]:
    def reached() -> World:
        world = World()
        world.view.body = None
        world.shell.settle()
        world.shell.later(minutes=minutes)
        return world

    return reached


def running() -> World:
    world = World()
    world.ecs.run(world.launched())
    world.shell.settle()
    return world


def retrying() -> World:
    world = World()
    world.launched()
    world.finish(**SPOT)
    return world


def cancelling() -> World:
    world = running()
    cancel(world)
    world.shell.settle()
    return world


def cancelled() -> World:
    world = cancelling()
    stopped(world)
    return world


def run_timeout() -> World:
    world = running()
    world.ecs.tails[world.ecs.only().arn, "build"] = "step 1"
    world.shell.later(hours=1)
    stopped(world, 0)
    return world


def start_timeout() -> World:
    world = World(retries=0)
    world.launched()
    world.shell.later(minutes=10)
    stopped(world, None)
    return world


def expired() -> World:
    world = World()
    world.ecs.unseen.add(world.launched())
    world.shell.later(minutes=59)
    world.shell.later(minutes=6)
    return world


STEP = {"codes": {"fetch": 0, "build": 1, "report": 0}}

CASES: dict[str, Case] = {
    "AWS does not answer the first call": Case("Unknown", "Accepted", None, waiting(Unavailable("down"))),
    "no BuildCache yet": Case("Unknown", "WaitingForCache", None, no_cache(1)),
    "all places are taken": Case("Unknown", "Queued", None, queued()),
    "T38: RunTask is throttled": Case("Unknown", "Throttled", None, waiting(THROTTLED)),
    "T49: RunTask answers 200 with failures": Case("Unknown", "WaitingForCapacity", None, waiting(NO_ROOM)),
    "PROVISIONING": Case("Unknown", "Provisioning", None, waiting()),
    "RUNNING": Case("Unknown", "Running", None, running),
    "T52: interrupted, with attempts left": Case("Unknown", "Retrying", None, retrying),
    "StopTask was asked for": Case("Unknown", "Cancelling", None, cancelling),
    "exit code 0": Case("True", "Completed", None, task()),
    "T56: stopped by us": Case("False", "Cancelled", None, cancelled),
    # User
    "executor that is not there": Case("False", "InvalidSpec", "User", waiting(executor="nope")),
    "fetch 5": Case("False", "InvalidSpec", "User", task(codes={"fetch": 5, "build": None, "report": None})),
    "fetch 2": Case("False", "SourceNotFound", "User", task(codes={"fetch": 2, "build": None, "report": None})),
    "fetch 3": Case("False", "SourceAuthFailed", "User", task(codes={"fetch": 3, "build": None, "report": None})),
    "fetch 4": Case("False", "DockerfileNotFound", "User", task(codes={"fetch": 4, "build": None, "report": None})),
    "build 1": Case("False", "BuildStepFailed", "User", task(**STEP)),
    "T54: build 1 though the essential container ended with 0": Case("False", "BuildStepFailed", "User", task(**STEP)),
    "T55: 137 with OutOfMemoryError": Case(
        "False", "OutOfMemory", "User", task(codes={"fetch": 0, "build": 137, "report": 0}, reasons={"build": OOM})
    ),
    "full disk, told by the log": Case(
        "False", "OutOfDisk", "User", task(**STEP, tail="ERROR: write /x: no space left on device")
    ),
    "refused push, told by the log": Case(
        "False", "PushDenied", "User", task(**STEP, tail="ERROR: failed to push r/web:1: 403 Forbidden")
    ),
    "T58: longer than timeouts.run": Case("False", "RunTimeout", "User", run_timeout),
    # Policy
    "no BuildCache within timeouts.queue": Case("False", "CacheNotFound", "Policy", no_cache(60)),
    "more wait than may": Case("False", "QueueFull", "Policy", full),
    "T59: overrides too long": Case(
        "False",
        "LimitExceeded",
        "Policy",
        waiting(buildArgs=[{"name": f"A{number}", "value": "x" * 2000} for number in range(5)]),
    ),
    # Infrastructure
    "no turn within timeouts.queue": Case("False", "QueueTimeout", "Infrastructure", queued({"hours": 1})),
    "no container within timeouts.start": Case("False", "StartTimeout", "Infrastructure", start_timeout),
    "T49: no room within timeouts.queue": Case(
        "False",
        "CapacityUnavailable",
        "Infrastructure",
        waiting(NO_ROOM, NO_ROOM, later={"minutes": 20}, timeouts={"queue": "20m"}),
    ),
    "no room for a task that was accepted": Case(
        "False", "CapacityUnavailable", "Infrastructure", failed_to_start("Capacity is unavailable at this time.")
    ),
    "T53: image": Case(
        "False",
        "ImagePullFailed",
        "Infrastructure",
        failed_to_start("CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"),
    ),
    "EFS: the name does not resolve": Case(
        "False",
        "CacheMountFailed",
        "Infrastructure",
        failed_to_start(
            "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to "
            'resolve "fs-0123.efs.eu-west-1.amazonaws.com"'
        ),
    ),
    "T52: Spot, exit code 0": Case("False", "Interrupted", "Infrastructure", task(**SPOT)),
    "T60: stopped by somebody": Case(
        "False",
        "Interrupted",
        "Infrastructure",
        task(codes={"fetch": 0, "build": 137, "report": None}, stop_code="UserInitiated", reason="by admin"),
    ),
    "network interface": Case(
        "False",
        "TaskFailedToStart",
        "Infrastructure",
        failed_to_start("Unexpected EC2 error while attempting to Create Network Interface"),
    ),
    "T53: no exit code": Case(
        "False", "TaskFailedToStart", "Infrastructure", task(codes={"fetch": 0, "build": None, "report": None})
    ),
    "RunTask is not valid": Case(
        "False",
        "TaskFailedToStart",
        "Infrastructure",
        waiting(*[Rejected(Reason.INVALID_SPEC, "InvalidParameterException")] * 3, later={"minutes": 10}),
    ),
    "T50: MISSING for an hour": Case("False", "TaskRecordExpired", "Infrastructure", expired),
    "T39: RunTask is denied": Case(
        "False", "AccessDenied", "Infrastructure", waiting(*[Denied("no")] * 3, later={"minutes": 10})
    ),
    "T43: RunTask with a role that cannot be assumed": Case(
        "False",
        "AccessDenied",
        "Infrastructure",
        waiting(
            *[Rejected(Reason.ACCESS_DENIED, "ClientException: ECS was unable to assume the role")] * 3,
            later={"minutes": 10},
        ),
    ),
    "T43: role that cannot be assumed": Case(
        "False",
        "AccessDenied",
        "Infrastructure",
        failed_to_start("ECS was unable to assume the role 'arn:aws:iam::111122223333:role/build'"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str) -> None:
    case = CASES[name]
    shell = case.reached().shell
    assert shell.succeeded == (case.status, case.reason)
    assert shell.status.get("failure", {}).get("class") == case.failure_class
    if case.failure_class is not None:
        assert shell.condition("Stalled") == ("True", case.reason)
        assert shell.status["failure"]["hint"]
    elif case.status == "Unknown":
        assert shell.condition("Reconciling")[0] == "True"
    else:
        assert shell.condition("Reconciling") == shell.condition("Stalled") == ("", "")
    if case.status != "Unknown":
        assert shell.writes[-2:] == ["status", "release"], "a finished Build costs two patches"
        assert shell.status["completionTime"]


def test_no_reason_is_left_out() -> None:
    assert {case.reason for case in CASES.values()} == {
        reason.value for reason in BUILD_REASONS[ConditionType.SUCCEEDED] - {Reason.INTERNAL_ERROR}
    }


def cache_used(*, cache: dict[str, Any] | None = None, report: Report = REPORT, **spec: Any) -> tuple[str, str]:
    world = World(cache, **spec)
    arn = world.launched()
    world.ecs.reports[arn] = report
    world.finish()
    assert world.shell.succeeded == ("True", "Completed"), "whatever the cache does, the Build does not fail by it"
    return world.shell.condition("CacheUsed")


def deleted() -> dict[str, Any]:
    body = cache_body()
    body["metadata"]["deletionTimestamp"] = (START + timedelta(minutes=1)).isoformat()
    return body


CACHE_USED: dict[str, tuple[str, Callable[[], tuple[str, str]]]] = {
    "every step": ("Hit", lambda: cache_used(report=Report(steps=(6, 6)))),
    "some steps": ("PartialHit", lambda: cache_used(report=Report(steps=(6, 2)))),
    "no step": ("Cold", lambda: cache_used(report=Report(steps=(6, 0)))),
    "no step that is cached": ("NothingToCache", lambda: cache_used(report=Report(steps=(0, 0)))),
    "switched off": ("Disabled", lambda: cache_used(cache=cache_body(enabled=False))),
    "T63: repository not ready": ("NotReady", lambda: cache_used(cache=cache_body(ready=()))),
    "being deleted": ("NotReady", lambda: cache_used(cache=deleted())),
    "mode None": ("NotRequested", lambda: not_requested()),
    "import failed": ("ImportFailed", lambda: cache_used(report=Report(steps=(6, 0), import_error="denied"))),
    "export failed": ("ExportFailed", lambda: cache_used(report=Report(steps=(6, 6), export_error="denied"))),
}


def not_requested() -> tuple[str, str]:
    world = World(retries=0)
    world.shell.body["spec"]["cache"] = {"mode": "None"}
    world.launched()
    world.finish()
    return world.shell.condition("CacheUsed")


@pytest.mark.parametrize("name", CACHE_USED)
def test_cache_used(name: str) -> None:
    reason, reached = CACHE_USED[name]
    assert reached() == (str(reason in ("Hit", "PartialHit", "Cold", "NothingToCache")), reason)


def test_no_reason_of_the_cache_is_left_out() -> None:
    assert {reason for reason, _ in CACHE_USED.values()} == {
        each.value for each in BUILD_REASONS[ConditionType.CACHE_USED]
    }
