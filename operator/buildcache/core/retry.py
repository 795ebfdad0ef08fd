"""Another attempt after the infrastructure failed. Pure; asked by the Build pass when an attempt has ended.

Each attempt has its own number, so its own client token, and its row in the status before RunTask: what ECS is asked for twice is always
the same attempt.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from buildcache.api.build import Build

from .build import attempt_number, moment
from .status import Reason
from .task_outcome import Failed

_AGAIN = frozenset(
    {
        Reason.INTERRUPTED,
        Reason.START_TIMEOUT,
        Reason.TASK_FAILED_TO_START,
        Reason.IMAGE_PULL_FAILED,
        Reason.CACHE_MOUNT_FAILED,
        Reason.CAPACITY_UNAVAILABLE,
        Reason.ACCESS_DENIED,
    }
)
"""Ends of a task that another task may not have. Not TaskRecordExpired: that one may have built, and its image be in use."""

FIRST, LONGEST = timedelta(seconds=5), timedelta(minutes=2)
"""Pause after the first attempt, doubled after each further one."""


def is_retried(build: Build, failure: Failed) -> bool:
    """Tell whether the Build gets another attempt."""
    if build.spec.cancel or failure.final or failure.reason not in _AGAIN:
        return False
    return attempt_number(build.status) <= build.spec.retries


def pause(attempt: int) -> timedelta:
    """Backoff after the given attempt."""
    return min(LONGEST, FIRST * int(2 ** min(attempt - 1, 10)))


def due_in(build: Build, now: datetime) -> float:
    """Seconds until the current attempt may begin; zero or less: now."""
    attempts = build.status.attempts
    before = attempts[-2] if len(attempts) > 1 else None
    ended = moment(before.stopped_at) if before is not None else None
    if before is None or ended is None:
        return 0.0
    # The end is told by ECS's clock: one that is ahead must not make the pause longer.
    return min(pause(before.number), ended + pause(before.number) - now).total_seconds()
