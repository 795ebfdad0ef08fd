"""The Build pass against an ECS in memory: what becomes of a Build under each fault, and how many tasks there are."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildcache.aws.tasks import Refused
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.report import Report
from buildcache.core.status import Reason, timestamp
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.outcome import Outcome
from buildcache.reconcile.poller import Sighting
from tests.fakes.builds import CLUSTER, DIGEST, START, UID, FakeView, cache_body
from tests.fakes.executor import TASK_ARN, Crash
from tests.fakes.world import NO_ROOM, REPORT, SPOT, THROTTLED, World, cancel, others, stopped


def test_straight_path_is_six_writes_and_one_request() -> None:
    world = World()
    arn = world.launched()
    shell = world.shell
    assert shell.succeeded == ("Unknown", "Provisioning")
    assert shell.status["attempts"] == [{"number": 1, "taskARN": arn, "startedAt": timestamp(START)}]
    assert shell.status["executor"]["name"] == "ec2"
    assert shell.status["logs"] == {"group": "/buildcache/test/team-a/shop", "stream": f"build/build/{arn[-32:]}"}
    world.ecs.run(arn)
    assert world.ecs.only().last_status == "PENDING", "as long as `report` has not started"
    shell.later(seconds=30)
    assert shell.succeeded == ("Unknown", "Running")
    shell.later(seconds=10)
    world.ecs.reports[arn] = replace(REPORT, started_at=START + timedelta(seconds=28))
    world.finish()
    assert shell.succeeded == ("True", "Completed")
    assert shell.condition("CacheUsed") == ("True", "Cold")
    assert shell.condition("Reconciling") == shell.condition("Stalled") == ("", "")
    assert shell.status["image"]["digest"] == DIGEST
    assert shell.status["timing"]["provisioningSeconds"] == 28
    assert shell.status["attempts"][0]["exitCode"] == 0
    assert shell.writes == ["status", "hold", "status", "status", "status", "release"]
    assert len(world.ecs.requests) == 1
    assert shell.summary().cold


def test_finished_build_costs_nothing() -> None:
    world = World()
    world.launched()
    world.finish()
    before = (list(world.shell.writes), world.ecs.looks, len(world.ecs.requests))
    assert world.shell.later(hours=9) == Outcome()
    assert (world.shell.writes, world.ecs.looks, len(world.ecs.requests)) == before


def test_terminal_status_with_the_finalizer_still_on_is_released_only() -> None:
    world = World()
    world.launched()
    world.finish()
    world.shell.body["metadata"]["finalizers"] = ["buildcache.dev/finalizer"]
    assert world.shell.pass_once() == Outcome(finalizer="release")


def test_passes_without_news_write_nothing() -> None:
    world = World()
    world.launched()
    writes = list(world.shell.writes)
    for _ in range(5):
        world.shell.later(minutes=1)
    assert world.shell.writes == writes


# Launch


def test_t06_f24_lost_answer_is_harmless() -> None:
    world = World()
    world.ecs.answers = ["lost"]
    assert world.shell.settle().failed
    assert world.shell.condition("Reconciling") == ("True", "AwsUnavailable")
    assert world.shell.succeeded == ("Unknown", "Accepted")
    world.shell.later(seconds=2)
    assert world.shell.status["attempts"][0]["taskARN"] == world.ecs.only().arn
    assert world.ecs.requests[0] == world.ecs.requests[1]


@pytest.mark.parametrize("when", ["crash before", "crash after"])
def test_t09_t71_crash_at_run_task_gives_one_task(when: Any) -> None:
    world = World()
    world.ecs.answers = [when]
    with pytest.raises(Crash):
        world.shell.settle()
    world.restart()
    world.shell.later(seconds=20)
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")
    assert len(world.ecs.tasks) == 1


def test_crash_before_the_status_write_gives_one_task() -> None:
    world = World()
    world.shell.lose_launch = True
    world.shell.settle()
    arn = world.ecs.only().arn
    assert arn not in str(world.shell.status)
    world.restart()
    world.shell.later(minutes=2)
    assert world.shell.status["attempts"][0]["taskARN"] == arn == world.ecs.only().arn


def test_crash_before_the_note_of_the_cluster_starts_nothing() -> None:
    world = World()
    world.shell.lose_status = True
    world.shell.pass_once()
    assert world.shell.status == {"observedGeneration": -1}
    assert world.ecs.requests == []


def test_lost_status_of_a_running_build_is_found_again() -> None:
    world = World()
    arn = world.launched()
    world.shell.body["status"] = {"observedGeneration": -1}
    world.shell.later(minutes=10)
    assert world.shell.status["attempts"][0]["taskARN"] == arn
    world.shell.body["status"] = {"observedGeneration": -1}
    world.shell.later(hours=3)
    assert world.shell.status["attempts"][0]["taskARN"] == arn
    assert world.ecs.looks == 1, "only the one whose token may be dead is looked for"
    assert len(world.ecs.tasks) == 1


def test_f26_task_that_stopped_while_the_operator_was_down_is_found() -> None:
    world = World()
    world.ecs.answers = ["crash after"]
    with pytest.raises(Crash):
        world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.reports[arn] = REPORT
    world.ecs.end(arn, START + timedelta(minutes=100))
    world.restart()
    world.shell.later(hours=2)
    world.shell.settle()
    assert world.shell.succeeded == ("True", "Completed")
    assert len(world.ecs.tasks) == 1


def test_t08_f28_task_that_was_forgotten_is_not_started_again() -> None:
    world = World()
    world.ecs.answers = ["crash after"]
    with pytest.raises(Crash):
        world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.end(arn, START + timedelta(minutes=1))
    world.ecs.unseen.add(arn)
    world.restart()
    world.shell.later(hours=2)
    assert world.shell.succeeded == ("Unknown", "Accepted"), "the first look is not the last"
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("False", "TaskRecordExpired")
    assert world.shell.status["failure"]["class"] == "Infrastructure"
    assert len(world.ecs.tasks) == 1


def test_task_that_is_not_listed_yet_is_not_given_up() -> None:
    """Somebody has emptied the status of an old Build right after its task was started."""
    world = World(created=START - timedelta(hours=5), timeouts={"queue": "9h"})
    arn = world.launched()
    world.shell.body["status"] = {"observedGeneration": -1}
    world.ecs.unlisted.add(arn)
    world.shell.settle()
    world.shell.later(seconds=30)
    world.ecs.unlisted.clear()
    world.shell.later(seconds=5)
    assert world.shell.status["attempts"][0]["taskARN"] == arn
    assert len(world.ecs.tasks) == 1


def test_build_that_nobody_saw_for_hours_is_started_once() -> None:
    """Never held by the finalizer, so never launched: the time is noted, then it goes the usual way."""
    world = World(created=START - timedelta(hours=5), timeouts={"queue": "9h"})
    world.shell.settle()
    assert world.ecs.looks == 1
    assert world.shell.writes == ["status", "hold", "status"]
    assert world.shell.status["attempts"][0]["taskARN"] == world.ecs.only().arn


@pytest.mark.parametrize("when", ["crash before", "crash after"])
def test_old_build_crashing_at_run_task_gives_one_task(when: Any) -> None:
    world = World(created=START - timedelta(hours=5), timeouts={"queue": "9h"})
    world.ecs.answers = [when]
    with pytest.raises(Crash):
        world.shell.settle()
    world.restart()
    world.shell.later(minutes=5)
    assert len(world.ecs.tasks) == 1
    assert world.shell.succeeded == ("Unknown", "Provisioning")


def test_t49_f23_no_capacity_waits_and_then_starts() -> None:
    world = World()
    world.ecs.answers = [NO_ROOM] * 5
    assert world.shell.settle().failed
    assert world.shell.succeeded == ("Unknown", "WaitingForCapacity")
    for _ in range(5):
        world.shell.later(minutes=2)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert len(world.ecs.tasks) == 1


def test_hours_without_capacity_and_a_restart_still_start_one_task() -> None:
    """The note that there is no task is renewed, so that the restarted operator finds a young one."""
    world = World(timeouts={"queue": "9h"})
    world.ecs.answers = [NO_ROOM] * 60
    world.shell.settle()
    for _ in range(60):
        world.shell.later(minutes=5)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert world.ecs.looks == 0
    assert world.shell.writes.count("status") < 20, "the note is not renewed at every try"
    assert len(world.ecs.tasks) == 1


def test_f22_throttling_shows_and_ends() -> None:
    world = World()
    world.ecs.answers = [THROTTLED]
    assert world.shell.settle().failed
    assert world.shell.succeeded == ("Unknown", "Throttled")
    world.shell.later(seconds=5)
    assert world.shell.succeeded == ("Unknown", "Provisioning")


def test_short_wait_for_a_turn_at_ecs_is_not_written_and_a_long_one_is() -> None:
    world = World()
    world.ecs.answers = [
        Refused(Reason.THROTTLED, "in order", 1.5),
        Refused(Reason.THROTTLED, "in order", 9.0),
    ]
    assert world.shell.settle() == Outcome(again_after=1.5)
    assert world.shell.writes == ["status", "hold"]
    assert world.shell.settle().again_after == 9.0
    assert world.shell.succeeded == ("Unknown", "Throttled")
    world.shell.later(seconds=9)
    assert world.shell.succeeded == ("Unknown", "Provisioning")


def test_turn_at_ecs_that_comes_too_late_is_a_queue_timeout() -> None:
    world = World(timeouts={"queue": "10s"})
    world.ecs.answers = [Refused(Reason.THROTTLED, "in order", 30.0)] * 2
    world.shell.settle()
    world.ecs.answers += [Refused(Reason.THROTTLED, "in order", 30.0)]
    world.shell.later(seconds=30)
    assert world.shell.succeeded[0] == "Unknown", "not left behind if it was started after all"
    world.shell.later(seconds=60)
    assert world.shell.succeeded == ("False", "QueueTimeout")
    assert world.ecs.looks == 2


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Denied("AccessDenied", operation="ecs:RunTask", resource="builds"), "AccessDenied"),
        (Rejected(Reason.INVALID_SPEC, "InvalidParameterException: subnet"), "TaskFailedToStart"),
        (
            Rejected(Reason.TASK_FAILED_TO_START, "no container instance can take the task: ATTRIBUTE"),
            "TaskFailedToStart",
        ),
    ],
    ids=["denied", "rejected", "A12: failures that are not about room"],
)
def test_a12_refused_request_shows_and_ends_after_the_start_timeout(trouble: Exception, reason: str) -> None:
    world = World()
    world.ecs.answers = [trouble] * 4
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Retrying")
    world.shell.later(minutes=5)
    assert world.shell.succeeded == ("Unknown", "Retrying")
    world.shell.later(minutes=5)
    assert world.shell.succeeded[0] == "Unknown", "an earlier call without an answer may have started a task"
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("False", reason)
    assert world.shell.body["metadata"]["finalizers"] == []
    assert world.ecs.tasks == {}


def test_refusal_after_a_long_wait_for_room_has_its_own_start_timeout() -> None:
    world = World(timeouts={"queue": "9h"})
    world.ecs.answers = [NO_ROOM] * 2
    world.shell.settle()
    world.shell.later(minutes=40)
    world.ecs.answers = [Denied("no")] * 2
    world.shell.later(minutes=5)
    world.shell.later(minutes=5)
    assert world.shell.succeeded == ("Unknown", "Retrying")


def test_refused_request_that_is_mended_in_time_starts() -> None:
    world = World()
    world.ecs.answers = [Denied("AccessDenied")]
    world.shell.settle()
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert world.shell.status["attempts"] == [
        {"number": 1, "taskARN": world.ecs.only().arn, "startedAt": timestamp(START + timedelta(minutes=1))}
    ]


# The cache


def test_f54_build_before_its_cache() -> None:
    world = World()
    cache, world.view.body = world.view.body, None
    outcome = world.shell.settle()
    assert outcome.again_after is not None
    assert world.shell.succeeded == ("Unknown", "WaitingForCache")
    assert world.shell.body["metadata"]["finalizers"] == [], "held only from right before RunTask"
    world.view.body = cache
    world.shell.later(minutes=55)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert len(world.ecs.tasks) == 1


def test_missing_cache_is_a_policy_failure_after_the_queue_timeout() -> None:
    world = World()
    world.view.body = None
    world.shell.settle()
    world.shell.later(hours=1)
    assert world.shell.succeeded == ("False", "CacheNotFound")
    assert world.shell.condition("Stalled") == ("True", "CacheNotFound")
    assert world.shell.status["failure"]["class"] == "Policy"
    assert world.shell.writes[-1] == "release"


def test_invalid_cache_is_named_and_waited_for() -> None:
    world = World(cache=cache_body(region="nowhere"))
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "WaitingForCache")
    (succeeded,) = [each for each in world.shell.status["conditions"] if each["type"] == "Succeeded"]
    assert "spec.region" in succeeded["message"]


def test_unknown_executor() -> None:
    world = World(executor="nope")
    world.shell.settle()
    assert world.shell.succeeded == ("False", "InvalidSpec")
    assert world.shell.status["failure"]["message"].startswith("spec.executor")
    assert world.ecs.requests == []


def test_f59_invalid_spec_is_terminal_and_calls_nothing() -> None:
    world = World(service="a\x00b", dockerfile="/etc/passwd")
    world.shell.settle()
    assert world.shell.succeeded == ("False", "InvalidSpec")
    assert {"spec.service", "spec.dockerfile"} <= set(
        world.shell.status["failure"]["message"].replace(":", " ").split()
    )
    assert world.ecs.requests == []
    assert world.shell.writes == ["status", "release"]


def test_disabled_cache_builds_without_and_says_so() -> None:
    world = World(cache=cache_body(enabled=False))
    world.launched()
    assert world.shell.condition("CacheUsed") == ("False", "Disabled")
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")
    assert world.shell.condition("CacheUsed") == ("False", "Disabled")
    assert world.shell.status["cache"]["reason"] == "Disabled"


# The line


def test_full_cache_queues_and_says_where() -> None:
    world = World(cache=cache_body(limits={"maxConcurrentBuilds": 2}))
    world.view.builds = [*others(2, held=True), *others(3), world.shell.body]
    outcome = world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Queued")
    assert world.shell.status["queue"] == {"position": 3}
    assert outcome.again_after == 18.0
    assert world.shell.body["metadata"]["finalizers"] == []
    assert world.ecs.requests == []
    world.shell.later(seconds=18)
    assert world.shell.writes == ["status"], "the same place is not written again"
    world.view.builds = [*others(2, held=True), world.shell.body]
    world.shell.later(seconds=18)
    assert world.shell.status["queue"] == {"position": 0}
    world.view.builds = [*others(1, held=True), world.shell.body]
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert len(world.ecs.tasks) == 1


def test_queue_that_is_full_is_a_policy_failure() -> None:
    world = World(cache=cache_body(limits={"maxConcurrentBuilds": 1, "maxQueuedBuilds": 2}))
    world.view.builds = [*others(1, held=True), *others(2), world.shell.body]
    world.shell.settle()
    assert world.shell.succeeded == ("False", "QueueFull")
    assert world.shell.status["failure"]["class"] == "Policy"
    assert world.shell.writes == ["status", "release"]


def test_queue_timeout() -> None:
    world = World(cache=cache_body(limits={"maxConcurrentBuilds": 1}), timeouts={"queue": "30s"})
    world.view.builds = [*others(1, held=True), world.shell.body]
    assert world.shell.settle().again_after == 15.0
    assert world.shell.later(seconds=20).again_after == 10.0
    world.shell.later(seconds=10)
    assert world.shell.succeeded == ("False", "QueueTimeout")
    assert world.ecs.requests == []


def test_suspended_cache_holds_the_line_but_not_who_runs() -> None:
    world = World()
    arn = world.launched()
    assert world.view.body is not None
    world.view.body = cache_body(suspend=True)
    world.ecs.run(arn)
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Running")
    late = World(cache=cache_body(suspend=True))
    late.shell.settle()
    assert late.shell.succeeded == ("Unknown", "WaitingForCache")
    assert late.ecs.requests == []


def test_cache_that_is_deleted_lets_in_who_was_there_before_and_nobody_else() -> None:
    cache = cache_body()
    cache["metadata"]["deletionTimestamp"] = timestamp(START + timedelta(minutes=1))
    before = World(cache=cache)
    before.shell.settle()
    assert before.shell.succeeded == ("Unknown", "Provisioning")
    assert before.shell.condition("CacheUsed") == ("False", "NotReady")
    after = World(cache=cache, created=START + timedelta(minutes=2), timeouts={"queue": "5m"})
    after.shell.now = START + timedelta(minutes=3)
    after.shell.settle()
    assert after.shell.succeeded == ("Unknown", "WaitingForCache")
    after.view.body = None
    after.shell.later(minutes=5)
    assert after.shell.succeeded == ("False", "CacheNotFound")
    assert after.ecs.requests == []


# Following


def test_t50a_f27_missing_right_after_the_start_is_a_wait() -> None:
    world = World()
    arn = world.launched()
    world.ecs.unseen.add(arn)
    writes = list(world.shell.writes)
    for _ in range(4):
        world.shell.later(minutes=1)
    assert world.shell.writes == writes
    world.shell.later(minutes=2)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    world.ecs.unseen.clear()
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")


def test_t50b_f28_missing_for_an_hour_is_no_success() -> None:
    world = World()
    world.ecs.unseen.add(world.launched())
    world.shell.later(minutes=59)
    assert world.shell.succeeded[0] == "Unknown"
    world.shell.later(minutes=6)
    assert world.shell.succeeded == ("False", "TaskRecordExpired")
    assert len(world.ecs.tasks) == 1


def test_result_of_an_expired_task_is_taken_from_its_log() -> None:
    world = World()
    arn = world.launched()
    world.ecs.unseen.add(arn)
    world.ecs.reports[arn] = REPORT
    world.shell.later(hours=8)
    world.shell.later(minutes=6)
    assert world.shell.succeeded == ("True", "Completed")
    assert world.shell.status["image"]["digest"] == DIGEST


def test_f60_foreign_task_in_status_is_not_followed_nor_stopped() -> None:
    world = World()
    own = world.launched()
    world.ecs.change(own, started_by="somebody-else")
    world.shell.settle()
    assert len(world.ecs.tasks) == 1, "ECS gives the token's task, which is what this Build asked for"
    foreign = TASK_ARN.format(id="f" * 32)
    world.ecs.change(own, started_by=UID)
    world.ecs.tasks[foreign] = world.ecs.tasks[own].__class__(arn=foreign, started_by="other", last_status="RUNNING")
    world.shell.body["status"]["attempts"][0]["taskARN"] = foreign
    world.shell.settle()
    assert world.shell.status["attempts"][0]["taskARN"] == own
    world.shell.body["status"]["attempts"][0]["taskARN"] = foreign
    world.shell.delete()
    for _ in range(3):
        world.shell.later(seconds=40)
    assert world.ecs.stops == [own]


def test_denied_look_is_shown_and_changes_nothing() -> None:
    world = World()
    world.launched()
    world.ecs.sighting_trouble = "ecs:DescribeTasks on builds: AccessDenied"
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert world.shell.condition("Reconciling") == ("True", "AwsUnavailable")
    world.ecs.sighting_trouble = ""
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")


# Ends


def test_failed_step_has_class_exit_code_tail_and_hint() -> None:
    world = World()
    world.launched()
    world.finish(codes={"fetch": 0, "build": 1, "report": 0})
    failure = world.shell.status["failure"]
    assert world.shell.succeeded == ("False", "BuildStepFailed")
    assert world.shell.condition("Stalled") == ("True", "BuildStepFailed")
    assert failure["class"] == "User"
    assert failure["exitCode"] == 1
    assert failure["logTail"] == "ERROR: exit code: 1"
    assert failure["hint"]
    assert "image" not in world.shell.status


def test_missing_source_shows_the_log_of_fetch() -> None:
    world = World()
    world.launched()
    world.finish(codes={"fetch": 2, "build": None, "report": None})
    assert world.shell.succeeded == ("False", "SourceNotFound")
    assert world.shell.status["failure"]["logTail"] == "fetch: not found"
    assert world.shell.status["logs"]["stream"].startswith("build/fetch/")
    assert world.shell.status["attempts"][0]["exitCode"] == 2


def test_t66_report_that_comes_late_is_waited_for() -> None:
    world = World()
    arn = world.launched()
    world.ecs.end(arn, world.shell.now)
    writes = list(world.shell.writes)
    for _ in range(4):
        assert world.shell.settle().again_after == 2.0
        world.shell.now += timedelta(seconds=4)
    assert world.shell.writes == writes
    world.ecs.reports[arn] = REPORT
    world.shell.settle()
    assert world.shell.status["image"]["digest"] == DIGEST


def test_t65_report_that_never_comes_does_not_keep_the_build() -> None:
    world = World()
    world.ecs.end(world.launched(), world.shell.now)
    world.shell.settle()
    world.shell.later(seconds=20)
    assert world.shell.succeeded == ("True", "Completed")
    assert world.shell.condition("CacheUsed") == ("", "")


def test_f31_without_report_container_nothing_is_waited_for() -> None:
    world = World()
    world.ecs.end(world.launched(), world.shell.now, codes={"fetch": 0, "build": 0, "report": 1})
    world.shell.settle()
    assert world.shell.succeeded == ("True", "Completed")


@pytest.mark.parametrize("trouble", [Unavailable("throttled"), Denied("no"), Rejected(Reason.INVALID_SPEC, "bad")])
def test_t67_log_trouble_does_not_change_the_end(trouble: Exception) -> None:
    world = World()
    world.ecs.log_trouble = trouble
    world.ecs.end(world.launched(), world.shell.now, codes={"fetch": 0, "build": 1, "report": 0})
    world.shell.settle()
    world.shell.later(seconds=20)
    assert world.shell.succeeded == ("False", "BuildStepFailed")
    assert "logTail" not in world.shell.status["failure"]


def test_t52_interruption_is_infrastructure() -> None:
    world = World(retries=0)
    world.launched()
    world.finish(stop_code="SpotInterruption", reason="Your Spot Task was interrupted.")
    assert world.shell.succeeded == ("False", "Interrupted")
    assert world.shell.status["failure"]["class"] == "Infrastructure"
    assert world.shell.status["attempts"][0]["stopCode"] == "SpotInterruption"


# Retries


def test_t52_interrupted_attempt_is_followed_by_another_with_its_own_token() -> None:
    world = World()
    first = world.launched()
    outcome = world.finish(**SPOT)
    assert world.shell.succeeded == ("Unknown", "Retrying")
    assert outcome.again_after == 5.0
    assert [row["number"] for row in world.shell.status["attempts"]] == [1, 2]
    assert world.shell.status["attempts"][0]["stopCode"] == "SpotInterruption"
    world.shell.settle()
    assert len(world.ecs.requests) == 1, "not before the pause is over"
    world.shell.later(seconds=5)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    second = world.shell.status["attempts"][1]["taskARN"]
    assert second != first
    assert world.ecs.requests[0]["clientToken"] != world.ecs.requests[1]["clientToken"]
    world.ecs.reports[second] = REPORT
    world.ecs.end(second, world.shell.now)
    world.shell.settle()
    assert world.shell.succeeded == ("True", "Completed")
    assert len(world.ecs.tasks) == 2


def test_retries_are_bounded_and_the_newest_five_attempts_are_kept() -> None:
    world = World(retries=6)
    world.shell.settle()
    for number in range(1, 8):
        row = world.shell.status["attempts"][-1]
        assert row["number"] == number
        world.ecs.end(row["taskARN"], world.shell.now, stop_code="TaskFailedToStart", codes={}, reason="no ENI")
        world.shell.settle()
        world.shell.later(minutes=2)
    assert world.shell.succeeded == ("False", "TaskFailedToStart")
    assert [row["number"] for row in world.shell.status["attempts"]] == [3, 4, 5, 6, 7]
    assert len(world.ecs.tasks) == 7


def test_failure_of_the_user_is_never_retried() -> None:
    world = World(retries=5)
    world.launched()
    world.finish(codes={"fetch": 0, "build": 1, "report": 0})
    assert world.shell.succeeded == ("False", "BuildStepFailed")
    assert len(world.ecs.tasks) == 1


def test_t60_task_that_somebody_stopped_is_not_started_again() -> None:
    world = World()
    world.launched()
    world.finish(codes={"fetch": 0, "build": 137, "report": None}, stop_code="UserInitiated", reason="by admin")
    assert world.shell.succeeded == ("False", "Interrupted")
    assert len(world.ecs.tasks) == 1


@pytest.mark.parametrize("when", ["crash before", "crash after", "lost"])
def test_second_attempt_is_started_once_whatever_happens(when: Any) -> None:
    world = World()
    world.launched()
    world.finish(**SPOT)
    world.ecs.answers = [when]
    try:
        world.shell.later(seconds=5)
    except Crash:
        world.restart()
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("Unknown", "Provisioning")
    assert len(world.ecs.tasks) == 2
    assert len(world.shell.status["attempts"]) == 2


def test_status_lost_between_two_attempts_starts_nothing_twice() -> None:
    world = World()
    world.launched()
    world.finish(**SPOT)
    world.shell.later(seconds=5)
    assert len(world.ecs.tasks) == 2
    world.shell.body["status"] = {"observedGeneration": -1}
    for _ in range(6):
        world.shell.later(seconds=5)
    assert world.shell.status["attempts"][1]["taskARN"] == list(world.ecs.tasks)[1]
    assert len(world.ecs.tasks) == 2


def test_task_of_an_earlier_attempt_is_not_taken_for_the_next() -> None:
    """The next attempt finds no room for so long that its token may be dead, and ECS still shows the task before it."""
    world = World(timeouts={"queue": "9h"})
    world.launched()
    world.finish(**SPOT)
    world.restart()
    world.shell.now += timedelta(minutes=55)
    world.shell.settle()
    assert world.ecs.looks == 1
    assert world.shell.status["attempts"][1]["taskARN"] == list(world.ecs.tasks)[1]


def test_retrying_build_may_wait_for_room_as_long_as_a_new_one() -> None:
    world = World(timeouts={"queue": "10m"})
    world.launched()
    world.shell.now += timedelta(minutes=30)
    world.finish(**SPOT)
    world.ecs.answers = [NO_ROOM] * 2
    world.shell.later(minutes=5)
    assert world.shell.succeeded == ("Unknown", "WaitingForCapacity")
    world.shell.later(minutes=6)
    assert world.shell.succeeded == ("False", "CapacityUnavailable")


# Cancel and timeouts


def test_t56a_cancel_is_noted_then_the_task_is_stopped_once_then_it_is_cancelled() -> None:
    world = World()
    arn = world.launched()
    world.ecs.run(arn)
    cancel(world)
    world.shell.pass_once()
    assert world.shell.status["attempts"][0]["stopRequest"]["reason"] == "Cancelled"
    assert world.ecs.stops == [], "noted before ECS is asked"
    for _ in range(3):
        world.shell.later(seconds=20)
        assert world.shell.succeeded == ("Unknown", "Cancelling")
    assert world.ecs.stops == [arn]
    stopped(world, code=0)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert world.shell.condition("Stalled") == world.shell.condition("Reconciling") == ("", "")
    assert "failure" not in world.shell.status
    assert world.shell.writes[-1] == "release"


def test_t56b_task_that_ended_by_itself_keeps_its_own_end() -> None:
    world = World()
    world.launched()
    cancel(world)
    world.shell.settle()
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")


def test_cancel_before_a_turn_or_a_cache_is_an_end_at_once() -> None:
    for cache in (None, cache_body(limits={"maxConcurrentBuilds": 1})):
        world = World(cache=cache)
        world.view.body = cache
        world.view.builds = [*others(1, held=True), world.shell.body]
        world.shell.settle()
        cancel(world)
        world.shell.settle()
        assert world.shell.succeeded == ("False", "Cancelled")
        assert world.shell.writes[-2:] == ["status", "release"]
        assert world.ecs.requests == []


def test_c3_cancel_while_there_is_no_room_waits_for_what_may_have_been_started_since() -> None:
    world = World()
    world.ecs.answers = [NO_ROOM]
    world.shell.settle()
    cancel(world)
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert len(world.ecs.requests) == 0


def test_c3_task_of_a_launch_whose_status_was_refused_is_stopped_by_the_cancel() -> None:
    """The status still says that there is no room; the newer one was refused because of the cancel."""
    world = World()
    world.ecs.answers = [NO_ROOM]
    world.shell.settle()
    world.shell.lose_status = True
    world.shell.pass_once()
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    cancel(world)
    world.shell.settle()
    assert world.ecs.stops == [arn], "this process has started it"
    assert world.shell.succeeded == ("Unknown", "Cancelling")


def test_c3_cancel_after_a_lost_answer_does_not_count_the_empty_list_from_before() -> None:
    """A Build that the operator finds hours old is looked for first, then started; the answer is lost, and ECS lists the task late."""
    world = World()
    world.ecs.answers = ["lost"]
    world.shell.later(hours=3)
    assert world.ecs.looks == 1
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    cancel(world)
    world.shell.later(seconds=61)
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.ecs.unlisted.clear()
    world.shell.later(seconds=5)
    assert world.ecs.stops == [arn]


def test_t57_cancel_while_run_task_is_in_flight_leaves_no_task() -> None:
    world = World()
    world.ecs.answers = ["crash after"]
    with pytest.raises(Crash):
        world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    world.restart()
    cancel(world)
    world.shell.later(seconds=5)
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.ecs.unlisted.clear()
    world.shell.later(seconds=5)
    assert world.ecs.stops == [arn]
    stopped(world)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert len(world.ecs.requests) == 1


def test_cancel_of_a_launch_that_never_was_ends_after_a_minute() -> None:
    world = World()
    world.ecs.answers = ["crash before"]
    with pytest.raises(Crash):
        world.shell.settle()
    cancel(world)
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.shell.later(minutes=1)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert world.ecs.tasks == {}


def test_cancelled_spot_task_is_not_retried() -> None:
    world = World()
    world.launched()
    cancel(world)
    world.shell.settle()
    world.finish(**SPOT)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert len(world.ecs.tasks) == 1


def test_cancel_between_two_attempts_starts_no_more() -> None:
    world = World()
    world.launched()
    world.finish(**SPOT)
    cancel(world)
    world.shell.later(seconds=3)
    assert world.shell.succeeded == ("False", "Cancelled")
    assert len(world.ecs.tasks) == 1


def test_interruption_in_the_moment_of_the_cancel_is_as_good_as_a_stop() -> None:
    world = World()
    arn = world.launched()
    world.ecs.end(arn, world.shell.now, codes={}, **SPOT)
    cancel(world)
    world.shell.settle()
    assert world.shell.succeeded == ("False", "Cancelled")
    assert len(world.ecs.tasks) == 1


@pytest.mark.parametrize("answer", ["lost", "error", "crash before", "crash after"])
@pytest.mark.parametrize("wanted", ["Cancelled", "RunTimeout"])
def test_stop_that_goes_wrong_is_made_again_and_means_the_same(answer: Any, wanted: str) -> None:
    world = World(timeouts={"run": "2m"})
    arn = world.launched()
    world.ecs.run(arn)
    world.shell.settle()
    world.ecs.stop_answers = [answer]
    if wanted == "Cancelled":
        cancel(world)
    try:
        world.shell.later(minutes=3)
    except Crash:
        world.restart()
    world.shell.later(seconds=30)
    assert set(world.ecs.stops) == {arn}
    assert world.ecs.tasks[arn].desired_status == "STOPPED"
    stopped(world)
    world.shell.later(seconds=20)
    assert world.shell.succeeded == ("False", wanted)
    assert len(world.ecs.tasks) == 1


@pytest.mark.parametrize("code", [0, 143, 137, None], ids=["exit 0 after SIGTERM", "143", "137", "no exit code"])
def test_t58_run_timeout_decides_whatever_the_exit_code(code: int | None) -> None:
    world = World(timeouts={"run": "2m"})
    arn = world.launched()
    world.ecs.tails[arn, "build"] = "step 7 of 9"
    world.shell.now += timedelta(minutes=5)
    world.ecs.run(arn)
    assert world.shell.settle().again_after == 120.0
    world.shell.later(seconds=120)
    assert world.ecs.stops == [arn]
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.restart()
    stopped(world, code)
    assert world.shell.succeeded == ("False", "RunTimeout")
    failure = world.shell.status["failure"]
    assert (failure["class"], failure["logTail"]) == ("User", "step 7 of 9")
    assert len(world.ecs.tasks) == 1


def test_c15_a_timeout_is_looked_at_again_before_the_task_is_stopped() -> None:
    world = World(timeouts={"run": "2m"})
    arn = world.launched()
    world.ecs.run(arn)
    world.shell.settle()
    # The pass that notes the timeout has a clock that is two hours ahead; the next one has not.
    world.shell.now += timedelta(hours=2)
    world.shell.pass_once()
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.shell.now -= timedelta(hours=2)
    assert 0 < (world.shell.settle().again_after or 0) <= 120
    assert world.ecs.stops == []
    assert world.shell.succeeded == ("Unknown", "Running")
    world.shell.later(minutes=3)
    assert world.ecs.stops == [arn]


def test_run_timeout_is_capped_by_the_cache() -> None:
    world = World(cache=cache_body(limits={"maxRunTimeout": "1m"}), timeouts={"run": "3h"})
    arn = world.launched()
    world.ecs.run(arn)
    assert world.shell.settle().again_after == 60.0


def test_start_timeout_is_infrastructure_and_retried() -> None:
    world = World(retries=1)
    first = world.launched()
    assert world.shell.settle().again_after == 600.0
    world.shell.later(minutes=10)
    assert world.ecs.stops == [first]
    stopped(world, None)
    assert world.shell.succeeded == ("Unknown", "Retrying")
    world.shell.later(seconds=5)
    second = world.shell.status["attempts"][1]["taskARN"]
    world.shell.later(minutes=10)
    assert world.ecs.stops == [first, second]
    stopped(world, None)
    assert world.shell.succeeded == ("False", "StartTimeout")
    assert world.shell.status["failure"]["class"] == "Infrastructure"


def test_denied_stop_of_a_cancelled_build_shows_and_is_tried_again() -> None:
    world = World()
    arn = world.launched()
    world.ecs.stop_trouble = Denied("no", operation="ecs:StopTask", resource=arn)
    cancel(world)
    assert world.shell.settle().again_after == 60.0
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.ecs.stop_trouble = None
    world.shell.settle()
    assert world.ecs.stops == [arn]


def test_cancelled_task_that_ecs_forgot_is_cancelled() -> None:
    world = World()
    arn = world.launched()
    cancel(world)
    world.shell.settle()
    world.ecs.unseen.add(arn)
    world.shell.later(hours=2)
    world.shell.later(minutes=6)
    assert world.shell.succeeded == ("False", "Cancelled")


@pytest.mark.parametrize(
    ("answer", "reason"), [(NO_ROOM, "CapacityUnavailable"), (THROTTLED, "QueueTimeout")], ids=["T49", "throttled"]
)
def test_refused_until_the_queue_timeout_is_an_end(answer: Refused, reason: str) -> None:
    world = World(timeouts={"queue": "10m"})
    world.ecs.answers = [answer] * 3
    world.shell.settle()
    world.shell.later(minutes=9)
    assert world.shell.succeeded[0] == "Unknown"
    world.shell.later(minutes=1)
    if reason == "QueueTimeout":
        # Throttling says nothing of the calls before.
        assert world.shell.succeeded[0] == "Unknown"
        world.ecs.answers = [answer]
        world.shell.later(minutes=1)
    assert world.shell.succeeded == ("False", reason)
    assert world.shell.status["failure"]["class"] == "Infrastructure"
    assert world.ecs.tasks == {}


# Deletion


def test_f52_pending_build_is_free_at_once() -> None:
    world = World()
    world.view.body = None
    world.shell.settle()
    world.shell.delete()
    assert world.shell.settle() == Outcome()


def test_f52_running_build_is_stopped_once_and_waited_for() -> None:
    world = World()
    arn = world.launched()
    world.ecs.run(arn)
    world.shell.delete()
    for _ in range(3):
        world.shell.later(seconds=5)
        assert world.shell.succeeded == ("Unknown", "Cancelling")
        assert not world.shell.gone()
    assert world.ecs.stops == [arn]
    world.ecs.end(arn, world.shell.now, codes={"fetch": 0, "build": 137, "report": None}, stop_code="UserInitiated")
    world.shell.settle()
    assert world.shell.gone()


def test_t57_build_deleted_while_run_task_is_in_flight_leaves_no_task() -> None:
    world = World()
    world.ecs.answers = ["crash after"]
    with pytest.raises(Crash):
        world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    world.restart()
    world.shell.delete()
    world.shell.later(seconds=5)
    assert not world.shell.gone()
    world.ecs.unlisted.clear()
    world.shell.later(seconds=5)
    assert world.ecs.stops == [arn]
    world.ecs.end(arn, world.shell.now, stop_code="UserInitiated")
    world.shell.later(seconds=30)
    assert world.shell.gone()


def test_held_build_without_a_task_is_let_go_after_a_minute() -> None:
    world = World()
    world.ecs.answers = [NO_ROOM]
    world.shell.settle()
    world.shell.delete()
    world.shell.settle()
    world.shell.later(seconds=59)
    assert not world.shell.gone()
    world.shell.later(seconds=1)
    assert world.shell.gone()
    assert world.ecs.tasks == {}


def test_f32_deleted_build_whose_task_is_gone() -> None:
    world = World()
    arn = world.launched()
    world.ecs.unseen.add(arn)
    world.shell.delete()
    world.shell.settle()
    world.shell.later(minutes=6)
    assert world.shell.gone()


def test_finished_build_that_is_deleted_is_let_go() -> None:
    world = World()
    world.launched()
    world.finish()
    world.shell.delete()
    assert world.shell.settle() == Outcome()


def test_running_build_whose_cache_is_gone_is_stopped_all_the_same() -> None:
    world = World()
    arn = world.launched()
    world.view.body = None
    world.shell.delete()
    world.shell.settle()
    assert world.ecs.stops == [arn]


def test_t36_denied_stop_keeps_the_build_and_says_why() -> None:
    world = World()
    arn = world.launched()
    world.ecs.stop_trouble = Denied("no", operation="ecs:StopTask", resource=arn)
    world.shell.delete()
    assert world.shell.settle().again_after == 60.0
    (succeeded,) = [each for each in world.shell.status["conditions"] if each["type"] == "Succeeded"]
    assert "ecs:StopTask" in succeeded["message"]
    world.ecs.stop_trouble = None
    world.shell.settle()
    assert world.ecs.stops == [arn]


@pytest.mark.parametrize(
    ("trouble", "gone"),
    [
        (Rejected(Reason.CLUSTER_NOT_FOUND, "Cluster not found."), True),
        (Rejected(Reason.INVALID_SPEC, "InvalidParameterException"), False),
        (Unavailable("down"), False),
    ],
    ids=["no cluster, no task", "rejected", "unavailable"],
)
def test_deletion_under_trouble(trouble: Exception, gone: bool) -> None:
    world = World()
    world.launched()
    world.ecs.stop_trouble = trouble
    world.shell.delete()
    world.shell.settle()
    assert world.shell.gone() is gone


def test_deletion_while_nobody_may_look_says_so() -> None:
    world = World()
    world.launched()
    world.ecs.sighting_trouble = "ecs:DescribeTasks on builds: AccessDenied"
    world.shell.delete()
    world.shell.settle()
    assert not world.shell.gone()
    assert world.shell.succeeded == ("Unknown", "Cancelling")


@pytest.mark.parametrize("timeout", ["queue", "start", "run"])
@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_c16_a_timeout_from_before_the_bounds_is_a_status(timeout: str, running: bool) -> None:
    world = World(**({} if running else {"timeouts": {timeout: "99999999h"}}))
    if running:
        arn = world.launched()
        world.ecs.run(arn)
        world.shell.body["spec"]["timeouts"] = {timeout: "99999999h"}
        world.shell.settle()
        assert world.ecs.stops == [arn]
        world.ecs.end(arn, world.shell.now, stop_code="UserInitiated")
    world.shell.settle()
    assert world.shell.succeeded == ("False", "InvalidSpec")
    assert f"spec.timeouts.{timeout}" in world.shell.status["failure"]["message"]


def test_c16_a_limit_from_before_the_bounds_is_named_and_a_build_that_runs_goes_on() -> None:
    world = World(cache=cache_body(limits={"maxRunTimeout": "99999999h"}))
    world.shell.settle()
    (succeeded,) = [each for each in world.shell.status["conditions"] if each["type"] == "Succeeded"]
    assert (succeeded["reason"], "spec.limits.maxRunTimeout" in succeeded["message"]) == ("WaitingForCache", True)
    world = World()
    world.ecs.run(world.launched())
    world.shell.later(seconds=30)
    world.view = FakeView(cache_body(limits={"maxRunTimeout": "99999999h"}))
    world.restart()
    world.shell.later(minutes=59)
    assert world.shell.succeeded == ("Unknown", "Running")
    world.shell.later(minutes=2)
    assert world.shell.succeeded == ("Unknown", "Cancelling"), "after its own timeouts.run"


def test_spec_that_new_rules_refuse_stops_its_task_first() -> None:
    world = World()
    arn = world.launched()
    world.shell.body["spec"]["service"] = "a\x00b"
    world.shell.settle()
    assert world.ecs.stops == [arn]
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.ecs.end(arn, world.shell.now, stop_code="UserInitiated")
    world.shell.settle()
    assert world.shell.succeeded == ("False", "InvalidSpec")
    assert world.shell.writes[-1] == "release"


def test_refused_launch_that_had_a_task_after_all_is_followed() -> None:
    """ECS said that it started nothing, and was wrong; then the executor is taken out of the cache."""
    world = World()
    world.ecs.answers = ["lost"]
    world.shell.settle()
    world.view.body = cache_body(enabled=False)
    world.view.body["spec"]["executors"][0]["name"] = "other"
    world.shell.body["spec"]["executor"] = "ec2"
    world.shell.settle()
    assert world.shell.status["attempts"][0]["taskARN"] == world.ecs.only().arn
    world.finish()
    assert world.shell.succeeded == ("True", "Completed")


def test_f60_status_of_no_known_form_is_as_good_as_none() -> None:
    world = World()
    arn = world.launched()
    world.shell.body["status"] = {"attempts": "many"}
    world.shell.settle()
    assert world.shell.status["attempts"][0]["taskARN"] == arn
    world.shell.body["status"]["attempts"][0]["taskARN"] = "arn:aws:ecs:eu-west-1:999999999999:task/builds/1"
    world.shell.settle()
    assert world.shell.status["attempts"][0]["taskARN"] == arn


# What other systems have shown


def without_cluster(body: dict[str, Any]) -> dict[str, Any]:
    """A BuildCache that has found that its cluster is not there."""
    body["status"]["conditions"].append(
        {
            "type": "ExecutorsReady",
            "status": "False",
            "reason": "ClusterNotFound",
            "message": "spec.clusterARN: cluster builds does not exist",
            "lastTransitionTime": timestamp(START),
        }
    )
    return body


def test_c19_build_waits_for_a_cache_whose_cluster_is_missing() -> None:
    world = World(cache=without_cluster(cache_body()))
    world.ecs.no_cluster.add("builds")
    outcome = world.shell.settle()
    assert not outcome.failed
    assert world.shell.succeeded == ("Unknown", "WaitingForCache")
    assert world.shell.writes == ["status"], "it takes no place meanwhile"
    world.ecs.no_cluster.clear()
    world.view.body = cache_body()
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Provisioning")


def test_c19_f34_cluster_that_went_unseen_makes_the_cache_look_and_ends_with_the_queue_timeout() -> None:
    doubted: list[str] = []
    world = World(timeouts={"queue": "10m"})
    world.shell.reconciler = BuildReconciler(world.view, world.ecs, cluster_id="test", doubt=doubted.append)
    world.ecs.no_cluster.add("builds")
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "WaitingForCache")
    assert doubted == ["cache-uid"]
    world.shell.later(minutes=10)
    assert world.shell.succeeded == ("False", "QueueTimeout")
    assert "Cluster not found" in world.shell.status["failure"]["message"]


def test_m2_definition_that_is_gone_makes_the_cache_look() -> None:
    doubted: list[str] = []
    world = World()
    world.shell.reconciler = BuildReconciler(world.view, world.ecs, cluster_id="test", doubt=doubted.append)
    world.ecs.answers = [Refused(Reason.WAITING_FOR_CACHE, "TaskDefinition is inactive")]
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "WaitingForCache"), "the shell looks at its BuildCache then"
    assert doubted == ["cache-uid"]
    world.shell.settle()
    assert world.shell.succeeded == ("Unknown", "Provisioning")


@pytest.mark.parametrize("trouble", [Denied("no"), Rejected(Reason.INVALID_SPEC, "bad")], ids=["denied", "rejected"])
def test_c3_cancel_that_may_not_look_says_so_and_waits(trouble: Exception) -> None:
    world = World()
    world.ecs.answers = ["lost"]
    world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.look_trouble = trouble
    cancel(world)
    assert world.shell.settle().again_after == 60.0
    assert world.shell.succeeded == ("Unknown", "Cancelling")
    world.ecs.look_trouble = None
    world.shell.settle()
    assert world.ecs.stops == [arn]


@pytest.mark.parametrize("after", [Denied("no"), Rejected(Reason.INVALID_SPEC, "bad"), THROTTLED], ids=repr)
def test_c3_refusals_after_a_lost_answer_leave_no_task_behind(after: Any) -> None:
    """The last call but one has started a task, which is not listed yet when the Build's patience ends."""
    world = World(timeouts={"queue": "10m", "start": "10m"})
    world.ecs.answers = [after, "lost", *[after] * 9]
    world.shell.settle()
    world.shell.later(minutes=9, seconds=58)
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    world.shell.later(seconds=2)
    world.shell.later(seconds=5)
    assert world.shell.succeeded[0] == "Unknown"
    world.ecs.unlisted.clear()
    world.shell.later(seconds=40)
    assert world.shell.status["attempts"][-1]["taskARN"] == arn


