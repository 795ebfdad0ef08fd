"""The status after a pass: reasons from the closed sets, kstatus' rules, and nothing that changes without a cause."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import BuildCacheStatus, Efficiency, QueueStatus
from buildcache.core.cache import plan
from buildcache.core.cache_status import Pass, cache_status, deleting_status, invalid_status
from buildcache.core.errors import Denied, Rejected, Trouble, Unavailable
from buildcache.core.observed import ObservedCache, Subnet
from buildcache.core.plan import Plan
from buildcache.core.status import CACHE_REASONS, ConditionType, Reason, find_condition, is_true
from buildcache.core.teardown import plan_teardown
from tests.fakes import aws_parts
from tests.strategies import VPC, cache_specs, observed_caches, wanted

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SUBNET = "subnet-0000000a"
EMPTY = ObservedCache(cluster_state="ACTIVE", subnets={SUBNET: Subnet(SUBNET, "eu-west-1a", VPC)})
"""An account with cluster and subnet, and no part of a cache."""
QUEUE, WORTH = QueueStatus(running=1, queued=2), Efficiency(builds=3)

troubles = st.none() | st.sampled_from(
    [
        Unavailable("ThrottlingException", operation="ecr:DescribeRepositories", resource="shop"),
        Denied("AccessDenied", operation="ec2:CreateSecurityGroup", resource="g"),
        Rejected(Reason.QUOTA_EXCEEDED, "too many", operation="elasticfilesystem:CreateFileSystem"),
        Rejected(Reason.INVALID_SPEC, "no", operation="ecs:RegisterTaskDefinition"),
    ]
)


@st.composite
def caches(draw: st.DrawFn) -> BuildCache:
    spec = draw(cache_specs())
    suspend, policy = draw(st.booleans()), draw(st.sampled_from(["Correct", "Report"]))
    body = {
        "metadata": {"name": "shop", "namespace": "team-a", "uid": "u", "generation": draw(st.integers(1, 3))},
        "spec": {**spec.to_json(), "suspend": suspend, "reconcilePolicy": policy},
    }
    return BuildCache.parse(body)


@st.composite
def passes(draw: st.DrawFn, cache: BuildCache) -> Pass:
    want = wanted(cache.spec)
    trouble = draw(troubles)
    if trouble is not None and draw(st.booleans()):
        return Pass(trouble=trouble)
    have = draw(observed_caches(want, foreign=True))
    found = plan(want, have)
    applied = found.actions[: draw(st.integers(0, len(found.actions)))]
    waiting = draw(st.sampled_from([(), ("DependencyViolation: in use",)]))
    return Pass(have, found, applied, waiting, trouble)


def check(status: BuildCacheStatus) -> None:
    for condition in status.conditions:
        assert Reason(condition.reason) in CACHE_REASONS[ConditionType(condition.type)], condition
    assert not (
        is_true(status.conditions, ConditionType.RECONCILING) and is_true(status.conditions, ConditionType.STALLED)
    )
    assert len(status.drift) <= 20
    assert BuildCacheStatus.model_validate(status.to_json()) == status


@given(st.data())
def test_any_sequence_of_passes_keeps_the_contract_of_the_status(data: st.DataObject) -> None:
    cache = data.draw(caches())
    want = wanted(cache.spec)
    for number in range(3):
        done = data.draw(passes(cache))
        status = cache_status(cache, want, done, QUEUE, WORTH, NOW + timedelta(minutes=number))
        check(status)
        # The same pass again, later: nothing moves, so nothing is written.
        same = cache.model_copy(update={"status": status})
        again = cache_status(same, want, done, QUEUE, WORTH, NOW + timedelta(minutes=20))
        if not done.applied:
            assert again == status
        cache = same


@given(st.data())
def test_a_deletion_keeps_the_contract_of_the_status(data: st.DataObject) -> None:
    cache = data.draw(caches())
    want = wanted(cache.spec)
    running = data.draw(st.integers(0, 2))
    have = data.draw(observed_caches(want, foreign=True))
    done = Pass(have, plan_teardown(want, have, running=running), trouble=data.draw(troubles))
    status = deleting_status(cache, want, done, QUEUE, WORTH, NOW)
    check(status)
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "Deleting")
    blocked = find_condition(status.conditions, ConditionType.DELETION_BLOCKED)
    if running and cache.spec.deletion_policy == "Delete":
        assert blocked is not None
        assert blocked.reason == "BuildsRunning"


def settled(cache: BuildCache) -> BuildCache:
    """The cache after a pass in which everything was there."""
    status = BuildCacheStatus.model_validate(
        {
            "observedGeneration": cache.metadata.generation,
            "conditions": [
                {"type": kind, "status": "True", "reason": "Available", "lastTransitionTime": "2026-11-24T11:00:00Z"}
                for kind in ("Ready", "NetworkReady", "RegistryReady", "ExecutorsReady")
            ],
        }
    )
    return cache.model_copy(update={"status": status})


def cache_of(**spec: Any) -> BuildCache:
    body = {
        "metadata": {"name": "shop", "namespace": "team-a", "uid": "u", "generation": 2},
        "spec": {
            "region": "eu-west-1",
            "clusterARN": "arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
            "network": {"vpcID": VPC, "subnetIDs": [SUBNET]},
            "executors": [
                {
                    "name": "ec2",
                    "engine": "BuildKit",
                    "launchType": "EC2",
                    "taskRoleARN": "arn:aws:iam::111122223333:role/b",
                    "executionRoleARN": "arn:aws:iam::111122223333:role/b",
                }
            ],
            **spec,
        },
    }
    return BuildCache.parse(body)


@pytest.mark.parametrize(
    ("trouble", "ready", "progress"),
    [
        pytest.param(
            Unavailable("ThrottlingException"),
            ("True", "Available"),
            ("Reconciling", "AwsUnavailable"),
            id="F22, T38: throttling keeps Ready",
        ),
        pytest.param(
            Denied("AccessDenied", operation="ecr:DescribeRepositories", resource="shop"),
            ("False", "AccessDenied"),
            ("Stalled", "AccessDenied"),
            id="F44, T39: a missing permission",
        ),
        pytest.param(
            Rejected(Reason.QUOTA_EXCEEDED, "FileSystemLimitExceeded"),
            ("False", "QuotaExceeded"),
            ("Stalled", "QuotaExceeded"),
            id="F47, T42: a quota",
        ),
    ],
)
def test_a_look_that_fails(trouble: Trouble, ready: tuple[str, str], progress: tuple[str, str]) -> None:
    cache = settled(cache_of())
    status = cache_status(cache, wanted(cache.spec), Pass(trouble=trouble), QUEUE, WORTH, NOW)
    found = {condition.type: (condition.status, condition.reason) for condition in status.conditions}
    assert found["Ready"] == ready
    assert found[progress[0]] == ("True", progress[1])
    assert {"Reconciling", "Stalled"} & found.keys() == {progress[0]}


def test_t39_the_message_names_the_action_and_the_resource() -> None:
    trouble = Denied("AccessDenied: not allowed", operation="ecr:CreateRepository", resource="buildcache/team-a/shop")
    cache = settled(cache_of())
    status = cache_status(cache, wanted(cache.spec), Pass(trouble=trouble), QUEUE, WORTH, NOW)
    found = find_condition(status.conditions, ConditionType.STALLED)
    assert found is not None
    assert found.message == "ecr:CreateRepository on buildcache/team-a/shop: AccessDenied: not allowed"


def kstatus(generation: int, status: BuildCacheStatus) -> str:
    """What kstatus makes of an object that stays, and with it Flux, Argo CD and `helm --wait`."""
    if status.observed_generation != generation or is_true(status.conditions, ConditionType.RECONCILING):
        return "InProgress"
    if is_true(status.conditions, ConditionType.STALLED):
        return "Failed"
    ready = find_condition(status.conditions, ConditionType.READY)
    return "Current" if ready is None or ready.status == "True" else "InProgress"


def reasons(status: BuildCacheStatus) -> dict[str, tuple[str, str]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def test_c13_a_suspended_cache_keeps_ready_says_so_first_and_lists_what_it_would_do() -> None:
    cache = settled(cache_of(suspend=True))
    want = wanted(cache.spec)
    have = EMPTY
    status = cache_status(cache, want, Pass(have, plan(want, have)), QUEUE, WORTH, NOW)
    assert reasons(status)["Ready"] == ("True", "Available")
    assert reasons(status)["Suspended"] == ("True", "SuspendedBySpec")
    assert status.conditions[0].reason == "SuspendedBySpec"  # the printer column STATUS
    assert {"repository", "log-group"} <= {row.part for row in status.drift}
    assert kstatus(2, status) == "Current"
    resumed = settled(cache_of()).model_copy(update={"status": status})
    after = cache_status(resumed, want, Pass(have, plan(want, have)), QUEUE, WORTH, NOW)
    assert "Suspended" not in reasons(after)


@pytest.mark.parametrize(("status", "reason"), [("False", "Suspended"), ("Unknown", "InternalError")])
def test_c13_a_reason_of_an_earlier_release_or_of_a_bug_is_not_kept(status: Any, reason: str) -> None:
    cache = settled(cache_of(suspend=True))
    wrong = tuple(
        condition.model_copy(update={"status": status, "reason": reason}) if condition.type == "Ready" else condition
        for condition in cache.status.conditions
    )
    cache = cache.model_copy(update={"status": cache.status.model_copy(update={"conditions": wrong})})
    want, have = wanted(cache.spec), EMPTY
    for _ in range(3):
        for action in plan(want, have).actions:
            have = aws_parts.apply(have, action)
    after = cache_status(cache, want, Pass(have, plan(want, have)), QUEUE, WORTH, NOW)
    assert reasons(after)["Ready"] == ("True", "Available")
    assert kstatus(2, after) == "Current"


def test_c13_a_cache_that_was_suspended_before_its_first_look_is_no_work_in_progress() -> None:
    cache = cache_of(suspend=True)
    want, have = wanted(cache.spec), EMPTY
    status = cache_status(cache, want, Pass(have, plan(want, have)), QUEUE, WORTH, NOW)
    assert "Ready" not in reasons(status)
    assert kstatus(2, status) == "Current"


def test_c13_a_disabled_cache_is_ready_when_builds_can_run() -> None:
    cache = cache_of(enabled=False)
    want = wanted(cache.spec)
    before = cache_status(cache, want, Pass(EMPTY, Plan()), QUEUE, WORTH, NOW)
    assert reasons(before)["Ready"] == ("False", "Provisioning")
    have = EMPTY
    for _ in range(3):
        for action in plan(want, have).actions:
            have = aws_parts.apply(have, action)
    status = cache_status(cache, want, Pass(have, plan(want, have)), QUEUE, WORTH, NOW)
    assert reasons(status)["Ready"] == ("True", "Disabled")
    assert reasons(status)["RegistryReady"][1] == reasons(status)["FileSystemReady"][1] == "NotConfigured"
    assert kstatus(2, status) == "Current"


@given(st.data())
def test_c13_a_cache_on_which_nothing_goes_on_is_never_in_progress_for_kstatus(data: st.DataObject) -> None:
    cache = data.draw(caches())
    want = wanted(cache.spec)
    for number in range(3):
        done = data.draw(passes(cache))
        status = cache_status(cache, want, done, QUEUE, WORTH, NOW + timedelta(minutes=number))
        held_back = cache.spec.suspend or cache.spec.reconcile_policy == "Report"
        going_on = isinstance(done.trouble, Unavailable) or (not held_back and (done.plan.actions or done.plan.waiting))
        if done.have is not None and not going_on and not done.waiting:
            assert kstatus(cache.metadata.generation, status) != "InProgress"
        cache = cache.model_copy(update={"status": status})


def test_an_invalid_spec_is_told_once() -> None:
    before = BuildCacheStatus()
    status = invalid_status(before, 4, "spec.region: must be an AWS region", NOW)
    check(status)
    assert status.observed_generation == 4
    assert invalid_status(status, 4, "spec.region: must be an AWS region", NOW + timedelta(hours=1)) == status
