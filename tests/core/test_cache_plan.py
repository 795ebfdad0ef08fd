"""The plan as a whole: from any state of AWS it ends, ends where it should, and leaves alone what is not ours."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.cache import BuildCacheSpec
from buildcache.core.action import DeleteSecurityGroup
from buildcache.core.cache import executor_parts, plan
from buildcache.core.desired import DesiredCache
from buildcache.core.names import mounted_by
from buildcache.core.observed import ObservedCache, Subnet
from buildcache.core.plan import Plan, Use
from buildcache.core.readiness import readiness
from buildcache.core.status import ConditionType, Reason
from buildcache.core.teardown import plan_teardown
from tests.fakes import aws_parts
from tests.strategies import SUBNETS, VPC, cache_specs, observed_caches, wanted

PASSES = 16


def converge(
    want: DesiredCache, have: ObservedCache, next_plan: Callable[[ObservedCache], Plan]
) -> tuple[ObservedCache, Plan]:
    """Passes until nothing is done and nothing is waited for."""
    for _ in range(PASSES):
        step = next_plan(have)
        if not step.actions and not step.waiting and not step.coming:
            return have, step
        for action in step.actions:
            have = aws_parts.apply(have, action)
        have = aws_parts.pass_time(have)
    raise AssertionError(f"no end after {PASSES} passes: {step}")


def correcting(want: DesiredCache) -> Callable[[ObservedCache], Plan]:
    """The plans of passes that publish what they see, as the status does."""
    published: frozenset[str] = frozenset()

    def next_plan(have: ObservedCache) -> Plan:
        nonlocal published
        step = plan(want, have, Use(published=published))
        published = frozenset(revision.arn for revision in executor_parts(want, have).values())
        return step

    return next_plan


def empty() -> ObservedCache:
    return ObservedCache(
        subnets={subnet: Subnet(subnet, zone, VPC) for subnet, zone in SUBNETS.items()}, cluster_state="ACTIVE"
    )


def shape(want: DesiredCache, have: ObservedCache) -> object:
    """A state without what may differ between two ways to it: revision numbers, and which subnet of a zone came first."""
    current = {revision.family: revision.content_hash for revision in executor_parts(want, have).values()}
    mounts = frozenset((mount.zone, mount.groups, mount.state) for mount in have.mounts)
    needed = {scope.name for scope in want.scopes}
    points = frozenset(point.scope for point in have.access_points if point.scope in needed)
    families = frozenset(mounted_by(family) is not None for family in current)
    hashes = frozenset(content for family, content in current.items() if mounted_by(family) is None)
    bare = replace(have, revisions=(), mounts=(), access_points=())
    return bare, hashes, families, mounts, points, len(have.revisions)


@given(st.data())
def test_from_any_state_of_ours_the_end_is_that_of_a_fresh_cache(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs(deletion="Delete")))
    have = data.draw(observed_caches(want, foreign=False))
    if have.file_system is not None and want.file_system is not None:
        have = replace(have, file_system=replace(have.file_system, kms_key=want.file_system.kms_key))
    end, last = converge(want, have, correcting(want))
    fresh, _ = converge(want, empty(), correcting(want))
    assert last == Plan()
    assert shape(want, end) == shape(want, fresh)


@given(cache_specs())
def test_what_is_made_from_nothing_is_ready(spec: BuildCacheSpec) -> None:
    want = wanted(spec)
    end, _ = converge(want, empty(), correcting(want))
    state = readiness(want, end)
    assert state[ConditionType.NETWORK_READY].ready
    assert state[ConditionType.EXECUTORS_READY].ready
    for kind, there in (
        (ConditionType.REGISTRY_READY, spec.enabled),
        (ConditionType.FILE_SYSTEM_READY, spec.enabled and spec.file_system is not None),
    ):
        assert state[kind].reason == (Reason.AVAILABLE if there else Reason.NOT_CONFIGURED)


@given(st.data())
def test_what_is_not_ours_is_never_touched_and_does_not_keep_the_rest_from_an_end(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs()))
    have = data.draw(observed_caches(want, foreign=True))
    foreign = [
        part
        for part in (
            have.build_group,
            have.cache_group,
            have.file_system,
            have.repository,
            have.log_group,
            *have.revisions,
        )
        if part is not None and not part.owned
    ]
    next_plan = correcting(want)
    for _ in range(PASSES):  # aws_parts raises when an action is about something foreign
        for action in next_plan(have).actions:
            have = aws_parts.apply(have, action)
        settled = aws_parts.pass_time(have)
        have = replace(settled, file_system=have.file_system) if _foreign_file_system(have) else settled
    last = next_plan(have)
    assert last.actions == ()
    assert last.waiting == ()
    assert {conflict.reason for conflict in last.conflicts} <= {Reason.FOREIGN_RESOURCE, Reason.IMMUTABLE_FIELD}
    left = (have.build_group, have.cache_group, have.file_system, have.repository, have.log_group, *have.revisions)
    assert all(part in left for part in foreign)


@given(st.data())
def test_t32_t33_a_teardown_ends_with_nothing_of_ours_from_any_state(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs(deletion="Delete")))
    have = data.draw(observed_caches(want, foreign=False))
    end, last = converge(want, have, lambda state: plan_teardown(want, state, running=0))
    assert last == Plan()
    gone = (end.build_group, end.cache_group, end.file_system, end.repository, end.log_group)
    assert gone == (None,) * 5
    assert end.mounts == ()
    assert end.access_points == ()
    assert end.revisions == ()


@given(st.data())
def test_a_teardown_leaves_what_is_not_ours(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs(deletion="Delete")))
    have = data.draw(observed_caches(want, foreign=True))
    for _ in range(PASSES):
        for action in plan_teardown(want, have, running=0).actions:
            have = aws_parts.apply(have, action)  # raises when it is about something foreign
        settled = aws_parts.pass_time(have)
        have = replace(settled, file_system=have.file_system) if _foreign_file_system(have) else settled
    # A group of ours that a foreign mount target is in cannot go: the pass says so (SecurityGroupInUse) and tries again.
    used = {group for mount in have.mounts for group in mount.groups or ()}
    left = plan_teardown(want, have, running=0).actions
    assert all(isinstance(action, DeleteSecurityGroup) and action.group_id in used for action in left)


@given(st.data())
def test_t37_a_retained_cache_loses_nothing(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs(deletion="Retain")))
    have = data.draw(observed_caches(want, foreign=False))
    assert plan_teardown(want, have, running=0) == Plan()


@settings(max_examples=50)
@given(st.data())
def test_t11_a_settled_state_gives_an_empty_plan_whatever_the_status_said(data: st.DataObject) -> None:
    want = wanted(data.draw(cache_specs()))
    end, _ = converge(want, empty(), correcting(want))
    assert plan(want, end, Use(published=frozenset())).actions == ()
    assert plan(want, end, Use(published=frozenset({"arn:gone"}))).actions == ()


def _foreign_file_system(have: ObservedCache) -> bool:
    return have.file_system is not None and not have.file_system.owned
