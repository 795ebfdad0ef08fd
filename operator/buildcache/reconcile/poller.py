"""One poller for all tasks that run: DescribeTasks in batches, and which Builds have news. The only reader of running tasks.

The shell calls `poll` in a worker thread whenever `next_in` says so and queues the Builds that it names; their passes read what was seen
with `latest`. Knows neither a clock nor an event loop: time is an argument. Nothing to follow: no call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from buildcache.core.bucket import Bucket
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.status import Reason
from buildcache.core.task_state import Described, Missing, Observation, Task
from buildcache.core.tasks import REPORT

BATCH = 100
"""Tasks in one DescribeTasks, which is ECS's limit."""

FEW, FAST, SLOW = 100, 2.0, 5.0
"""Up to FEW tasks are looked at every FAST seconds, more every SLOW ones: the account's 20 reads a second belong to others too."""

FIRST = 1.0
"""Seconds until a task is looked at that is only known from a status, as all are after a restart."""

LOOKS = (5.0, 25.0)
"""DescribeTasks a second and at once, for each region: a quarter of what the account has. Enough for 2,500 tasks every SLOW seconds."""

_PAUSE, _LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
"""After a failed look: doubled with each further one."""

_NEVER = datetime.min.replace(tzinfo=UTC)

_FORGET = timedelta(hours=1)
"""A task that has stopped, or is missing, and that no pass asked about for so long: its Build is gone."""

Describe = Callable[[str, str, Sequence[str]], Described]
"""Region, cluster, ARNs → what ECS says. Raises Unavailable, Denied or Rejected."""


Ended = Callable[[Sequence[str], datetime], None]
"""ARNs of tasks that were found stopped and have reported; called before the keys of their Builds are returned."""


class Place(NamedTuple):
    """Where tasks can be asked for in one call."""

    region: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Sighting:
    """The newest that is known of a task."""

    seen: Observation | None = None
    """None: nobody has looked yet."""

    stopped_since: datetime | None = None
    """When it was first seen stopped, by the operator's own clock."""

    trouble: str = ""
    """Why nobody can look, when a person must do something about it."""


@dataclass(slots=True)
class _Watched:
    place: Place
    keys: set[str]
    asked_at: datetime
    looked_at: datetime = _NEVER
    task: Task | None = None
    missing_since: datetime | None = None
    stopped_since: datetime | None = None
    trouble: str = ""
    pause: timedelta = field(default_factory=timedelta)
    resume_at: datetime | None = None

    def sighting(self) -> Sighting:
        seen = Missing(self.missing_since) if self.missing_since else self.task
        return Sighting(seen, self.stopped_since, self.trouble)

    def stopped(self) -> bool:
        return self.task is not None and self.task.phase == "Stopped"

    def is_unknown(self) -> bool:
        """Whether nobody has looked yet, or shown it."""
        return self.looked_at == _NEVER and self.task is None

    def is_due(self, now: datetime) -> bool:
        # A resume time further away than any pause means that the clock was set back.
        return self.resume_at is None or now >= self.resume_at or self.resume_at - now > _LONGEST_PAUSE