def test_c3_a_lost_answer_makes_what_was_listed_before_worthless() -> None:
    """The search began before the call that has started the task."""
    turn = Refused(Reason.THROTTLED, "in order", 5.0)
    world = World(timeouts={"queue": "10m"})
    world.ecs.answers = [turn, turn, "lost", turn, turn]
    world.shell.settle()
    world.shell.later(minutes=10)
    assert world.ecs.looks == 1
    world.shell.later(seconds=58)
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    world.shell.later(seconds=5)
    assert world.shell.succeeded[0] == "Unknown"
    world.ecs.unlisted.clear()
    world.shell.later(seconds=5)
    assert world.shell.status["attempts"][-1]["taskARN"] == arn


def test_c3_spec_that_is_refused_right_after_a_lost_answer_leaves_no_task_behind() -> None:
    world = World()
    world.ecs.answers = ["lost"]
    world.shell.now += timedelta(minutes=5)
    world.shell.settle()
    arn = world.ecs.only().arn
    world.ecs.unlisted.add(arn)
    world.shell.body["spec"]["service"] = "a\x00b"
    world.shell.settle()
    assert world.shell.succeeded[0] == "Unknown"
    world.ecs.unlisted.clear()
    world.shell.later(seconds=30)
    assert world.ecs.stops == [arn]


