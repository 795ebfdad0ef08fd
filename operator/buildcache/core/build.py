"""What a Build does next: waits, starts its task, or ends. Pure; asked by the Build pass (`reconcile/build.py`).

The status that says so is made in `build_status.py`, the verdict on a stopped task in `task_outcome.py`. Why launching needs no record of
its own but the finalizer is told in docs/decisions/004-launch-exactly-once.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from buildcache.api.build import Build
from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.api.executor import Executor
from buildcache.api.meta import FINALIZER, Condition, Metadata, seconds
from buildcache.api.problems import summary

from . import scope, tasks
from .admission import Admitted, Full, Line, turn
from .errors import Rejected
from .flags import Flags, Refused, Stores
from .names import Identity, family, log_group_name
from .resolve import resolve, stores
from .scope import Coming, Mounted, Without
from .status import BUILD_GROUP_PART, LOG_GROUP_PART, ConditionType, Reason, executor_part, find_condition
from .task_outcome import Failed
from .task_state import RECORD_LIFE, TaskRef

TOKEN_LIFE = timedelta(minutes=50)
"""ECS keeps a client token for the task's life and an hour; ten minutes of it are for clocks that differ."""

LOOK_GRACE = timedelta(seconds=60)
"""ECS may not list a new task for this long."""

LOOK_PERIOD = 5.0
"""Seconds between looks for a task."""

_CLUSTER = re.compile(r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]{1,255}")

CACHE_PERIOD = 60.0
"""Seconds until a Build that waits for its BuildCache looks again. A change of the cache wakes it at once; thousands may wait."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished Build as its BuildCache remembers it. `cold`: it succeeded and no step came from the cache."""

    name: str
    service: str
    hit_percent: int | None
    cold: bool
    build_seconds: int | None
    saved_seconds: int | None
    completed_at: str


def finished(body: Mapping[str, Any]) -> Finished:
    """Summarise a Build that has ended. Raises ValueError when its status is of no form that is known."""
    status = BuildStatus.model_validate(body.get("status") or {})
    cache, timing = status.cache, status.timing
    succeeded = find_condition(status.conditions, ConditionType.SUCCEEDED)
    steps = cache.steps if cache else None
    return Finished(
        name=body["metadata"]["name"],
        service=str((body.get("spec") or {}).get("service", "")),
        hit_percent=cache.hit_percent if cache else None,
        cold=succeeded is not None
        and succeeded.status == "True"
        and steps is not None
        and steps.total > 0 == steps.cached,
        build_seconds=timing.build_seconds if timing else None,
        saved_seconds=cache.saved_seconds if cache else None,
        completed_at=status.completion_time or "",
    )


def is_terminal(conditions: Sequence[Condition]) -> bool:
    """Tell whether the Build has ended. What ended never changes again."""
    succeeded = find_condition(conditions, ConditionType.SUCCEEDED)
    return succeeded is not None and succeeded.status != "Unknown"


def moment(text: str | None) -> datetime | None:
    """A time of the API server, or of our own status; None when it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except ValueError:
        return None


# --- before there is a task


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done now."""

    reason: Reason
    message: str
    again_after: float | None = None
    position: int | None = None
    """Its place in the line, of a Build that waits for its turn."""


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """What the run has of the cache. `reason`: why it goes without."""

    ref: str | None = None
    reason: Reason | None = None
    message: str = ""
    unmounted: str = ""
    """Why the run does not have its cache mounts, when it could have had them."""


@dataclass(frozen=True, slots=True)
class StartTask:
    """Everything is there: this is the request, and what the status will say of it."""

    executor: Executor
    region: str
    cluster_arn: str
    families: tuple[str, ...]
    """Where a task of this Build may be found that was started before: with the scope, or without."""
    request: Mapping[str, Any]
    cache: CacheChoice
    namespace: str
    """The Build's: where tasks are started no faster than AWS allows, namespaces take turns."""
    created: datetime
    """The Build's creation: where ECS has no room, the oldest is first."""
    log_group: str = ""
    """Where the task writes."""
    not_yet: Wait | None = None
    """What it waits for when it is its turn."""


