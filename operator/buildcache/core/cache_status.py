"""The status of a BuildCache: what came of a pass, in conditions. Pure, and made after failures too."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import BuildCacheStatus, Drift, Efficiency, QueueStatus
from buildcache.api.meta import Condition

from .action import Action, difference, is_for_a_build
from .cache import CLUSTER_PART
from .cache_drift import drifted, listed, progress
from .cache_facts import facts
from .cache_file_system import SUBNETS_PART
from .desired import DesiredCache
from .errors import Denied, Trouble, Unavailable
from .observed import ObservedCache
from .plan import Blocked, Plan
from .readiness import Readiness, readiness
from .status import (
    BUILD_GROUP_PART,
    CACHE_GROUP_PART,
    CACHE_REASONS,
    FILE_SYSTEM_PART,
    LOG_GROUP_PART,
    REPOSITORY_PART,
    STALLED_CACHE,
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
    set_reconciling,
    set_settled,
    set_stalled,
)

DRIFT_LIMIT = 20
STUCK = timedelta(minutes=30)
"""After this time a file system or mount target that AWS is still making is for a person to look at; a late success heals it."""

_KEPT = CACHE_REASONS[ConditionType.READY] - {Reason.INTERNAL_ERROR}
"""Reasons of Ready that a suspended cache keeps; one of an earlier release (Suspended), or of a bug, is replaced."""

_GROUP_OF_PART: Mapping[str, ConditionType] = {
    BUILD_GROUP_PART: ConditionType.NETWORK_READY,
    CACHE_GROUP_PART: ConditionType.NETWORK_READY,
    SUBNETS_PART: ConditionType.NETWORK_READY,
    FILE_SYSTEM_PART: ConditionType.FILE_SYSTEM_READY,
    REPOSITORY_PART: ConditionType.REGISTRY_READY,
    LOG_GROUP_PART: ConditionType.EXECUTORS_READY,
    CLUSTER_PART: ConditionType.EXECUTORS_READY,
}
_GROUP_OF_SERVICE: Mapping[str, ConditionType] = {
    "ec2": ConditionType.NETWORK_READY,
    "elasticfilesystem": ConditionType.FILE_SYSTEM_READY,
    "ecr": ConditionType.REGISTRY_READY,
    "ecs": ConditionType.EXECUTORS_READY,
    "logs": ConditionType.EXECUTORS_READY,
}


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass found and did."""

    have: ObservedCache | None = None
    """None: the look at AWS failed, so the parts are reported as they were."""
    plan: Plan = field(default_factory=Plan)
    applied: tuple[Action, ...] = ()
    waiting: tuple[str, ...] = ()
    """What AWS itself asked to wait for, beside the plan's own."""
    trouble: Trouble | None = None
    blocked: Blocked | None = None
    refused: frozenset[str] = frozenset()
    """Parts for which an action failed for a reason that only a person can take away."""
    ineffective: tuple[Drift, ...] = ()
    """Corrections that AWS has accepted again and again, while the difference remains."""


def cache_status(
    cache: BuildCache, want: DesiredCache, done: Pass, queue: QueueStatus, worth: Efficiency, now: datetime
) -> BuildCacheStatus:
    """The whole status after a pass over an object that stays."""
    generation = cache.metadata.generation
    status = facts(cache, want, done.have, queue, worth, done.refused)
    done = _without_what_builds_need(done)
    conditions = _suspended(status.conditions, cache, generation, now)
    conditions = _parts_ready(conditions, want, done, generation, now)
    conditions = _ready(conditions, cache, done, generation, now)
    held_back = cache.spec.suspend or cache.spec.reconcile_policy == "Report"
    drift: tuple[Drift, ...] = ()
    if done.have is not None:
        drift = tuple(difference(action) for action in done.plan.actions)[:DRIFT_LIMIT] if held_back else ()
        if not cache.spec.suspend:
            conditions = drifted(
                conditions,
                found=drift,
                conflicts=done.plan.conflicts,
                ineffective=done.ineffective,
                applied=done.applied,
                settled=not (done.plan.actions or done.plan.waiting or done.waiting or done.trouble),
                held_back=held_back,
                generation=generation,
                now=now,
            )
    conditions = _progress(conditions, cache, done, held_back, generation, now)
    conditions = remove_condition(conditions, ConditionType.DELETION_BLOCKED)
    return status.model_copy(
        update={"drift": drift if done.have is not None else status.drift, "conditions": conditions}
    )