def test_c17_deleted_build_whose_cache_is_gone_too_is_looked_for_in_its_cluster() -> None:
    world = World()
    world.ecs.answers = ["lost"]
    world.shell.settle()
    arn = world.ecs.only().arn
    world.view.body = None
    world.shell.delete()
    world.shell.settle()
    assert world.ecs.stops == [arn]


def test_c17_move_from_a_cluster_that_is_gone_is_at_once() -> None:
    world = World()
    world.ecs.answers = ["crash before"]
    with pytest.raises(Crash):
        world.shell.settle()
    world.ecs.no_cluster.add("builds")
    world.view.body = cache_body(clusterARN=CLUSTER.replace("/builds", "/others"))
    world.restart()
    world.shell.settle()
    assert "/others/" in world.ecs.only().arn


@pytest.mark.parametrize("wanted", ["Cancelled", "gone"])
def test_m9_stop_task_that_answers_stopped_is_the_end(wanted: str) -> None:
    world = World()
    world.ecs.run(world.launched())
    world.shell.settle()
    world.ecs.stops_at_once = True
    if wanted == "gone":
        world.shell.delete()
    else:
        cancel(world)
    world.shell.settle()
    assert world.shell.gone() if wanted == "gone" else world.shell.succeeded == ("False", "Cancelled")