def admit(
    build: Build,
    cache: BuildCache | None,
    *,
    cluster_id: str,
    attempt: int,
    now: datetime,
    builds: Sequence[Mapping[str, Any]] = (),
) -> Wait | Failed | StartTask:
    """Decide whether the Build's task can be started, on which executor and with how much of the cache.

    A cache never blocks a build: only a missing executor makes it wait, stores that are not ready are left out. `builds`: all of the
    cache that have not ended, where Builds can mount its file system.
    """
    name = build.spec.cache_ref.name
    if cache is None:
        missing = f"there is no BuildCache {name} in namespace {build.metadata.namespace}"
        return _wait_or(Reason.CACHE_NOT_FOUND, missing, build, now)
    if cache.spec.suspend:
        return _wait_or(Reason.QUEUE_TIMEOUT, f"BuildCache {name} is suspended", build, now)
    executors = find_condition(cache.status.conditions, ConditionType.EXECUTORS_READY)
    if executors is not None and executors.status == "False" and executors.reason == Reason.CLUSTER_NOT_FOUND:
        return _wait_or(Reason.QUEUE_TIMEOUT, f"BuildCache {name}: {executors.message}", build, now)
    ends = moment(cache.metadata.deletion_timestamp)
    if ends is not None and not is_held(build.metadata) and created_at(build.metadata, now) > ends:
        # Those that were there before still run, without the cache; without an end to them it would never go.
        return _wait_or(Reason.CACHE_NOT_FOUND, f"BuildCache {name} is being deleted", build, now)
    offered = stores(cache)
    resolved = resolve(cache.spec, build.spec, offered)
    if isinstance(resolved, Refused):
        return Failed(
            Reason.INVALID_SPEC,
            summary(resolved.problems),
            hint="change the BuildCache, or create a new Build with the field corrected",
        )
    executor = resolved.executor
    ids = {part.name: part.id for part in cache.status.parts}
    task_definition, group = ids.get(executor_part(executor.name)), ids.get(BUILD_GROUP_PART)
    groups = cache.spec.network.security_group_ids or ((group,) if group else ())
    if not task_definition or not groups:
        absent = (
            "the security group of its tasks" if task_definition else f"the task definition of executor {executor.name}"
        )
        return _wait_or(Reason.QUEUE_TIMEOUT, f"BuildCache {name} does not have {absent} yet", build, now)
    owner = Identity(cluster_id, cache.metadata.namespace, cache.metadata.name, cache.metadata.uid)
    families = [family(owner, executor.name)]
    mount = scope.choose(cache, executor, build, builds, left=_patience(build, now))
    if isinstance(mount, Mounted):
        task_definition = mount.task_definition_arn
    if (mounting := scope.definition_of(cache, executor, build.spec.service)) is not None:
        families.append(family_of(mounting))
    try:
        request = tasks.run_task(
            owner,
            cache.spec,
            executor,
            build,
            resolved.flags,
            resolved.command,
            attempt=attempt,
            task_definition_arn=task_definition,
            security_group_ids=groups,
        )
    except Rejected as rejected:
        return Failed(
            rejected.reason,
            rejected.message,
            hint="ECS takes no more than this with one task: ask for less in one Build",
        )
    return StartTask(
        executor=executor,
        region=cache.spec.region,
        cluster_arn=cache.spec.cluster_arn,
        families=tuple(families),
        request=request,
        cache=_choose(build, cache, offered, resolved.flags, mount),
        namespace=build.metadata.namespace,
        created=created_at(build.metadata, now),
        log_group=published_log_group(cache) or log_group_name(owner),
        not_yet=_wait_for_scope(mount, build, now),
    )


def published_log_group(cache: BuildCache) -> str | None:
    """The log group to which the task definitions of a BuildCache's status write."""
    return next((row.id for row in cache.status.parts if row.name == LOG_GROUP_PART and row.id), None)


def family_of(task_definition_arn: str) -> str:
    """The family in the ARN of a revision."""
    return task_definition_arn.rpartition("/")[2].rpartition(":")[0]


def _wait_for_scope(mount: Mounted | Coming | Without, build: Build, now: datetime) -> Wait | None:
    if not isinstance(mount, Coming):
        return None
    name = build.spec.cache_ref.name
    left = -overdue(build, now)
    return Wait(Reason.WAITING_FOR_CACHE, f"BuildCache {name}: {mount.message}", again_after=min(CACHE_PERIOD, left))


def unreadable(build: Build, why: str, now: datetime) -> Wait | Failed:
    """Wait for a BuildCache that is not valid to be corrected, until the queue timeout of the Build."""
    return _wait_or(Reason.QUEUE_TIMEOUT, f"BuildCache {build.spec.cache_ref.name} is not valid: {why}", build, now)


def overdue(build: Build, now: datetime) -> float:
    """Seconds by which the Build has waited longer for its task than it wants to; below zero: what is left."""
    before = build.status.attempts[-2] if len(build.status.attempts) > 1 else None
    ended = moment(before.stopped_at) if before is not None else None
    since = max(created_at(build.metadata, now), ended) if ended is not None else created_at(build.metadata, now)
    return (now - since).total_seconds() - seconds(build.spec.timeouts.queue)