class Poller:
    """Thread-safe. Keys are the UIDs of Builds; a task may have several, of which a pass trusts only its owner."""

    def __init__(self, describe: Describe, ended: Ended | None = None) -> None:
        self._describe = describe
        self._ended = ended
        self._lock = threading.Lock()
        self._tasks: dict[str, _Watched] = {}
        self._looks: dict[str, Bucket] = {}

    def latest(self, arn: str, place: Place, key: str, now: datetime) -> Sighting:
        """Return what is known of a task, and follow it from now on for this key."""
        with self._lock:
            watched = self._watch(arn, place, key, now)
            return watched.sighting()

    def told(self, task: Task, place: Place, key: str, now: datetime) -> None:
        """Take a task as another call (RunTask, StopTask) has shown it."""
        with self._lock:
            self._see(self._watch(task.arn, place, key, now), task, now)

    def forget(self, arn: str, key: str) -> None:
        """Follow the task no longer for this key."""
        with self._lock:
            watched = self._tasks.get(arn)
            if watched is not None:
                watched.keys.discard(key)
                if not watched.keys:
                    del self._tasks[arn]

    def next_in(self) -> float | None:
        """Return the seconds from one poll to the next, None when there is nothing to follow."""
        with self._lock:
            running = [watched for watched in self._tasks.values() if not watched.stopped()]
        if not running:
            return None
        return FIRST if any(watched.is_unknown() for watched in running) else _period(len(running))

    def poll(self, now: datetime) -> list[str]:
        """Look at all tasks that have not stopped, or at those that nobody has looked at; return the keys of those with news."""
        with self._lock:
            self._prune(now)
            # A look that comes early for tasks that nobody knows is for these alone.
            early = any(watched.is_unknown() for watched in self._tasks.values())
            due: dict[Place, list[str]] = {}
            # Who was looked at longest ago comes first: with more tasks than there are calls, all have their turn.
            for arn, watched in sorted(self._tasks.items(), key=lambda item: item[1].looked_at):
                if not watched.stopped() and watched.is_due(now) and (watched.is_unknown() or not early):
                    due.setdefault(watched.place, []).append(arn)
        before = set().union(*due.values())
        news: dict[str, None] = {}
        for place, arns in due.items():
            for batch in _batches(arns):
                if not self._may_look(place, batch, now):
                    break
                news |= dict.fromkeys(self._look(place, batch, now))
        if self._ended is not None and news:
            self._ended(self._reported(before), now)
        return list(news)

    def _reported(self, arns: Iterable[str]) -> list[str]:
        """Of these, the tasks that have stopped and whose report is on its way or there."""
        with self._lock:
            tasks = [watched.task for arn in arns if (watched := self._tasks.get(arn)) is not None]
        return [
            task.arn for task in tasks if task is not None and task.phase == "Stopped" and task.exit_code(REPORT) == 0
        ]

    def _may_look(self, place: Place, batch: Sequence[str], now: datetime) -> bool:
        with self._lock:
            if not self._looks.setdefault(place.region, Bucket(*LOOKS)).take(now):
                return False
            for arn in batch:
                if (watched := self._tasks.get(arn)) is not None:
                    watched.looked_at = now
            return True

    def _look(self, place: Place, arns: Sequence[str], now: datetime) -> list[str]:
        """One DescribeTasks, or more when ECS refuses the whole batch for the sake of one id."""
        try:
            described = self._describe(place.region, place.cluster, arns)
        except Unavailable:
            return self._failed(arns, "", now)
        except Denied as denied:
            return self._failed(arns, str(denied), now)
        except Rejected as rejected:
            if len(arns) == 1 or rejected.reason is Reason.CLUSTER_NOT_FOUND:
                return self._failed(arns, str(rejected), now)
            half = len(arns) // 2
            return self._look(place, arns[:half], now) + self._look(place, arns[half:], now)
        with self._lock:
            news: list[str] = []
            for task in described.tasks:
                watched = self._tasks.get(task.arn)
                if watched is not None and self._see(watched, task, now):
                    news += watched.keys
            for arn in described.missing:
                watched = self._tasks.get(arn)
                if watched is not None and self._miss(watched, now):
                    news += watched.keys
            return news

    # With the lock held

    def _watch(self, arn: str, place: Place, key: str, now: datetime) -> _Watched:
        watched = self._tasks.get(arn)
        if watched is None:
            watched = self._tasks[arn] = _Watched(place, set(), now)
        watched.keys.add(key)
        watched.asked_at = now
        return watched

    def _see(self, watched: _Watched, task: Task, now: datetime) -> bool:
        """Take a task; tell whether it changed in a way that matters. An answer older than the one known is passed over."""
        before = watched.sighting()
        watched.pause, watched.resume_at, watched.trouble = timedelta(), None, ""
        watched.missing_since = None
        if watched.task is None or task.version >= watched.task.version:
            watched.task = task
        if watched.stopped() and watched.stopped_since is None:
            watched.stopped_since = now
        return _gist(before) != _gist(watched.sighting())

    def _miss(self, watched: _Watched, now: datetime) -> bool:
        before = watched.sighting()
        watched.pause, watched.resume_at, watched.trouble = timedelta(), None, ""
        watched.missing_since = watched.missing_since or now
        return _gist(before) != _gist(watched.sighting())

    def _failed(self, arns: Iterable[str], trouble: str, now: datetime) -> list[str]:
        news: list[str] = []
        with self._lock:
            for arn in arns:
                watched = self._tasks.get(arn)
                if watched is None:
                    continue
                watched.pause = min(max(_PAUSE, watched.pause * 2), _LONGEST_PAUSE)
                watched.resume_at = now + watched.pause
                if trouble and trouble != watched.trouble:
                    watched.trouble = trouble
                    news += watched.keys
        return news

    def _prune(self, now: datetime) -> None:
        for arn, watched in list(self._tasks.items()):
            over = watched.stopped() or watched.missing_since is not None
            if over and now - watched.asked_at >= _FORGET:
                del self._tasks[arn]


def _period(running: int) -> float:
    return FAST if running <= FEW else SLOW


def _batches(arns: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(arns), BATCH):
        yield arns[start : start + BATCH]


def _gist(sighting: Sighting) -> object:
    """What a Build's status is made of; a task's version also moves with things that no status shows."""
    seen = sighting.seen
    if isinstance(seen, Task):
        codes = tuple((container.name, container.exit_code) for container in seen.containers)
        return seen.phase, seen.desired_status, seen.stop_code, seen.started_by, codes, sighting.trouble
    return type(seen), sighting.trouble
