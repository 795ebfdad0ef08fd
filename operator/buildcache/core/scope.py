"""One writer for each scope: who may mount the directory that keeps a service's `RUN --mount=type=cache` files. Pure, and level-based.

Two Kaniko builds on one such directory corrupt it, and put files of the one into the image of the other. So nothing here is a lock that
could be lost: each decision is made anew from the Builds as they are, and whoever cannot tell what another one does goes without
(docs/decisions/010-one-writer-for-a-scope.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from buildcache.api.build import Build, Timeouts
from buildcache.api.cache import BuildCache, BuildCacheSpec
from buildcache.api.cache_status import Part
from buildcache.api.executor import Executor
from buildcache.api.meta import seconds

from .admission import Line, is_admitted, is_waiting
from .names import mounted_by, scope_name
from .observed import AVAILABLE
from .resolve import pick
from .status import ConditionType, access_point_part, executor_part, find_condition, is_true, mounting_executor, mounts

ENGINE = "Kaniko"
"""The engine that can mount a scope. It does so in mode ReadWrite only: nothing may be written in the others."""

ACCESS_POINT = "efs/AccessPoint"
"""Kind of the rows of `status.parts` that are access points."""
UNUSABLE, REFUSED, ABSENT = "unusable", "refused", "absent"
"""States of a row that no AWS thing has, and for which no Build waits: what is there may not be used, AWS did not make it, or it is
not there and with reconcilePolicy Report is not made.
"""

LIMIT = 40
"""Pairs of executor and scope that are kept ready at once: each has two rows of `status.parts`."""

_MARGIN = (10.0, 300.0)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a Build would mount."""

    scope: str
    executor: str


@dataclass(frozen=True, slots=True)
class Mounted:
    """The Build has the scope: its access point, and the task definition that mounts it."""

    access_point_id: str
    task_definition_arn: str


@dataclass(frozen=True, slots=True)
class Coming:
    """The scope is being made ready, which takes seconds."""

    message: str


@dataclass(frozen=True, slots=True)
class Without:
    """The Build runs without the directory. `why`: for people; empty when there is nothing to tell."""

    why: str = ""


def concerns(spec: BuildCacheSpec) -> bool:
    """Tell whether Builds of a cache can mount anything at all. Where not, nobody looks at other Builds."""
    return spec.enabled and spec.file_system is not None and any(each.engine == ENGINE for each in spec.executors)


def has_file_system(cache: Mapping[str, Any] | None) -> bool:
    """Tell from a cache's body whether `concerns` is worth asking."""
    return ((cache or {}).get("spec") or {}).get("fileSystem") is not None


def wish(executors: Sequence[Executor], body: Mapping[str, Any]) -> Wish | None:
    """What a Build would mount, from its body; None: nothing, or nobody can tell what it builds with."""
    spec = _spec(body)
    service = spec.get("service")
    if not isinstance(service, str) or not _writes(spec):
        return None
    platforms = spec.get("platforms") or ()
    executor = pick(executors, spec.get("executor"), platforms if isinstance(platforms, list | tuple) else ())
    return (
        Wish(scope_name(service, executor.platform), executor.name) if executor and executor.engine == ENGINE else None
    )


def needs(spec: BuildCacheSpec, builds: Iterable[Mapping[str, Any]]) -> Mapping[str, tuple[str, ...]]:
    """The scopes to keep ready, each with the executors that mount it: those of admitted Builds, then of who comes next in line.

    Twice as many as may run at once and no more than LIMIT, so that a long line makes neither a hundred access points ahead nor a long
    status.
    """
    if not concerns(spec):
        return {}
    admitted, waiting = [], []
    for body in builds:
        if is_admitted(body):
            admitted.append(body)
        elif is_waiting(body):
            waiting.append(body)
    found: dict[Wish, None] = {}
    most = min(LIMIT, 2 * max(spec.limits.max_concurrent_builds, len(admitted)))
    for body in (*admitted, *waiting):
        if len(found) >= most:
            break
        if (wanted := wish(spec.executors, body)) is not None:
            found[wanted] = None
    scopes: dict[str, tuple[str, ...]] = {}
    for each in found:
        scopes[each.scope] = (*scopes.get(each.scope, ()), each.executor)
    return {scope: tuple(sorted(names)) for scope, names in sorted(scopes.items())}


