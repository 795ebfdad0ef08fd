"""The Build pass with its real drivers against the lab's AWS: tokens, faults on the wire, tasks that run, logs that are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from buildcache.api.cache import BuildCache
from buildcache.aws.clients import Session
from buildcache.core import names, tasks
from buildcache.core.names import Identity
from buildcache.core.status import timestamp
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.executor import EcsExecutor
from tests.fakes.builds import DIGEST, FakeView, Shell, build_body, cache_body
from tests.lab.aws.served import Served, served, unique

QUICK = {"start": 0.02, "build": 0.05}
REPORT = {
    "version": 1,
    "digest": DIGEST,
    "steps": {"total": 6, "cached": 6},
    "imported": True,
    "exported": True,
    "buildSeconds": 2,
}


class World:
    """One account with a BuildCache whose executor can be used, and processes of the operator that come and go."""

    def __init__(self, aws: Served) -> None:
        self.aws = aws
        self.session = Session(pool=4)
        self.view = FakeView(self._cache())
        self.start()

    def start(self) -> None:
        """A new process of the operator."""
        executor = EcsExecutor(self.session)
        self.poller = executor.poller
        self.reconciler = BuildReconciler(self.view, executor, cluster_id="test")

    def build(self, **spec: Any) -> Shell:
        return Shell(self.reconciler, build_body(created=now(), uid=unique("uid"), **spec), now())

    def restarted(self, shell: Shell) -> None:
        self.start()
        shell.reconciler = self.reconciler

    def drive(self, shell: Shell, done: Callable[[], bool], seconds: float = 60) -> None:
        """Polls and passes until it is done."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, shell.body
            shell.now = now()
            self.poll()
            shell.settle()
            time.sleep(0.02)

    def poll(self) -> list[str]:
        return self.poller.poll(self.aws.aws.region, now)

    def finish(self, shell: Shell) -> tuple[str, str]:
        self.drive(shell, lambda: shell.succeeded[0] in ("True", "False"))
        return shell.succeeded

    def tasks_of(self, shell: Shell) -> list[dict[str, Any]]:
        return [task for task in self.aws.aws.tasks() if task["startedBy"] == shell.body["metadata"]["uid"]]

    def close(self) -> None:
        clients = self.session.region(self.aws.aws.region)
        clients.ecs.close()
        clients.logs.close()

    def _cache(self) -> dict[str, Any]:
        world, aws = self.aws.aws.world, self.aws.aws
        group = self.aws.client("ec2").create_security_group(
            GroupName=unique("group"), Description="build", VpcId=world.vpc_id
        )["GroupId"]
        body = cache_body(
            region=aws.region,
            clusterARN=world.cluster_arn,
            network={"vpcID": world.vpc_id, "subnetIDs": list(world.subnet_ids[:2]), "securityGroupIDs": [group]},
        )
        cache = BuildCache.parse(body)
        identity = Identity("test", "team-a", "shop", "cache-uid")
        definition = tasks.task_definition(identity, cache.spec, cache.spec.executors[0], runner_image="operator:1")
        self.aws.client("logs").create_log_group(logGroupName=names.log_group_name(identity))
        registered = self.aws.client("ecs").register_task_definition(**definition.request)
        body["status"]["parts"][0]["id"] = registered["taskDefinition"]["taskDefinitionArn"]
        return body


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with served() as aws:
        yield aws


@pytest.fixture(scope="module")
def shared(running: Served) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", running.aws.url)
        environment.setenv("AWS_ACCESS_KEY_ID", "test")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
        world = World(running)
        yield world
        world.close()


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    shared.aws.aws.clear_faults()
    shared.aws.aws.set_runtime("simulated", {**QUICK, "report": REPORT})
    shared.start()
    yield shared
    shared.aws.aws.clear_faults()


def plan(world: World, **changes: Any) -> None:
    world.aws.aws.set_runtime("simulated", {**QUICK, "report": REPORT, **changes})


def fault(world: World, kind: str, operation: str = "RunTask", **more: Any) -> None:
    world.aws.aws.add_faults([{"operation": operation, "kind": kind, "times": 1, **more}])


def test_build_to_its_end_with_the_result_of_the_report(world: World) -> None:
    shell = world.build()
    since = world.aws.next_call
    assert world.finish(shell) == ("True", "Completed")
    assert shell.status["image"]["digest"] == DIGEST
    assert shell.status["cache"]["hitPercent"] == 100
    assert shell.condition("CacheUsed") == ("True", "Hit")
    (task,) = world.tasks_of(shell)
    assert shell.status["attempts"][0]["taskARN"] == task["arn"]
    calls = [call["operation"] for call in world.aws.calls(since)]
    assert calls.count("RunTask") == 1
    assert set(calls) == {"RunTask", "DescribeTasks", "GetLogEvents"}
    assert shell.writes[:2] == ["status", "hold"]
    assert shell.writes[-1] == "release"
    assert len(shell.writes) <= 6


