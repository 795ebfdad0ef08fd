"""Who may start: the line of a BuildCache's Builds, first in first out. Pure.

Asked by the Build pass, and by the shell to wake who is next.

A Build is admitted when our finalizer goes on, right before its first RunTask, and stays so until it has ended: between two attempts too,
and when the limit is lowered. So a Build that may have a task never goes back into the line (docs/decisions/006-the-line.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildcache.api.cache import Limits
from buildcache.api.meta import FINALIZER

SHORTEST, LONGEST = 15.0, 300.0
"""Bounds of the seconds after which a waiting Build looks at its place again."""


@dataclass(frozen=True, slots=True)
class Line:
    """The Builds of one cache that have not ended."""

    running: int = 0
    """Those that were admitted."""

    waiting: tuple[str, ...] = ()
    """UIDs of those that were not, in the order of their creation."""

    held_up: Mapping[str, str] = field(default_factory=dict)
    """Of these, the ones that wait for another Build of their service (`scope.py`), with its name: they take no place meanwhile."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """There is room."""


@dataclass(frozen=True, slots=True)
class InLine:
    """There is none yet. `position`: how many are before it."""

    position: int

    @property
    def again_after(self) -> float:
        """Seconds until its place is worth another look: whoever comes next is woken, the others only show where they stand.

        Longer at the end of a long line, so that a thousand waiting Builds cost some five writes a second and not a thousand.
        """
        return min(LONGEST, SHORTEST + self.position)


@dataclass(frozen=True, slots=True)
class Full:
    """More Builds wait than may."""

    queued: int


def line(builds: Sequence[Mapping[str, Any]]) -> Line:
    """The line, from Builds that have not ended, oldest first."""
    waiting = tuple(body["metadata"]["uid"] for body in builds if is_waiting(body))
    return Line(sum(1 for body in builds if is_admitted(body)), waiting)


def is_admitted(body: Mapping[str, Any]) -> bool:
    """Tell whether the Build has a place: it has, or may have, a task."""
    return FINALIZER in (body["metadata"].get("finalizers") or ())


def is_waiting(body: Mapping[str, Any]) -> bool:
    """Tell whether the Build stands in the line. One that is deleted or cancelled before it was admitted does not any more."""
    leaves = body["metadata"].get("deletionTimestamp") or (body.get("spec") or {}).get("cancel") is True
    return not leaves and not is_admitted(body)


def turn(uid: str, seen: Line, limits: Limits, *, known: bool) -> Admitted | InLine | Full:
    """Decide about a Build that has not been admitted. `known`: it has been told that it waits, so it is not turned away any more.

    Each one counts all that are before it as if they had started already. So whoever decides at the same time, and in whatever order,
    there are never more than the limit, and none overtakes but those who wait for another Build.
    """
    before = seen.waiting[: seen.waiting.index(uid)] if uid in seen.waiting else seen.waiting
    standing = sum(1 for each in before if each in seen.held_up)
    free = max(0, limits.max_concurrent_builds - seen.running)
    ahead = len(before) - standing - free
    queued = max(0, ahead) + standing
    full = not known and queued >= limits.max_queued_builds
    # Where no more may wait, a Build that there is room for runs at once, without its scope: a cache turns nobody away.
    if ahead < 0 and (uid not in seen.held_up or full):
        return Admitted()
    if full:
        return Full(queued)
    return InLine(queued if uid in seen.held_up else ahead)


def next_up(seen: Line, most: int) -> tuple[str, ...]:
    """UIDs of the waiting Builds that there is room for."""
    return tuple(uid for uid in seen.waiting if uid not in seen.held_up)[: max(0, most - seen.running)]


def concurrency(cache: Mapping[str, Any] | None) -> int:
    """How many Builds of a BuildCache may run at once, by its body; what cannot be read has the default."""
    limits = ((cache or {}).get("spec") or {}).get("limits") or {}
    value = limits.get("maxConcurrentBuilds") if isinstance(limits, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else Limits().max_concurrent_builds


def oldest_first(builds: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Builds in the order of the line: by creation, which has whole seconds; within one as they were first seen."""
    return sorted(builds, key=lambda body: body["metadata"].get("creationTimestamp") or "")
