"""What a Build does next, without I/O: admission, the guard before RunTask, results."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.build import Build
from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.core import build_end, build_status
from buildcache.core.build import (
    Finished,
    StartTask,
    Wait,
    admit,
    finished,
    guard,
    is_terminal,
    nothing_found,
    trusted_task,
)
from buildcache.core.build_end import Evidence, saved_seconds
from buildcache.core.build_status import Stamp
from buildcache.core.report import Report
from buildcache.core.status import BUILD_REASONS, ConditionType, Reason, timestamp
from buildcache.core.task_outcome import Failed
from buildcache.core.task_state import Task
from tests.fakes.builds import CLUSTER, DIGEST, REPOSITORY, START, build_body, cache_body

AT = Stamp(1, START)
OWN = "arn:aws:ecs:eu-west-1:111122223333:task/builds/0123456789abcdef"


def a_build(**options: Any) -> Build:
    return Build.parse(build_body(**options))


def a_cache(**options: Any) -> BuildCache:
    return BuildCache.parse(cache_body(**options))


def decide(build: Build, cache: BuildCache | None, minutes: float = 0) -> Wait | Failed | StartTask:
    return admit(build, cache, cluster_id="test", attempt=1, now=START + timedelta(minutes=minutes))


def start(build: Build, cache: BuildCache) -> StartTask:
    step = decide(build, cache)
    assert isinstance(step, StartTask)
    return step


# Admission


def test_f54_missing_cache_is_waited_for_and_then_is_the_end() -> None:
    assert decide(a_build(), None) == Wait(
        Reason.WAITING_FOR_CACHE, "there is no BuildCache shop in namespace team-a", again_after=60.0
    )
    ended = decide(a_build(), None, minutes=60)
    assert isinstance(ended, Failed)
    assert (ended.reason, ended.failure_class) == (Reason.CACHE_NOT_FOUND, "Policy")


def test_missing_cache_is_looked_for_again_at_the_deadline() -> None:
    step = decide(a_build(timeouts={"queue": "62s"}), None, minutes=1)
    assert isinstance(step, Wait)
    assert step.again_after == 2.0


def test_executor_without_task_definition_makes_the_build_wait() -> None:
    body = cache_body()
    body["status"]["parts"] = []
    step = decide(a_build(), BuildCache.parse(body))
    assert isinstance(step, Wait)
    assert step.reason is Reason.WAITING_FOR_CACHE
    assert "ec2" in step.message
    ended = decide(a_build(), BuildCache.parse(body), minutes=61)
    assert isinstance(ended, Failed)
    assert ended.reason is Reason.QUEUE_TIMEOUT


def test_suspended_cache_admits_nothing() -> None:
    step = decide(a_build(), a_cache(suspend=True))
    assert isinstance(step, Wait)
    assert "suspended" in step.message


def test_unknown_executor_names_the_field() -> None:
    ended = decide(a_build(executor="nope"), a_cache())
    assert isinstance(ended, Failed)
    assert (ended.reason, ended.failure_class) == (Reason.INVALID_SPEC, "User")
    assert ended.message.startswith("spec.executor: ")


def test_t59_too_long_for_a_task_is_refused_before_any_call() -> None:
    arguments = [{"name": f"A{number}", "value": "x" * 2000} for number in range(5)]
    ended = decide(a_build(buildArgs=arguments), a_cache())
    assert isinstance(ended, Failed)
    assert (ended.reason, ended.failure_class) == (Reason.LIMIT_EXCEEDED, "Policy")


@pytest.mark.parametrize(
    ("build", "cache", "reason"),
    [
        (a_build(), a_cache(enabled=False), Reason.DISABLED),
        (a_build(), a_cache(ready=()), Reason.NOT_READY),
        (a_build(cache={"mode": "None"}), a_cache(), Reason.NOT_REQUESTED),
        (a_build(), a_cache(), None),
    ],
    ids=["disabled", "T63 registry not ready", "not requested", "used"],
)
def test_cache_never_blocks_a_build(build: Build, cache: BuildCache, reason: Reason | None) -> None:
    step = start(build, cache)
    assert step.cache.reason is reason
    assert (step.cache.ref is None) == (reason is not None)
    status = build_status.launched(build.status, build, step, Task(arn=OWN), AT)
    used = [each for each in status.conditions if each.type == "CacheUsed"]
    assert [(each.status, each.reason) for each in used] == ([("False", reason)] if reason else [])


def test_deleted_cache_is_not_ready() -> None:
    body = cache_body()
    body["metadata"]["deletionTimestamp"] = timestamp(START)
    step = start(a_build(), BuildCache.parse(body))
    assert step.cache.reason is Reason.NOT_READY
    assert "deleted" in step.cache.message


def test_request_is_the_same_on_every_try() -> None:
    early, late = decide(a_build(), a_cache()), decide(a_build(), a_cache(), minutes=45)
    assert isinstance(early, StartTask)
    assert isinstance(late, StartTask)
    assert early.request == late.request


def test_time_that_is_none_counts_as_now() -> None:
    body = build_body()
    body["metadata"]["creationTimestamp"] = "yesterday"
    assert guard(Build.parse(body), a_cache(), START) == "hold"


# The guard before RunTask


@pytest.mark.parametrize(
    ("held", "age", "noted", "expected"),
    [
        (False, 0, None, "hold"),
        (True, 0, None, "pin"),
        (True, 49, None, "pin"),
        (True, 50, None, "look"),
        (False, 50, None, "look"),
        (False, 90, 80, "hold"),
        (True, 90, 80, "run"),
        (True, 200, 80, "look"),
        (True, -30, None, "pin"),
    ],
)
def test_t06_t08_guard(held: bool, age: int, noted: int | None, expected: str) -> None:
    row = {"number": 1, "startedAt": timestamp(START + timedelta(minutes=noted or 0)), "clusterARN": CLUSTER}
    build = a_build(held=held, status={"attempts": [row]} if noted else None)
    assert guard(build, a_cache(), START + timedelta(minutes=age)) == expected


@pytest.mark.parametrize(
    ("pinned", "expected"),
    [
        (CLUSTER, "run"),
        (CLUSTER.replace("/builds", "/former"), "move"),
        (CLUSTER.replace("111122223333", "999999999999"), "pin"),
        ("garbage", "pin"),
        (None, "pin"),
    ],
    ids=["the BuildCache's", "the one before", "H18: another account", "none", "absent"],
)
def test_c17_run_task_goes_to_the_pinned_cluster_only(pinned: str | None, expected: str) -> None:
    row = {"number": 1, "startedAt": timestamp(START), "clusterARN": pinned}
    assert guard(a_build(held=True, status={"attempts": [row]}), a_cache(), START) == expected


def test_t08_nothing_found_is_an_end_only_where_a_task_may_have_been_forgotten() -> None:
    hour = START + timedelta(minutes=60)
    assert nothing_found(a_build(held=False), START + timedelta(hours=5), final=True) == "record"
    assert nothing_found(a_build(held=True), START + timedelta(minutes=55), final=False) == "record"
    assert isinstance(nothing_found(a_build(held=True), hour, final=False), Wait), "the first look is not the last"
    lost = nothing_found(a_build(held=True), hour, final=True)
    assert isinstance(lost, Failed)
    assert lost.reason is Reason.TASK_RECORD_EXPIRED


@pytest.mark.parametrize(
    ("arn", "trusted"),
    [
        (OWN, True),
        (OWN.replace("/builds/", "/moved/"), True),
        (OWN.replace("111122223333", "999999999999"), False),
        (OWN.replace("eu-west-1", "us-east-1"), False),
        ("arn:aws:ecs:eu-west-1:111122223333:task/0123", False),
        ("garbage", False),
        (None, False),
    ],
)
def test_f60_status_cannot_point_to_another_account(arn: str | None, trusted: bool) -> None:
    status = BuildStatus.model_validate({"attempts": [{"number": 1, "taskARN": arn}]})
    assert (trusted_task(status, a_cache()) is not None) is trusted


# Results


def test_result_of_a_warm_build() -> None:
    build = a_build()
    task = Task(
        arn=OWN,
        created_at=START + timedelta(seconds=4),
        started_at=START + timedelta(seconds=95),
        stopped_at=START + timedelta(seconds=96),
        last_status="STOPPED",
    )
    status = build_status.launched(build.status, build, start(build, a_cache()), task, AT)
    report = Report(
        digest=DIGEST,
        size_bytes=5,
        commit="3f2c1ab9",
        steps=(16, 12),
        imported=True,
        exported=True,
        started_at=START + timedelta(seconds=42),
        source_seconds=3,
        build_seconds=51,
    )
    history = (cold("web", 900), cold("web", 211), cold("api", 5), Finished("x", "web", 75, False, 60, 151, ""))
    end = build_end.succeeded(
        status, build, Evidence(task, report, "", history), Stamp(1, START + timedelta(seconds=97))
    )
    body = end.to_json()
    assert body["timing"] == {
        "queuedSeconds": 4,
        "provisioningSeconds": 38,
        "sourceSeconds": 3,
        "buildSeconds": 51,
        "totalSeconds": 96,
    }
    assert body["cache"] == {
        "imported": True, "exported": True, "ref": f"{REPOSITORY}:web.buildcache",
        "steps": {"total": 16, "cached": 12}, "hitPercent": 75, "savedSeconds": 160,
    }  # fmt: skip
    assert body["image"] == {"digest": DIGEST, "references": list(build.spec.output.images), "sizeBytes": 5}
    assert body["source"] == {"commit": "3f2c1ab9"}
    assert body["logs"] == {"group": "/buildcache/test/team-a/shop", "stream": "build/build/0123456789abcdef"}
    assert {each["type"]: (each["status"], each["reason"]) for each in body["conditions"]} == {
        "Succeeded": ("True", "Completed"),
        "CacheUsed": ("True", "PartialHit"),
    }
    assert finished({"metadata": {"name": "n"}, "spec": {"service": "web"}, "status": body}) == Finished(
        "n", "web", 75, False, 51, 160, timestamp(START + timedelta(seconds=97))
    )


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param(None, 90, id="without a report ECS's own startedAt counts"),
        pytest.param(Report(), 90, id="so it does when the report does not say"),
        pytest.param(Report(started_at=START + timedelta(seconds=30)), 30, id="the report knows the first container"),
        pytest.param(Report(started_at=START - timedelta(seconds=5)), 0, id="clocks differ a little"),
        pytest.param(Report(started_at=START - timedelta(days=5)), 90, id="before the task there was no container"),
        pytest.param(Report(started_at=START + timedelta(days=5)), 90, id="nor after it"),
        pytest.param(Report(started_at=datetime.min.replace(tzinfo=UTC)), 90, id="the first moment there is"),
        pytest.param(Report(started_at=datetime.max.replace(tzinfo=UTC)), 90, id="the last moment there is"),
    ],
)
@pytest.mark.parametrize("ends_well", [True, False])
def test_provisioning_lasts_until_the_first_container_began(
    report: Report | None, expected: int, ends_well: bool
) -> None:
    build = a_build()
    task = Task(
        arn=OWN,
        created_at=START,
        started_at=START + timedelta(seconds=90),
        stopped_at=START + timedelta(seconds=91),
        last_status="STOPPED",
    )
    at = Stamp(1, START + timedelta(seconds=95))
    if ends_well:
        end = build_end.succeeded(build.status, build, Evidence(task, report), at)
    else:
        failure = Failed(Reason.BUILD_STEP_FAILED, "no")
        end = build_end.failed(build.status, build.metadata, failure, Evidence(task, report), at)
    assert end.timing is not None
    assert end.timing.provisioning_seconds == expected


def cold(service: str, build_seconds: int) -> Finished:
    return Finished("past", service, 0, True, build_seconds, None, "")


def test_saved_time_is_against_the_last_cold_run_of_the_service() -> None:
    warm = Report(steps=(4, 2), build_seconds=30)
    assert saved_seconds("web", warm, [cold("web", 10), cold("web", 100), cold("api", 500)]) == 70
    assert saved_seconds("web", warm, [cold("web", 10)]) == 0
    assert saved_seconds("web", warm, [cold("api", 10)]) is None
    assert saved_seconds("web", Report(steps=(4, 0), build_seconds=30), [cold("web", 100)]) is None


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Report(steps=(5, 5), imported=True), ("True", "Hit")),
        (Report(steps=(5, 1), imported=True), ("True", "PartialHit")),
        (Report(steps=(5, 0), imported=False), ("True", "Cold")),
        (Report(steps=(0, 0)), ("True", "NothingToCache")),
        (Report(steps=(5, 0), import_error="403"), ("False", "ImportFailed")),
        (Report(steps=(5, 5), export_error="403"), ("False", "ExportFailed")),
        (Report(), ("", "")),
    ],
)
def test_cache_used_tells_what_the_engine_reports(report: Report, expected: tuple[str, str]) -> None:
    build = a_build()
    end = build_end.succeeded(build.status, build, Evidence(report=report), AT)
    used = [(each.status, each.reason) for each in end.conditions if each.type == "CacheUsed"]
    assert used == ([expected] if expected[0] else [])
    assert is_terminal(end.conditions)


def used(report: Report, mode: str = "ReadWrite") -> tuple[str, str, str]:
    build = a_build(cache={"mode": mode})
    end = build_end.succeeded(build.status, build, Evidence(report=report), AT)
    (told,) = [each for each in end.conditions if each.type == "CacheUsed"]
    return told.status, told.reason, told.message


def test_k7_the_condition_says_what_an_old_kaniko_cannot_promise() -> None:
    state, reason, message = used(Report(engine="Kaniko", steps=(2, 2), doubt="heredocs are not keyed"))
    assert (state, reason, message.split("; ")[1:]) == ("True", "Hit", ["heredocs are not keyed"])


def test_k8_a_cold_build_that_only_reads_says_what_it_cannot_tell() -> None:
    cold = Report(engine="Kaniko", steps=(2, 0))
    assert "cannot read" in used(cold, "ReadOnly")[2]
    assert used(cold, "ReadOnly")[:2] == ("True", "Cold")
    assert "cannot read" not in used(cold)[2], "its push would have failed"
    assert "cannot read" not in used(replace(cold, engine="BuildKit"), "ReadOnly")[2], "BuildKit tells"
    assert used(replace(cold, import_error="connection refused"), "ReadOnly") == (
        "False",
        "ImportFailed",
        "connection refused",
    )


def test_k10_numbers_of_the_end_of_a_log_say_so() -> None:
    assert "too long to be read whole" in used(Report(steps=(2, 1), steps_of_the_end=True))[2]


def test_k10_nothing_to_cache_is_neither_cold_nor_a_percentage() -> None:
    build = a_build()
    end = build_end.succeeded(build.status, build, Evidence(report=Report(steps=(0, 0), build_seconds=9)), AT)
    assert end.cache is not None
    assert end.cache.hit_percent is None
    body = {"metadata": {"name": "web"}, "spec": {"service": "web"}, "status": end.to_json()}
    assert not finished(body).cold, "no later build is measured against it"


# What holds for every status

reports = st.none() | st.builds(
    Report,
    digest=st.none() | st.just(DIGEST),
    size_bytes=st.none() | st.integers(0, 2**40),
    steps=st.none() | st.tuples(st.integers(5, 9), st.integers(0, 5)),
    imported=st.none() | st.booleans(),
    import_error=st.sampled_from(["", "x" * 256]),
    export_error=st.sampled_from(["", "denied"]),
    started_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    build_seconds=st.none() | st.integers(0, 9999),
)
observed = st.builds(
    Task,
    arn=st.just(OWN),
    last_status=st.sampled_from(["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "STOPPING", "STOPPED", "NEW"]),
    stop_code=st.text(max_size=80),
    created_at=st.none() | st.just(START),
    stopped_at=st.none() | st.just(START - timedelta(hours=1)),
)
failures = st.builds(
    Failed,
    st.sampled_from(sorted(BUILD_REASONS[ConditionType.STALLED])),
    st.text(max_size=2000),
    st.none() | st.integers(0, 255),
    st.sampled_from([None, "fetch", "build"]),
    st.text(max_size=900),
)
steps = st.one_of(
    st.tuples(st.just("pending"), st.sampled_from([Reason.WAITING_FOR_CACHE, Reason.RETRYING]), st.text(max_size=1500)),
    st.tuples(st.just("troubled"), st.text(max_size=1500)),
    st.tuples(st.just("recorded")),
    st.tuples(st.just("launched"), observed),
    st.tuples(st.just("adopted"), observed),
    st.tuples(st.just("followed"), observed),
    st.tuples(st.just("missing")),
    st.tuples(st.just("succeeded"), observed, reports),
    st.tuples(st.just("failed"), failures, observed | st.none()),
)  # fmt: skip


def apply(status: BuildStatus, build: Build, step: tuple[Any, ...], at: Stamp) -> BuildStatus:
    match step:
        case ("launched", task):
            return build_status.launched(status, build, start(build, a_cache()), task, at)
        case ("succeeded", task, report):
            return build_end.succeeded(status, build, Evidence(task, report), at)
        case ("failed", failure, task):
            return build_end.failed(status, build.metadata, failure, Evidence(task, None, "tail"), at)
        case (name, *arguments):
            changed: BuildStatus = getattr(build_status, name)(status, *arguments, at)
            return changed
    raise AssertionError(step)


@given(st.lists(steps, max_size=8))
def test_statuses_are_valid_stable_and_terminal_is_terminal(sequence: list[tuple[Any, ...]]) -> None:
    build = a_build()
    status = build.status
    for number, step in enumerate(sequence):
        if is_terminal(status.conditions):
            if step[0] in ("succeeded", "failed"):
                assert apply(status, build, step, AT) == status
            continue
        at = Stamp(1, START + timedelta(seconds=number))
        status = apply(status, build, step, at)
        body = status.to_json()
        assert BuildStatus.model_validate(copy.deepcopy(body)) == status, (
            "within the schema's bounds, and read as written"
        )
        types = [condition.type for condition in status.conditions]
        assert len(set(types)) == len(types)
        assert not {"Reconciling", "Stalled"} <= set(types)
        for condition in status.conditions:
            assert condition.reason in BUILD_REASONS[ConditionType(condition.type)]
        if step[0] in ("pending", "followed", "launched", "missing", "troubled"):
            later = apply(status, build, step, Stamp(1, at.now + timedelta(hours=1)))
            assert later == status, "without news nothing is written"