# --- who is in the way


def writer(uid: str, service: str, builds: Iterable[Mapping[str, Any]], elsewhere: Collection[str]) -> str | None:
    """Name of an admitted Build of that service that has the scope mounted, or may have; None: there is none beside `uid`.

    Whatever its executor: the BuildCache may have been changed since it started. `elsewhere`: access points of other scopes.
    """
    for body in builds:
        spec = _spec(body)
        if body["metadata"]["uid"] == uid or spec.get("service") != service or not _writes(spec):
            continue
        if is_admitted(body) and not _is_elsewhere(body, elsewhere):
            return str(body["metadata"]["name"])
    return None


def held_up(cache: BuildCache, builds: Sequence[Mapping[str, Any]], now: datetime) -> Mapping[str, str]:
    """Builds in line that wait for their scope: UID → name of the one in the way. `builds`: all of the cache, oldest first.

    They take no place from those behind them. Nobody waits for what cannot be mounted anyway, nor for longer than `patience`.
    """
    if not _is_ready(cache) or not concerns(cache.spec):
        return {}
    parts = {part.name: part for part in cache.status.parts}
    writing: dict[str, list[Mapping[str, Any]]] = {}
    for body in builds:
        if is_admitted(body) and _writes(_spec(body)):
            writing.setdefault(str(_spec(body).get("service")), []).append(body)
    first: dict[str, str] = {}
    found: dict[str, str] = {}
    for body in builds:
        if not is_waiting(body) or (wanted := wish(cache.spec.executors, body)) is None:
            continue
        if patience(body, now) <= 0 or isinstance(_rows(cache, parts, wanted), Without):
            continue
        uid, service = body["metadata"]["uid"], str(_spec(body)["service"])
        rival = first.get(wanted.scope) or writer(
            uid, service, writing.get(service, ()), _elsewhere(parts, wanted.scope)
        )
        if rival is not None:
            found[uid] = rival
        first.setdefault(wanted.scope, str(body["metadata"]["name"]))
    return found


def with_held_up(
    seen: Line, body: Mapping[str, Any] | None, builds: Sequence[Mapping[str, Any]], now: datetime
) -> Line:
    """The line of a cache, given by its body, with those marked that wait for their scope."""
    try:
        cache = BuildCache.parse(body or {})
    except ValidationError:
        return seen
    return Line(seen.running, seen.waiting, held_up(cache, builds, now)) if concerns(cache.spec) else seen


def patience(body: Mapping[str, Any], now: datetime) -> float:
    """Seconds for which a Build that was never started still waits for its scope.

    It ends before `timeouts.queue` does, by a tenth of it: from then on the Build is first in line for a place, so that it runs without
    the directory rather than not at all.
    """
    timeouts = _spec(body).get("timeouts") or {}
    queue = timeouts.get("queue") if isinstance(timeouts, Mapping) else None
    try:
        created = datetime.fromisoformat(body["metadata"].get("creationTimestamp") or "").astimezone(UTC)
    except ValueError:
        created = now
    whole = float(seconds(queue if isinstance(queue, str) else Timeouts().queue))
    return whole - margin(whole) - (now - created).total_seconds()


def margin(queue: float) -> float:
    """Seconds before the end of a queue timeout at which a Build gives its scope up."""
    least, most = _MARGIN
    return min(queue / 2, max(least, min(most, queue / 10)))


# --- what a Build gets