def _without_what_builds_need(done: Pass) -> Pass:
    """What is made for a Build that needs it first is neither drift nor work on the spec: rows of `status.parts` show it."""
    plan = replace(done.plan, actions=tuple(each for each in done.plan.actions if not is_for_a_build(each)))
    return replace(done, plan=plan, applied=tuple(each for each in done.applied if not is_for_a_build(each)))


def deleting_status(
    cache: BuildCache, want: DesiredCache, done: Pass, queue: QueueStatus, worth: Efficiency, now: datetime
) -> BuildCacheStatus:
    """The whole status after a step of a deletion."""
    generation = cache.metadata.generation
    status = facts(cache, want, done.have, queue, worth)
    what = "; ".join(done.plan.waiting + done.waiting) or "removing AWS parts"
    if cache.spec.suspend:
        what = "spec.suspend is true: set it to false to have the AWS parts removed"
    conditions = _suspended(status.conditions, cache, generation, now)
    conditions = set_condition(
        conditions, ConditionType.READY, False, Reason.DELETING, what, generation=generation, now=now
    )
    match done.trouble:
        case None:
            conditions = set_reconciling(conditions, Reason.DELETING, what, generation=generation, now=now)
        case Unavailable():
            reason, message = Reason.AWS_UNAVAILABLE, str(done.trouble)
            conditions = set_reconciling(conditions, reason, message, generation=generation, now=now)
        case trouble:
            conditions = set_stalled(conditions, trouble.reason, str(trouble), generation=generation, now=now)
    blocked = done.blocked or done.plan.blocked
    if blocked is None:
        conditions = remove_condition(conditions, ConditionType.DELETION_BLOCKED)
    else:
        conditions = set_condition(
            conditions,
            ConditionType.DELETION_BLOCKED,
            True,
            blocked.reason,
            blocked.message,
            generation=generation,
            now=now,
        )
    return status.model_copy(update={"conditions": conditions})


def invalid_status(
    cache_status_before: BuildCacheStatus, generation: int, message: str, now: datetime
) -> BuildCacheStatus:
    """The status of an object whose spec the models refuse: it may predate the rules of the CRD."""
    conditions = set_stalled(
        cache_status_before.conditions, Reason.INVALID_SPEC, message, generation=generation, now=now
    )
    conditions = set_condition(
        conditions, ConditionType.READY, False, Reason.INVALID_SPEC, message, generation=generation, now=now
    )
    return cache_status_before.model_copy(update={"observed_generation": generation, "conditions": conditions})


# --- conditions ------------------------------------------------------------------------------------------------------------------


def _suspended(
    conditions: tuple[Condition, ...], cache: BuildCache, generation: int, now: datetime
) -> tuple[Condition, ...]:
    if not cache.spec.suspend:
        return remove_condition(conditions, ConditionType.SUSPENDED)
    message = "spec.suspend is true: AWS is not changed for this cache, and no new Build is admitted"
    kind, reason = ConditionType.SUSPENDED, Reason.SUSPENDED_BY_SPEC
    return set_condition(conditions, kind, True, reason, message, generation=generation, now=now)


def _parts_ready(
    conditions: tuple[Condition, ...], want: DesiredCache, done: Pass, generation: int, now: datetime
) -> tuple[Condition, ...]:
    if done.have is None:
        return conditions
    for kind, found in readiness(want, done.have).items():
        state = found
        if not found.ready and found.reason is Reason.CREATING:
            state = _why_not(kind, done) or found
        conditions = set_condition(
            conditions, kind, state.ready, state.reason, state.message, generation=generation, now=now
        )
    return conditions


def _why_not(kind: ConditionType, done: Pass) -> Readiness | None:
    """What keeps a part from being made, if something does."""
    for conflict in done.plan.conflicts:
        if _GROUP_OF_PART.get(conflict.part, ConditionType.FILE_SYSTEM_READY) is kind:
            return Readiness(False, conflict.reason, conflict.message)
    if kind is ConditionType.FILE_SYSTEM_READY:
        # Its mount targets are in the subnets.
        for conflict in done.plan.conflicts:
            if conflict.part == SUBNETS_PART:
                return Readiness(False, conflict.reason, conflict.message)
    trouble = done.trouble
    if trouble is not None and not isinstance(trouble, Unavailable):
        service = trouble.operation.partition(":")[0]
        if _GROUP_OF_SERVICE.get(service) is kind:
            return Readiness(False, trouble.reason, str(trouble))
    return None