@pytest.mark.parametrize("running", [False, True], ids=["not placed", "running at once"])
@pytest.mark.parametrize("shows", [False, True], ids=["no containers yet", "containers"])
def test_m1_launch_sets_a_timer_to_the_next_deadline(running: bool, shows: bool) -> None:
    """One pass and no second one: whatever RunTask has answered, nothing else may wake the Build."""
    world = World(timeouts={"start": "20s", "run": "30s"})
    world.ecs.starts_running, world.ecs.shows_containers = running, shows
    assert world.shell.pass_once().again_after == (30.0 if running else 20.0)


def test_m1_task_that_was_not_seen_yet_has_a_timer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.launched()
    monkeypatch.setattr(world.ecs, "observe", lambda *_: Sighting())
    assert world.shell.pass_once().again_after == 60.0


@pytest.mark.parametrize("report", [None, REPORT], ids=["no report", "report"])
def test_m10_task_stopped_from_outside_with_exit_code_0_is_interrupted_unless_it_has_reported(
    report: Report | None,
) -> None:
    world = World()
    arn = world.launched()
    if report is not None:
        world.ecs.reports[arn] = report
    codes = {"fetch": 0, "build": 0, "report": None}
    world.ecs.end(arn, world.shell.now, codes=codes, stop_code="UserInitiated", reason="by admin")
    world.shell.settle()
    assert world.shell.succeeded == (("True", "Completed") if report else ("False", "Interrupted"))
    assert len(world.ecs.tasks) == 1


