"""A Build's control plane against an AWS that we did not write: started once, found again, stopped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from buildcache.aws.clients import Session
from buildcache.core.status import timestamp
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.executor import EcsExecutor
from buildcache.reconcile.poller import Poller
from tests.fakes.builds import FakeView, Shell, build_body
from tests.lab.aws.served import unique
from tests.ministack.account import REGION, Account
from tests.ministack.conftest import Calls
from tests.reconcile.conftest import Cache, spec_of


class Operator:
    """Passes over Builds of one BuildCache; `restart` loses all memory, as a crash does."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.cache = Cache(account, spec_of(account.world))
        self.cache.settle()
        assert self.cache.conditions()["Ready"] == ("True", "Available")
        self.view = FakeView(self.cache.body)
        # ECS stamps its answers by its own clock; what passes between passes is virtual all the same.
        self.now = datetime.now(UTC)
        self._reconciler, self.poller = self._start()

    def _start(self) -> tuple[BuildReconciler, Poller]:
        executor = EcsExecutor(Session(pool=4))
        doubt = self.cache.reconciler.doubt
        return BuildReconciler(self.view, executor, cluster_id="test", doubt=doubt), executor.poller

    def restart(self, shell: Shell) -> None:
        shell.reconciler, self.poller = self._start()

    def build(self, **spec: Any) -> Shell:
        return Shell(self._reconciler, build_body(created=self.now, uid=unique("uid"), **spec), self.now)

    def poll(self, shell: Shell, **later: float) -> None:
        """A look at all tasks, and the pass that it wakes."""
        shell.now += timedelta(**later)
        self.poller.poll(REGION, lambda: shell.now)
        shell.settle()

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks of the account, running or not, as ECS describes them."""
        ecs, cluster = self.account.client("ecs"), self.account.cluster_arn
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in ecs.list_tasks(cluster=cluster, desiredStatus=status)["taskArns"]
        ]
        return list(ecs.describe_tasks(cluster=cluster, tasks=arns, include=["TAGS"])["tasks"])


@pytest.fixture
def operator(account: Account, calls: Calls) -> Operator:
    return Operator(account)


def test_a_build_runs_as_one_task_that_carries_its_name(operator: Operator, calls: Calls) -> None:
    shell = operator.build()
    calls.names.clear()
    shell.settle()
    assert calls.names == ["RunTask"]
    (task,) = operator.tasks()
    assert shell.status["attempts"][0]["taskARN"] == task["taskArn"]
    assert task["startedBy"] == shell.body["metadata"]["uid"]
    assert task["taskDefinitionArn"] == operator.cache.part("executor/ec2")
    assert {each["name"] for each in task["overrides"]["containerOverrides"]} == {"fetch", "build", "report"}
    operator.poll(shell, seconds=5)
    assert shell.succeeded == ("Unknown", "Running")
    calls.names.clear()
    operator.poll(shell, seconds=5)
    assert calls.names == ["DescribeTasks"]


def test_a_cancelled_build_stops_its_task(operator: Operator, calls: Calls) -> None:
    shell = operator.build()
    shell.settle()
    operator.poll(shell, seconds=5)
    shell.body["spec"]["cancel"] = True
    shell.settle()
    operator.poll(shell, seconds=31)
    assert shell.succeeded == ("False", "Cancelled")
    (task,) = operator.tasks()
    assert task["desiredStatus"] == "STOPPED"
    assert "cancel" in task["stoppedReason"]
    assert calls.names.count("StopTask") == 1


def test_a_deleted_build_goes_when_its_task_has_stopped(operator: Operator) -> None:
    shell = operator.build()
    shell.settle()
    operator.poll(shell, seconds=5)
    shell.delete()
    for _ in range(3):
        operator.poll(shell, seconds=31)
    assert shell.gone()
    assert [task["desiredStatus"] for task in operator.tasks()] == ["STOPPED"]


def test_t09_a_crash_after_run_task_gives_one_task_by_its_token(operator: Operator, calls: Calls) -> None:
    shell = operator.build()
    shell.lose_launch = True
    shell.settle()
    (started,) = operator.tasks()
    assert started["taskArn"] not in str(shell.status)
    operator.restart(shell)
    shell.settle()
    operator.poll(shell, seconds=5)
    assert calls.names.count("RunTask") == 2
    (task,) = operator.tasks()
    assert shell.status["attempts"][0]["taskARN"] == task["taskArn"]
    assert shell.succeeded == ("Unknown", "Running")


def test_t07_a_token_whose_cache_has_changed_meanwhile_adopts_the_task(operator: Operator, account: Account) -> None:
    shell = operator.build()
    shell.lose_launch = True
    shell.settle()
    operator.cache.edit(executors=[{**operator.cache.spec["executors"][0], "memory": 4096}])
    operator.cache.settle()
    operator.restart(shell)
    shell.settle()
    operator.poll(shell, seconds=5)
    (task,) = operator.tasks()
    assert task["taskDefinitionArn"] != operator.cache.part("executor/ec2")
    assert shell.status["attempts"][0]["taskARN"] == task["taskArn"]


def test_t08_an_old_build_without_status_is_found_by_who_started_its_task(operator: Operator, calls: Calls) -> None:
    shell = operator.build(timeouts={"queue": "9h"})
    shell.body["metadata"]["creationTimestamp"] = timestamp(operator.now - timedelta(hours=3))
    for _ in range(5):
        operator.poll(shell, seconds=61)
    (task,) = operator.tasks()
    shell.body["status"] = {"observedGeneration": -1}
    operator.restart(shell)
    calls.names.clear()
    shell.settle()
    operator.poll(shell, seconds=5)
    assert "ListTasks" in calls.names
    assert "RunTask" not in calls.names
    assert shell.status["attempts"][0]["taskARN"] == task["taskArn"]


def test_m1_a_timeout_holds_also_when_no_poll_shows_a_change(operator: Operator, calls: Calls) -> None:
    """The task is RUNNING in RunTask's own answer, and looks the same for ever."""
    shell = operator.build(timeouts={"run": "30s"})
    outcome = shell.settle()
    started = shell.now
    while "StopTask" not in calls.names:
        assert outcome.again_after is not None, "nothing wakes this Build any more"
        shell.now += timedelta(seconds=outcome.again_after)
        assert shell.now - started <= timedelta(seconds=60)
        operator.poller.poll(REGION, lambda: shell.now)
        outcome = shell.settle()
    operator.poll(shell, seconds=31)
    assert shell.succeeded == ("False", "RunTimeout")


def test_m2_a_definition_that_was_deregistered_is_made_anew_for_the_build_that_finds_it_gone(
    operator: Operator, account: Account
) -> None:
    gone = operator.cache.part("executor/ec2")
    account.client("ecs").deregister_task_definition(taskDefinition=gone)
    shell = operator.build()
    shell.settle()
    assert shell.succeeded == ("Unknown", "WaitingForCache")
    assert operator.tasks() == []
    # Its next look is not due for minutes; the Build has asked for one.
    operator.cache.settle()
    shell.later(seconds=60)
    operator.poll(shell, seconds=5)
    assert shell.succeeded == ("Unknown", "Running")
    (task,) = operator.tasks()
    assert task["taskDefinitionArn"] == operator.cache.part("executor/ec2") != gone
