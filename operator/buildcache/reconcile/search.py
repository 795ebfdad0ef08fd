"""Find a task that no status names: RunTask may have started it before a crash, a lost answer or a failed status write.

Asked before a Build is let go, and before it is launched when its client token may be dead. ECS lists a new task late, so the first
empty answer is not the last: for a grace period the search goes on, counted from the first empty answer in this process, or from the
last RunTask of this process whose effect is unknown. A new process starts the period again: it cannot know what the old one had in
flight.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.core.build import LOOK_GRACE, cluster_to_search, foreign_attempts
from buildcache.core.errors import Rejected
from buildcache.core.status import Reason
from buildcache.core.task_state import Task

from .executor import Executor, cluster_of

T = TypeVar("T")

REMEMBERED = 10_000
"""Builds about which something is remembered; the oldest entry goes first, which only makes a search longer."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """ECS lists no task. `final`: and it would by now, if there was one."""

    final: bool


class Search:
    """Thread-safe; passes of one Build never run at the same time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self._started: dict[str, str] = {}
        """UID → task that RunTask has answered with."""
        self._empty: dict[str, datetime] = {}
        """UID → first time that ECS listed nothing."""

    def started(self, uid: str, arn: str) -> None:
        """Remember a task until a status names it: ECS may not list it yet when that status is refused."""
        with self._lock:
            remember(self._started, uid, arn)
            self._empty.pop(uid, None)

    def uncertain(self, uid: str) -> None:
        """RunTask was called, and may have had an effect: what was listed before proves nothing any more."""
        with self._lock:
            self._empty.pop(uid, None)

    def forget(self, uid: str) -> None:
        """The status names the task, or the Build has ended."""
        with self._lock:
            self._started.pop(uid, None)
            self._empty.pop(uid, None)

    def look(
        self, uid: str, status: BuildStatus, cache: BuildCache | None, now: datetime, families: Sequence[str] = ()
    ) -> Task | Nothing:
        """Look for a task of the current attempt; among the stopped ones of the families too."""
        foreign = foreign_attempts(status)
        with self._lock:
            started = self._started.get(uid)
        if started is not None and started not in foreign:
            return Task(arn=started, started_by=uid)
        cluster = cluster_to_search(status, cache)
        if cluster is None:
            return Nothing(final=True)
        try:
            found = self._executor.find(cluster_of(cluster), uid, families)
        except Rejected as rejected:
            if rejected.reason is Reason.CLUSTER_NOT_FOUND:
                # A cluster goes only when it has no task.
                return Nothing(final=True)
            raise
        if found is not None and found.arn not in foreign:
            self.uncertain(uid)
            return found
        with self._lock:
            since = self._empty.get(uid)
            if since is None or since > now:
                since = now
                remember(self._empty, uid, now)
        return Nothing(final=now - since >= LOOK_GRACE)


def remember(memory: dict[str, T], uid: str, value: T) -> None:
    """Add an entry to a memory of bounded size."""
    memory.pop(uid, None)
    memory[uid] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]