def test_k3_stopped_kaniko_is_interrupted() -> None:
    executor = {**cache_body()["spec"]["executors"][0], "engine": "Kaniko"}
    world = World(cache=cache_body(executors=[executor]))
    world.launched()
    world.finish(codes={"fetch": 0, "build": 2, "report": None}, stop_code="UserInitiated", reason="by admin")
    assert world.shell.succeeded == ("False", "Interrupted")


def test_a3_engine_that_did_not_start_is_tried_again() -> None:
    world = World()
    world.ecs.tails[world.launched(), "build"] = (
        "could not connect to unix:///run/buildkit/buildkitd.sock after 10 trials\n========== log ==========\n"
        + "level=info msg=starting\n" * 200
    )
    world.finish(codes={"fetch": 0, "build": 1, "report": 0})
    assert world.shell.succeeded == ("Unknown", "Retrying")
    assert "could not connect" in world.shell.status["conditions"][-1]["message"]


# Everything at once

EVENTS = st.sampled_from(
    ["pass", "minute", "hour", "restart", "lose answer", "crash before", "crash after", "no room", "throttle", "denied",
     "lose status", "wipe status", "run", "end", "fail", "hide", "show", "cache gone", "cache back", "delete", "cancel",
     "interrupt", "stopped", "minute", "stop lost", "stop error", "stop crash before", "stop crash after",
     "lose launch", "move"]
)  # fmt: skip