def test_kaniko_tells_its_steps_by_its_log(world: World) -> None:
    log = [
        "INFO[0001] Using caching version of cmd: RUN make",
        "INFO[0002] RUN make",
        "INFO[0003] RUN make install",
    ]
    plan(world, log=log, report={"version": 1, "engine": "Kaniko", "digest": DIGEST})
    shell = world.build()
    assert world.finish(shell) == ("True", "Completed")
    assert shell.status["image"]["digest"] == DIGEST
    assert shell.status["cache"]["steps"] == {"total": 2, "cached": 1}
    assert shell.condition("CacheUsed") == ("True", "PartialHit")
    assert shell.status["timing"]["buildSeconds"] == 3


def test_finished_build_is_polled_no_more(world: World) -> None:
    shell = world.build()
    world.finish(shell)
    assert world.poller.next_in() == {}


@pytest.mark.parametrize("kind", ["lost", "reset", "error", "throttle"])
def test_t06_t41_f24_run_task_under_faults_gives_one_task(world: World, kind: str) -> None:
    # The SDK tries twice; so does the fault.
    world.aws.aws.add_faults([{"operation": "RunTask", "kind": kind, "times": 3}])
    shell = world.build()
    assert world.finish(shell) == ("True", "Completed")
    assert len(world.tasks_of(shell)) == 1


def test_t49_failures_in_a_good_answer_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildcache.reconcile.capacity.FIRST_PAUSE", timedelta(seconds=0.1))
    fault(world, "failures", reason="RESOURCE:MEMORY")
    shell = world.build()
    assert shell.settle().again_after == 0.1
    assert shell.succeeded == ("Unknown", "WaitingForCapacity")
    assert world.finish(shell) == ("True", "Completed")
    assert len(world.tasks_of(shell)) == 1


def test_denied_run_task_names_the_action(world: World) -> None:
    fault(world, "denied")
    shell = world.build()
    shell.settle()
    assert shell.succeeded == ("Unknown", "Retrying")
    (succeeded,) = [each for each in shell.status["conditions"] if each["type"] == "Succeeded"]
    assert "ecs:RunTask" in succeeded["message"]
    assert world.finish(shell) == ("True", "Completed")


class _Killed(BaseException):
    """Stands in for the end of the process."""