def _ready(
    conditions: tuple[Condition, ...], cache: BuildCache, done: Pass, generation: int, now: datetime
) -> tuple[Condition, ...]:
    ready = find_condition(conditions, ConditionType.READY)
    if cache.spec.suspend and (ready is None or ready.reason in _KEPT):
        return _kept(conditions, ready, generation, now)
    state = _overall(conditions, cache, done)
    if state is None:
        return conditions
    return set_condition(
        conditions, ConditionType.READY, state.ready, state.reason, state.message, generation=generation, now=now
    )


def _kept(
    conditions: tuple[Condition, ...], ready: Condition | None, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Ready as it was, said of this generation: `kubectl wait` passes over a condition of an older one."""
    if ready is None:
        return conditions
    return set_condition(
        conditions,
        ConditionType.READY,
        ready.status,
        Reason(ready.reason),
        ready.message,
        generation=generation,
        now=now,
    )


def _overall(conditions: tuple[Condition, ...], cache: BuildCache, done: Pass) -> Readiness | None:
    """Whether Builds can use the cache, or there is nothing to use as asked for. None: it stays as it was."""
    trouble = done.trouble
    if isinstance(trouble, Denied) or (
        trouble is not None and done.have is None and not isinstance(trouble, Unavailable)
    ):
        return Readiness(False, trouble.reason, str(trouble))
    if isinstance(trouble, Unavailable) and find_condition(conditions, ConditionType.READY) is not None:
        return None
    if done.have is None:
        return Readiness(False, Reason.PROVISIONING, "AWS has not answered yet")
    wanted = [ConditionType.NETWORK_READY, ConditionType.EXECUTORS_READY]
    if cache.spec.enabled:
        wanted.insert(1, ConditionType.REGISTRY_READY)
        if cache.spec.file_system is not None:
            wanted.append(ConditionType.FILE_SYSTEM_READY)
    for kind in wanted:
        part = find_condition(conditions, kind)
        if part is not None and part.status != "True":
            reason = Reason.PROVISIONING if part.reason == Reason.CREATING else Reason(part.reason)
            return Readiness(False, reason, part.message)
    if not cache.spec.enabled:
        return Readiness(True, Reason.DISABLED, "spec.enabled is false: builds run without a cache")
    return Readiness(True, Reason.AVAILABLE, "builds use the cache")


def _progress(
    conditions: tuple[Condition, ...],
    cache: BuildCache,
    done: Pass,
    held_back: bool,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    trouble = done.trouble
    if isinstance(trouble, Unavailable):
        return set_reconciling(conditions, Reason.AWS_UNAVAILABLE, str(trouble), generation=generation, now=now)
    if trouble is not None:
        return set_stalled(conditions, trouble.reason, str(trouble), generation=generation, now=now)
    if done.plan.conflicts:
        message = "; ".join(conflict.message for conflict in done.plan.conflicts)
        return set_stalled(conditions, done.plan.conflicts[0].reason, message, generation=generation, now=now)
    waiting = done.plan.waiting + done.waiting
    if done.plan.waiting and (stuck := _stuck(conditions, now)) is not None:
        return set_stalled(conditions, Reason.NOT_FOUND, stuck, generation=generation, now=now)
    if (waiting or done.plan.actions) and not held_back:
        reason = progress(conditions, generation)
        message = "; ".join(waiting) or listed(difference(action) for action in done.plan.actions)
        return set_reconciling(conditions, reason, message, generation=generation, now=now)
    ready = find_condition(conditions, ConditionType.READY)
    if held_back and ready is not None and ready.status == "False":
        # kstatus takes False without Stalled for progress, and here there is none until a person changes the spec.
        reason = Reason(ready.reason) if ready.reason in STALLED_CACHE else Reason.NOT_FOUND
        field = "spec.suspend" if cache.spec.suspend else "spec.reconcilePolicy: Report"
        message = f"{ready.message}; {field} keeps the operator from changing AWS"
        return set_stalled(conditions, reason, message, generation=generation, now=now)
    return set_settled(conditions)


def _stuck(conditions: tuple[Condition, ...], now: datetime) -> str | None:
    """Say that AWS has been creating the file system for too long; the condition's own time tells since when."""
    found = find_condition(conditions, ConditionType.FILE_SYSTEM_READY)
    if found is None or found.status == "True" or found.reason != Reason.CREATING:
        return None
    if now - datetime.fromisoformat(found.last_transition_time) < STUCK:
        return None
    return (
        f"{found.message}, for more than {STUCK.seconds // 60} minutes; AWS usually needs two. Check the file system in AWS, or "
        "delete it there: the operator then creates a new one"
    )