@settings(max_examples=300)
@example(["pass", "lose answer", "hide", "wipe status", "delete", "minute"])
@given(st.lists(EVENTS, max_size=25))
def test_one_task_terminal_is_terminal_and_no_task_left_behind(events: list[str]) -> None:
    """Whatever happens in whatever order: never two tasks, a verdict never changes, and a Build that is gone has no running task."""
    world = World(timeouts={"queue": "100h"}, retries=2)
    shell, ecs = world.shell, world.ecs
    verdict: tuple[str, str] | None = None
    forgotten, cluster = False, CLUSTER
    for event in [*events, "show", "cache back", "pass"]:
        running = [arn for arn, task in ecs.tasks.items() if task.phase != "Stopped"]
        match event:
            case "minute":
                # No task is missing from ECS's lists for so long (LOOK_GRACE).
                ecs.unlisted.clear()
                shell.now += timedelta(minutes=1)
            case "hour":
                ecs.unlisted.clear()
                # What has stopped longer than an hour ago is not shown any more.
                shell.now += timedelta(hours=1)
                ecs.unseen |= {arn for arn, task in ecs.tasks.items() if task.phase == "Stopped"}
                forgotten = True
            case "restart":
                world.restart()
            case "lose answer":
                ecs.answers.append("lost")
            case "crash before" | "crash after":
                ecs.answers.append(event)
            case "no room":
                ecs.answers.append(NO_ROOM)
            case "throttle":
                ecs.answers.append(THROTTLED)
            case "denied":
                ecs.answers.append(Denied("no"))
            case "lose status":
                shell.lose_status = True
            case "lose launch":
                shell.lose_launch = True
            case "move":
                cluster = CLUSTER.replace("/builds", "/others") if cluster == CLUSTER else CLUSTER
                if world.view.body is not None:
                    world.view.body = cache_body(clusterARN=cluster)
            case "wipe status":
                if verdict is None:
                    shell.body["status"] = {"observedGeneration": -1}
            case "run":
                for arn in running:
                    ecs.run(arn)
            case "end" | "fail":
                for arn in running:
                    # Only a build that ended well has a digest to report.
                    ecs.reports[arn] = REPORT if event == "end" else Report()
                    ecs.tails[arn, "build"] = "ERROR"
                    ecs.end(arn, shell.now, codes={"fetch": 0, "build": int(event == "fail"), "report": 0})
            case "interrupt":
                for arn in running:
                    ecs.end(arn, shell.now, codes={"fetch": 0, "build": None, "report": None}, **SPOT)
            case "stopped":
                for arn in running:
                    if ecs.tasks[arn].desired_status == "STOPPED":
                        ecs.end(
                            arn, shell.now, codes={}, stop_code="UserInitiated", reason=ecs.tasks[arn].stopped_reason
                        )
            case "cancel":
                cancel(world)
            case "stop lost" | "stop error" | "stop crash before" | "stop crash after":
                answer: Any = event.removeprefix("stop ")
                ecs.stop_answers.append(answer)
            case "hide":
                ecs.unlisted |= set(ecs.tasks)
            case "show":
                ecs.unlisted.clear()
            case "cache gone":
                world.view.body = None
            case "cache back":
                world.view.body = cache_body(clusterARN=cluster)
            case "delete":
                if "deletionTimestamp" not in shell.body["metadata"]:
                    shell.delete()
        if shell.gone():
            break
        known = any({"taskARN", "clusterARN"} & set(row) for row in shell.status.get("attempts", ()))
        if world.view.body is None and ecs.tasks and not known:
            # Neither status nor cache: nobody can know in which cluster to look. A BuildCache does not go while Builds
            # need it, so somebody forced it.
            forgotten = True
        try:
            shell.settle()
        except Crash:
            world.restart()
        going = [task for task in ecs.tasks.values() if task.phase != "Stopped"]
        assert len(going) <= 1, "never two at once"
        assert len(ecs.tasks) == len({token for _, token in ecs.tokens}), "one for each attempt"
        for condition in shell.status.get("conditions", ()):
            if condition["type"] == "Succeeded" and condition["status"] != "Unknown":
                verdict = verdict or (condition["status"], condition["reason"])
                assert (condition["status"], condition["reason"]) == verdict
                if verdict[0] == "True":
                    assert list(ecs.tasks.values())[-1].exit_code("build") == 0
    held = shell.body["metadata"]["finalizers"] != []
    left = [task for task in ecs.tasks.values() if task.phase != "Stopped" and task.desired_status != "STOPPED"]
    assert not left or held or forgotten, "a task that runs has a Build that is held for it"