def test_t07_f25_conflict_adopts_the_task(world: World) -> None:
    """The cache registers a new revision between a call whose status was lost and the next one."""
    shell = world.build()
    since = world.aws.next_call
    shell.lose_launch = True
    shell.settle()
    assert len(world.tasks_of(shell)) == 1
    ecs = world.aws.client("ecs")
    assert world.view.body is not None
    part = world.view.body["status"]["parts"][0]
    before = part["id"]
    definition = ecs.describe_task_definition(taskDefinition=before)["taskDefinition"]
    again = ecs.register_task_definition(
        family=definition["family"],
        containerDefinitions=definition["containerDefinitions"],
        volumes=definition["volumes"],
        cpu="256",
        memory="8192",
        networkMode="awsvpc",
        requiresCompatibilities=["EC2"],
    )
    part["id"] = again["taskDefinition"]["taskDefinitionArn"]
    try:
        world.restarted(shell)
        assert world.finish(shell) == ("True", "Completed")
    finally:
        part["id"] = before
    assert [call["status"] for call in world.aws.calls(since) if call["operation"] == "RunTask"] == [200, 400]
    assert len(world.tasks_of(shell)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_t09_crash_at_run_task_gives_one_task(world: World, when: str) -> None:
    world.aws.aws.crash("RunTask", when)
    shell = world.build()
    # The server closes the connection without an answer; that the process survives it here makes no difference to AWS.
    with suppress(_Killed):
        shell.lose_launch = True
        shell.settle()
    world.restarted(shell)
    assert world.finish(shell) == ("True", "Completed")
    assert len(world.tasks_of(shell)) == 1


def test_t08_old_build_whose_status_was_lost_finds_its_running_task(world: World) -> None:
    plan(world, build=0.6)
    shell = world.build()
    shell.body["metadata"]["creationTimestamp"] = timestamp(now() - timedelta(hours=3))
    shell.body["spec"]["timeouts"] = {"queue": "9h"}
    world.drive(shell, lambda: bool(world.tasks_of(shell)))
    shell.body["status"] = {"observedGeneration": -1}
    world.restarted(shell)
    assert world.finish(shell) == ("True", "Completed")
    assert len(world.tasks_of(shell)) == 1


def test_f26_old_build_whose_status_was_lost_finds_its_stopped_task(world: World) -> None:
    shell = world.build()
    shell.body["metadata"]["creationTimestamp"] = timestamp(now() - timedelta(hours=3))
    shell.body["spec"]["timeouts"] = {"queue": "9h"}
    world.drive(shell, lambda: bool(world.tasks_of(shell)))
    deadline = time.monotonic() + 60
    while world.tasks_of(shell)[0]["status"] != "STOPPED":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    shell.body["status"] = {"observedGeneration": -1}
    world.restarted(shell)
    assert world.finish(shell) == ("True", "Completed")
    assert len(world.tasks_of(shell)) == 1


def test_t06_task_that_stopped_before_its_launch_was_noted_is_collected(world: World) -> None:
    """The same RunTask is answered with no more than the stopped task's ARN and state: it is asked about, not believed."""
    shell = world.build()
    shell.lose_launch = True
    world.drive(shell, lambda: [task["status"] for task in world.tasks_of(shell)] == ["STOPPED"])
    shell.body["status"] = {"observedGeneration": -1}
    world.restarted(shell)
    since = world.aws.next_call
    assert world.finish(shell) == ("True", "Completed")
    assert shell.status["image"]["digest"] == DIGEST
    assert len(world.tasks_of(shell)) == 1
    # An answer that does not say who started the task, if believed, makes the task nobody's: RunTask again, as fast as the rate allows.
    assert [call["operation"] for call in world.aws.calls(since)].count("RunTask") == 1


@pytest.mark.parametrize(
    ("changes", "reason", "failure_class"),
    [
        ({"exitCodes": {"build": 1}, "log": ["#9 ERROR: \x1b[31mexit code: 1\x1b[0m"]}, "BuildStepFailed", "User"),
        ({"exitCodes": {"build": 137}, "log": ["x"]}, "OutOfMemory", "User"),
        ({"exitCodes": {"fetch": 4}}, "DockerfileNotFound", "User"),
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": "CannotPullContainerError: not found"},
            "ImagePullFailed",
            "Infrastructure",
        ),
        (
            {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."},
            "Interrupted",
            "Infrastructure",
        ),
    ],
    ids=["T54 step failed", "T55 out of memory", "no Dockerfile", "T53 image", "T52 interrupted"],
)
def test_ends(world: World, changes: Any, reason: str, failure_class: str) -> None:
    plan(world, **changes)
    shell = world.build(retries=0)
    assert world.finish(shell) == ("False", reason)
    assert shell.status["failure"]["class"] == failure_class
    if reason == "BuildStepFailed":
        assert shell.status["failure"]["logTail"] == "#9 ERROR: exit code: 1"
    if reason == "DockerfileNotFound":
        assert shell.status["failure"]["logTail"] == "simulated: exit code 4"


def test_build_runs_while_its_task_is_still_pending(world: World) -> None:
    world.aws.aws.set_runtime("simulated", {"start": 1.2, "build": 2})
    shell = world.build()
    world.drive(shell, lambda: shell.succeeded == ("Unknown", "Running"))
    assert [task["status"] for task in world.tasks_of(shell)] == ["PENDING"]
    assert world.finish(shell) == ("True", "Completed")
    timing = shell.status["timing"]
    assert 1 <= timing["provisioningSeconds"] <= timing["totalSeconds"] - 2, "the build's own time is no part of it"


def test_t52_interrupted_task_is_followed_by_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildcache.core.retry.FIRST", timedelta(seconds=0.2))
    plan(world, stopCode="SpotInterruption", stoppedReason="Your Spot Task was interrupted.")
    shell = world.build()
    world.drive(shell, lambda: shell.succeeded == ("Unknown", "Retrying"))
    plan(world)
    assert world.finish(shell) == ("True", "Completed")
    first, second = world.tasks_of(shell)
    assert first["clientToken"] != second["clientToken"]
    assert [row["taskARN"] for row in shell.status["attempts"]] == [first["arn"], second["arn"]]


@pytest.mark.parametrize("when", ["before it runs", "while it runs"])
def test_t56_cancelled_task_is_stopped_once(world: World, when: str) -> None:
    plan(world, build=60, **({"start": 60} if when == "before it runs" else {}))
    shell = world.build()
    wanted = "Provisioning" if when == "before it runs" else "Running"
    world.drive(shell, lambda: shell.succeeded == ("Unknown", wanted))
    since = world.aws.next_call
    shell.body["spec"]["cancel"] = True
    assert world.finish(shell) == ("False", "Cancelled")
    assert [call["operation"] for call in world.aws.calls(since)].count("StopTask") == 1
    assert [task["stopCode"] for task in world.tasks_of(shell)] == ["UserInitiated"]


def test_t58_build_that_runs_too_long_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildcache.reconcile.collection.DRAIN", timedelta(seconds=0.5))
    plan(world, build=60, log=["step 1"])
    shell = world.build(timeouts={"run": "1s"})
    assert world.finish(shell) == ("False", "RunTimeout")
    assert shell.status["failure"]["logTail"] == "step 1"


def test_reports_of_tasks_that_end_together_are_read_together(world: World) -> None:
    plan(world, build=2)
    shells = [world.build() for _ in range(8)]
    for shell in shells:
        shell.settle()
        shell.now = now()
    for shell in shells:
        world.drive(shell, lambda shell=shell: shell.succeeded == ("Unknown", "Running"))  # type: ignore[misc]
    deadline = time.monotonic() + 60
    while any(task["status"] != "STOPPED" for shell in shells for task in world.tasks_of(shell)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    since = world.aws.next_call
    world.poll()
    for shell in shells:
        shell.now = now()
        shell.settle()
        assert shell.succeeded == ("True", "Completed")
        assert shell.status["image"]["digest"] == DIGEST
    assert [call["operation"] for call in world.aws.calls(since)] == ["DescribeTasks", "FilterLogEvents"]


@pytest.mark.parametrize("kind", ["throttle", "denied", "error"])
def test_search_that_fails_costs_only_the_single_reads(world: World, kind: str) -> None:
    world.aws.aws.add_faults([{"operation": "FilterLogEvents", "kind": kind, "times": -1}])
    shells = [world.build() for _ in range(6)]
    for shell in shells:
        shell.settle()
    for shell in shells:
        assert world.finish(shell) == ("True", "Completed")
        assert shell.status["image"]["digest"] == DIGEST


def test_t67_throttled_log_does_not_change_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildcache.reconcile.collection.DRAIN", timedelta(seconds=0.5))
    world.aws.aws.add_faults([{"operation": "GetLogEvents", "kind": "throttle", "times": -1}])
    assert world.finish(world.build()) == ("True", "Completed")


def test_throttled_polls_lose_nothing(world: World) -> None:
    shell = world.build()
    shell.settle()
    world.aws.aws.add_faults([{"operation": "DescribeTasks", "kind": "throttle", "times": 2}])
    world.drive(shell, lambda: shell.succeeded == ("True", "Completed"))


def test_f52_deleted_build_stops_its_task_and_waits_for_it(world: World) -> None:
    plan(world, build=60)
    shell = world.build()
    world.drive(shell, lambda: shell.succeeded == ("Unknown", "Running"))
    since = world.aws.next_call
    shell.delete()
    world.drive(shell, shell.gone)
    (task,) = world.tasks_of(shell)
    assert task["status"] == "STOPPED"
    assert task["stopCode"] == "UserInitiated"
    assert [call["operation"] for call in world.aws.calls(since)].count("StopTask") == 1


def test_t57_build_deleted_right_after_a_lost_run_task_leaves_no_task(world: World) -> None:
    plan(world, build=60)
    world.aws.aws.add_faults([{"operation": "RunTask", "kind": "lost", "times": 2}])
    shell = world.build()
    shell.settle()
    shell.delete()
    world.restarted(shell)
    world.drive(shell, shell.gone)
    assert [task["status"] for task in world.tasks_of(shell)] == ["STOPPED"]


def test_t57_deleted_build_whose_task_was_stopped_by_a_call_without_an_answer_goes_at_once(world: World) -> None:
    """ECS does not list by `startedBy` what shall stop: who has not noted the task before waits a minute for one that does not come."""
    plan(world, build=60)
    world.aws.aws.add_faults([{"operation": name, "kind": "lost", "times": 2} for name in ("RunTask", "StopTask")])
    shell = world.build()
    shell.settle()
    shell.delete()
    world.restarted(shell)
    world.drive(shell, lambda: world.tasks_of(shell)[0]["status"] == "STOPPED")
    world.restarted(shell)
    world.drive(shell, shell.gone)
    assert len(world.tasks_of(shell)) == 1


def test_poll_of_many_tasks_is_one_call(world: World) -> None:
    plan(world, build=5)
    shells = [world.build() for _ in range(20)]
    for shell in shells:
        shell.settle()
    since = world.aws.next_call
    world.poll()
    assert [call["operation"] for call in world.aws.calls(since)] == ["DescribeTasks"]
