"""What Builds mean to their BuildCache: who runs, who waits, what the cache was worth. From bodies that the shell has seen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildcache.api.cache_status import Efficiency, QueueStatus

from .build import Finished

WINDOW = 50
"""Finished Builds that the efficiency is about."""
MOUNTING_ENGINE = "Kaniko"
"""The engine whose builds mount the file system; one that has not been noted yet may be of it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Builds of one cache that are not finished."""

    running: int = 0
    queued: int = 0
    definitions: frozenset[str] = frozenset()
    """Task definition ARNs that running Builds were started from."""
    mounting: int = 0
    """Running Builds of an engine that mounts the file system."""

    def queue(self) -> QueueStatus:
        """As the status shows it."""
        return QueueStatus(running=self.running, queued=self.queued)


def usage(builds: Iterable[Mapping[str, Any]]) -> Usage:
    """Count the Builds that have a task, and those that wait for one."""
    running, queued, mounting, definitions = 0, 0, 0, set()
    for body in builds:
        status = body.get("status") or {}
        if _has_task(status):
            running += 1
            executor = status.get("executor") or {}
            mounting += executor.get("engine", MOUNTING_ENGINE) == MOUNTING_ENGINE
            arn = executor.get("taskDefinitionARN")
            if isinstance(arn, str):
                definitions.add(arn)
        else:
            queued += 1
    return Usage(running, queued, frozenset(definitions), mounting)


def efficiency(finished: Sequence[Finished]) -> Efficiency:
    """Mean share of cached steps and all time saved, over the newest finished Builds."""
    window = finished[-WINDOW:]
    hits = [build.hit_percent for build in window if build.hit_percent is not None]
    saved = [build.saved_seconds for build in window if build.saved_seconds is not None]
    return Efficiency(
        builds=len(window),
        hit_percent=round(sum(hits) / len(hits)) if hits else None,
        saved_seconds=sum(saved) if saved else None,
    )


def _has_task(status: Mapping[str, Any]) -> bool:
    attempts = status.get("attempts") or []
    newest = max(attempts, key=lambda attempt: attempt.get("number", 0), default=None)
    if newest is None or newest.get("stoppedAt"):
        return False
    # The row of a first attempt is there before its task; between two attempts a Build goes on.
    return bool(newest.get("taskARN")) or newest.get("number", 0) > 1