def _patience(build: Build, now: datetime) -> float:
    """Seconds for which the Build still waits for its scope; below zero: it does without."""
    return -overdue(build, now) - scope.margin(seconds(build.spec.timeouts.queue))


def unplaced(build: Build, reason: Reason, message: str) -> Failed:
    """End a Build that ECS has refused a task for as long as it may queue."""
    if reason is Reason.WAITING_FOR_CAPACITY:
        return Failed(
            Reason.CAPACITY_UNAVAILABLE,
            f"no room for the task within timeouts.queue ({build.spec.timeouts.queue}): {message}",
            hint="add instances to the cluster, use a smaller executor, or raise timeouts.queue",
        )
    return Failed(
        Reason.QUEUE_TIMEOUT,
        f"no task was started within timeouts.queue ({build.spec.timeouts.queue}): {message}",
        hint="fix the cause that the message names, or raise timeouts.queue",
    )


def foreign_attempts(status: BuildStatus) -> frozenset[str]:
    """Tasks of earlier attempts: what is found under this Build's name must not be taken for the current one."""
    return frozenset(row.task_arn for row in status.attempts[:-1] if row.task_arn is not None)


def in_line(build: Build, cache: BuildCache, seen: Line, now: datetime) -> Admitted | Wait | Failed:
    """Decide whether it is the Build's turn. Asked only before it is held: then it has been admitted."""
    name, limits = build.spec.cache_ref.name, cache.spec.limits
    step = turn(build.metadata.uid, seen, limits, known=build.status.queue is not None)
    if isinstance(step, Admitted):
        return step
    if isinstance(step, Full):
        return Failed(
            Reason.QUEUE_FULL,
            f"{step.queued} Builds of BuildCache {name} are waiting, as many as limits.maxQueuedBuilds allows",
            hint="create a new Build later, or raise limits.maxQueuedBuilds or limits.maxConcurrentBuilds of the BuildCache",
        )
    late = overdue(build, now)
    if late >= 0:
        return Failed(
            Reason.QUEUE_TIMEOUT,
            f"the Build did not get its turn within timeouts.queue ({build.spec.timeouts.queue}): "
            f"{step.position} Builds were ahead of it",
            hint="raise limits.maxConcurrentBuilds of the BuildCache, or the Build's timeouts.queue",
        )
    again_after, message = min(step.again_after, -late), ""
    if (rival := seen.held_up.get(build.metadata.uid)) is not None:
        message = (
            f"waits for Build {rival}: one build at a time writes the cache mounts of service {build.spec.service}; "
            "shortly before the end of timeouts.queue it runs without them"
        )
        # It is woken when the other one ends; to the end of its patience it looks by itself.
        again_after = max(1.0, min(again_after, _patience(build, now)))
    return Wait(Reason.QUEUED, message, again_after=again_after, position=step.position)


def _wait_or(timed_out: Reason, message: str, build: Build, now: datetime) -> Wait | Failed:
    """Wait for the BuildCache as long as the Build may queue."""
    left = -overdue(build, now)
    if left <= 0:
        hint = (
            "create the BuildCache before the Build, or correct spec.cacheRef.name"
            if timed_out is Reason.CACHE_NOT_FOUND
            else "see the BuildCache's conditions; a longer timeouts.queue lets Builds wait for it"
        )
        return Failed(timed_out, f"{message} after timeouts.queue ({build.spec.timeouts.queue})", hint=hint)
    return Wait(Reason.WAITING_FOR_CACHE, message, again_after=min(CACHE_PERIOD, left))


def _choose(
    build: Build, cache: BuildCache, offered: Stores, flags: Flags, mount: Mounted | Coming | Without
) -> CacheChoice:
    why = mount.why if isinstance(mount, Without) else ""
    return replace(_layers(build, cache, offered, flags), unmounted=why)


def _layers(build: Build, cache: BuildCache, offered: Stores, flags: Flags) -> CacheChoice:
    if build.spec.cache.mode == "None":
        return CacheChoice(reason=Reason.NOT_REQUESTED, message="spec.cache.mode is None")
    name = cache.metadata.name
    if not cache.spec.enabled:
        return CacheChoice(reason=Reason.DISABLED, message=f"BuildCache {name} is disabled")
    if not offered.registry:
        if cache.metadata.deletion_timestamp is not None:
            return CacheChoice(reason=Reason.NOT_READY, message=f"BuildCache {name} is being deleted")
        registry = find_condition(cache.status.conditions, ConditionType.REGISTRY_READY)
        why = f": {registry.reason}" if registry else ""
        return CacheChoice(reason=Reason.NOT_READY, message=f"the layer cache of BuildCache {name} is not ready{why}")
    return CacheChoice(ref=flags.ref)