def choose(
    cache: BuildCache,
    executor: Executor,
    build: Build,
    builds: Iterable[Mapping[str, Any]],
    *,
    left: float,
) -> Mounted | Coming | Without:
    """Decide what the next task of a Build mounts. `left`: seconds for which it may still wait for that; `builds`: of its cache.

    The same rule for all that are admitted, and each counts the others as writers until their status shows what their task mounts: two
    that decide in the same moment see each other, and both go without.
    """
    if executor.engine != ENGINE or not concerns(cache.spec) or cache.metadata.deletion_timestamp is not None:
        return Without()
    if build.spec.cache.mode != "ReadWrite":
        return Without()
    wanted = Wish(scope_name(build.spec.service, executor.platform), executor.name)
    if not _is_ready(cache):
        condition = find_condition(cache.status.conditions, ConditionType.FILE_SYSTEM_READY)
        return Without(
            f"the file system is not ready: {condition.reason}" if condition else "the file system is not ready"
        )
    parts = {part.name: part for part in cache.status.parts}
    standing = _rows(cache, parts, wanted)
    if isinstance(standing, Coming):
        return standing if left > 0 else Without(f"{standing.message}, and timeouts.queue is nearly over")
    if isinstance(standing, Without):
        return standing
    rival = writer(build.metadata.uid, build.spec.service, builds, _elsewhere(parts, wanted.scope))
    return standing if rival is None else Without(f"Build {rival} of the same service has them, or may have")


def definition_of(cache: BuildCache, executor: Executor, service: str) -> str | None:
    """The task definition by which an executor mounts the scope of a service, if there is one now."""
    row = executor_part(mounting_executor(executor.name, scope_name(service, executor.platform)))
    return next((part.id for part in cache.status.parts if part.name == row and part.id), None)


def _rows(cache: BuildCache, parts: Mapping[str, Part], wanted: Wish) -> Mounted | Coming | Without:
    """What `status.parts` says of a scope."""
    point = parts.get(access_point_part(wanted.scope))
    definition = parts.get(executor_part(mounting_executor(wanted.executor, wanted.scope)))
    for row in (point, definition):
        if row is not None and row.state in (UNUSABLE, REFUSED, ABSENT):
            return Without(f"{row.name} is {row.state}: see the conditions of BuildCache {cache.metadata.name}")
    if point is not None and definition is not None and point.state == AVAILABLE:
        return Mounted(point.id, definition.id)
    if definition is None and sum(1 for name in parts if mounts(name) and name.startswith("executor/")) >= LIMIT:
        return Without(f"{LIMIT} services are built at once, and no more have theirs")
    return Coming(f"the access point for scope {wanted.scope} is being made")


def _is_ready(cache: BuildCache) -> bool:
    return is_true(cache.status.conditions, ConditionType.FILE_SYSTEM_READY)


def _elsewhere(parts: Mapping[str, Part], scope: str) -> frozenset[str]:
    mine = access_point_part(scope)
    return frozenset(part.id for part in parts.values() if part.kind == ACCESS_POINT and part.name != mine)


def _is_elsewhere(body: Mapping[str, Any], others: Collection[str]) -> bool:
    """Tell whether an admitted Build is known not to have the scope: its current task mounts nothing, or another one's."""
    status = body.get("status") or {}
    attempts = status.get("attempts") or ()
    newest = max(attempts, key=lambda attempt: attempt.get("number", 0), default=None)
    arn = (status.get("executor") or {}).get("taskDefinitionARN")
    if newest is None or not newest.get("taskARN") or not isinstance(arn, str):
        return False
    point = mounted_by(arn.rpartition("/")[2].rpartition(":")[0])
    return point is None or point in others


def _writes(spec: Mapping[str, Any]) -> bool:
    return ((spec.get("cache") or {}).get("mode") or "ReadWrite") == "ReadWrite"


def _spec(body: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = body.get("spec")
    return spec if isinstance(spec, Mapping) else {}
