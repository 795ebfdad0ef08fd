"""All tasks and client tokens of one account and region, with ECS's rules of visibility and forgetting. Held by `agent.py`."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lab.ecs.task import Task

STOPPED_FOR = 3600.0
"""Seconds that a stopped task stays describable."""
TOKEN_FOR = 24 * 3600.0
"""Seconds that a client token lives at most; less when its tasks are forgotten earlier."""


@dataclass(slots=True)
class Entry:
    """A task and how long reads do not see it yet."""

    task: Task
    number: int
    blind_reads: int
    visible_at: float

    def visible(self, now: float) -> bool:
        """Say whether reads see it."""
        return self.blind_reads <= 0 or now >= self.visible_at


@dataclass(frozen=True, slots=True)
class Token:
    """What a client token was used for."""

    fingerprint: str
    tasks: tuple[Task, ...]
    used_at: float


class TaskStore:
    """Thread-safe. `now` is a clock in seconds since the epoch, so that tests can let hours pass."""

    def __init__(self, now: Callable[[], float], *, blind_reads: int, blind_seconds: float) -> None:
        self._now = now
        self._blind_reads = blind_reads
        self._blind_seconds = blind_seconds
        self._lock = threading.RLock()
        self._entries: dict[str, Entry] = {}
        self._tokens: dict[tuple[str, str], Token] = {}
        self._stopped: deque[tuple[float, str]] = deque()
        self._count = 0

    def add(self, task: Task) -> None:
        """Take in a new task, invisible to reads for a moment."""
        with self._lock:
            self._entries[task.id] = Entry(task, self._count, self._blind_reads, self._now() + self._blind_seconds)
            self._count += 1

    def stopped(self, task: Task) -> None:
        """Start the time after which a stopped task is forgotten."""
        with self._lock:
            self._stopped.append((self._now(), task.id))

    def find(self, cluster_arn: str, task: str) -> Task | None:
        """Return a task of the cluster by id or ARN, also while reads do not see it yet."""
        with self._lock:
            self._forget()
            entry = self._entries.get(task.rpartition("/")[2])
            if (
                entry is None
                or entry.task.launch.cluster_arn != cluster_arn
                or task not in (entry.task.id, entry.task.arn)
            ):
                return None
            return entry.task

    def read(self, cluster_arn: str, task: str) -> Task | None:
        """Return what DescribeTasks sees; a read of a task that is not visible yet uses up one of its blind reads."""
        with self._lock:
            if self.find(cluster_arn, task) is None:
                return None
            entry = self._entries[task.rpartition("/")[2]]
            if entry.visible(self._now()):
                return entry.task
            entry.blind_reads -= 1
            return None

    def listed(self, cluster_arn: str, after: int) -> Iterator[tuple[int, Task]]:
        """Yield number and task of the visible tasks of a cluster, numbered above `after`, in the order they were started."""
        with self._lock:
            self._forget()
            now = self._now()
            entries = [
                entry
                for entry in self._entries.values()
                if entry.number > after and entry.task.launch.cluster_arn == cluster_arn and entry.visible(now)
            ]
        return ((entry.number, entry.task) for entry in entries)

    def all(self) -> list[Task]:
        """Return every task that is not forgotten, oldest first."""
        with self._lock:
            self._forget()
            return [entry.task for entry in self._entries.values()]

    def by_arn(self, arn: str) -> Task | None:
        """Return a task by its ARN."""
        with self._lock:
            entry = self._entries.get(arn.rpartition("/")[2])
            return entry.task if entry is not None and entry.task.arn == arn else None

    def token(self, cluster_arn: str, token: str) -> Token | None:
        """Return what a client token was used for, while it is valid."""
        with self._lock:
            self._forget()
            found = self._tokens.get((cluster_arn, token))
            if found is None:
                return None
            forgotten = all(task.id not in self._entries for task in found.tasks)
            if forgotten or self._now() - found.used_at > TOKEN_FOR:
                del self._tokens[(cluster_arn, token)]
                return None
            return found

    def use_token(self, cluster_arn: str, token: str, fingerprint: str, tasks: Sequence[Task]) -> None:
        """Remember what a client token was used for."""
        with self._lock:
            self._tokens[(cluster_arn, token)] = Token(fingerprint, tuple(tasks), self._now())

    def _forget(self) -> None:
        horizon = self._now() - STOPPED_FOR
        while self._stopped and self._stopped[0][0] < horizon:
            self._entries.pop(self._stopped.popleft()[1], None)