# --- exactly one task for each attempt

Guard = Literal["run", "hold", "pin", "look", "move"]


def created_at(metadata: Metadata, now: datetime) -> datetime:
    """When the API server made the object; an object without that time is as new as can be."""
    return moment(metadata.creation_timestamp) or now


def attempt_number(status: BuildStatus) -> int:
    """The attempt that the Build is at, from 1."""
    return status.attempts[-1].number if status.attempts else 1


def unlaunched_at(build: Build, now: datetime) -> datetime:
    """The latest moment of which it is known that the current attempt had no task.

    The object's creation, or the time in a row of `status.attempts` that has no task: such a row is only written when we know.
    """
    known = created_at(build.metadata, now)
    last = build.status.attempts[-1] if build.status.attempts else None
    recorded = moment(last.started_at) if last is not None and last.task_arn is None else None
    return max(known, recorded) if recorded is not None and recorded <= now else known


def is_held(metadata: Metadata) -> bool:
    """Tell whether our finalizer is on the object."""
    return FINALIZER in metadata.finalizers


def pinned_cluster(status: BuildStatus, cache: BuildCache | None) -> str | None:
    """The cluster for which the current attempt's RunTask was prepared; None when nothing says so.

    A client token is unique in one cluster only, and a BuildCache may be moved to another one. Like a task's ARN, a cluster that is not
    in the account and region of the BuildCache is not believed (H18).
    """
    last = status.attempts[-1] if status.attempts else None
    pinned = last.cluster_arn if last is not None and last.task_arn is None else None
    if pinned is None or not _CLUSTER.fullmatch(pinned):
        return None
    near = cache is None or pinned.split(":")[:5] == cache.spec.cluster_arn.split(":")[:5]
    return pinned if near else None


def cluster_to_search(status: BuildStatus, cache: BuildCache | None) -> str | None:
    """The cluster that has the task of the current attempt, if there is one; None when neither status nor BuildCache names it."""
    return pinned_cluster(status, cache) or (cache.spec.cluster_arn if cache is not None else None)


def guard(build: Build, cache: BuildCache, now: datetime) -> Guard:
    """What must come before RunTask.

    run: nothing, the token still protects from a second task. hold: the finalizer and the pinned cluster, without which nothing is ever
    started. pin: the cluster only. look: the token may be dead, ask ECS for a task of this Build first. move: the BuildCache has another
    cluster than the one that is pinned, where the token protects from nothing: ask the pinned one first.
    """
    if now - unlaunched_at(build, now) >= TOKEN_LIFE:
        return "look"
    if not is_held(build.metadata):
        return "hold"
    pinned = pinned_cluster(build.status, cache)
    if pinned is None:
        return "pin"
    return "run" if pinned == cache.spec.cluster_arn else "move"


def nothing_found(build: Build, now: datetime, *, final: bool) -> Literal["record"] | Wait | Failed:
    """Decide what to do when ECS lists no task for a Build whose token may be dead. `final`: ECS has had the time to list it.

    record: there never was one, and now is the moment to note as the last one known; the token protects from there on. That is known when
    the finalizer is off, and when a task started since the last known moment would still be shown. Otherwise it is lost.
    """
    if not is_held(build.metadata) or now - unlaunched_at(build, now) < RECORD_LIFE - timedelta(minutes=1):
        return "record"
    if not final:
        return Wait(Reason.ACCEPTED, "looking for a task that may have been started before", again_after=LOOK_PERIOD)
    return Failed(
        Reason.TASK_RECORD_EXPIRED,
        "the operator could not launch this Build for more than an hour, and ECS lists no task for it: "
        "one may have run, and ECS no longer has its record",
        hint="check whether the image was pushed; if it was not, create a new Build",
    )


def trusted_task(build_status: BuildStatus, cache: BuildCache | None) -> TaskRef | None:
    """The task that status names, if it can be the Build's own: in the account and region of its BuildCache (H18).

    That it was started by this Build is checked when ECS has described it, before anything is done to it.
    """
    last = build_status.attempts[-1] if build_status.attempts else None
    ref = TaskRef.parse(last.task_arn if last else None)
    if ref is None or (cache is not None and not ref.is_near(cache.spec.cluster_arn)):
        return None
    return ref
