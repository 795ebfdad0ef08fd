"""One poller for all tasks that run: DescribeTasks in batches, and which Builds have news. The only reader of running tasks.

`controller/polling.py` calls `poll` for each region in a thread of its own whenever `next_in` says so; the Builds that it names are queued,
and their passes read what was seen with `latest`. Knows neither a clock nor an event loop: it is given the time, and a poll, which may
wait for AWS, a clock. Nothing to follow: no call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

LIMIT = timedelta(seconds=30)
"""A poll that has taken so long leaves what is left to the next one: the news that it has are worth more."""

_PAUSE, _LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
"""After a failed look: doubled with each further one."""

_NEVER = datetime.min.replace(tzinfo=UTC)

_FORGET = timedelta(hours=1)
"""A task that has stopped, or is missing, and that no pass asked about for so long: its Build is gone."""

Clock = Callable[[], datetime]

Describe = Callable[[str, str, Sequence[str]], Described]
"""Region, cluster, ARNs → what ECS says. Raises Unavailable, Denied or Rejected."""

Freed = Callable[[str, str, datetime], None]
"""Region and cluster in which a task was found stopped; called before the keys are returned."""

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

    def __init__(self, describe: Describe, ended: Ended | None = None, freed: Freed | None = None) -> None:
        self._describe = describe
        self._ended = ended
        self._freed = freed
        self._lock = threading.Lock()
        self._tasks: dict[str, _Watched] = {}
        self._regions: dict[str, dict[str, _Watched]] = {}
        """The same tasks, by region."""
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
                    self._drop(arn)

    def next_in(self) -> Mapping[str, float]:
        """Return the seconds from the end of one poll to the next, for each region with tasks to follow."""
        pauses: dict[str, float] = {}
        with self._lock:
            for region, tasks in self._regions.items():
                running = [watched for watched in tasks.values() if not watched.stopped()]
                if running:
                    early = any(watched.is_unknown() for watched in running)
                    pauses[region] = FIRST if early else _period(len(running))
        return pauses

    def poll(self, region: str, now: Clock) -> list[str]:
        """Look at all tasks of a region that have not stopped, or at those that nobody has looked at; return the keys of those with news.

        Once ECS does not answer, the others are left to the next poll: it would not answer for them either, a timeout later.
        """
        began = now()
        with self._lock:
            self._prune(region, began)
            tasks = self._regions.get(region, {})
            # A look that comes early for tasks that nobody knows is for these alone.
            early = any(watched.is_unknown() for watched in tasks.values())
            due: dict[Place, list[str]] = {}
            # Who was looked at longest ago comes first: with more tasks than there are calls, all have their turn.
            for arn, watched in sorted(tasks.items(), key=lambda item: item[1].looked_at):
                if not watched.stopped() and watched.is_due(began) and (watched.is_unknown() or not early):
                    due.setdefault(watched.place, []).append(arn)
        before = set().union(*due.values())
        news: dict[str, None] = {}
        try:
            for place, batch in ((place, batch) for place, arns in due.items() for batch in _batches(arns)):
                if now() - began >= LIMIT or not self._may_look(place, batch, now()):
                    break
                self._look(place, batch, now, news)
        except Unavailable:
            pass  # noted for the tasks that were asked about
        stopped = self._stopped(before)
        if self._freed is not None:
            for place in {watched.place for watched in stopped}:
                self._freed(place.region, place.cluster, now())
        if self._ended is not None and news:
            self._ended(_reported(stopped), now())
        return list(news)

    def _stopped(self, arns: Iterable[str]) -> list[_Watched]:
        with self._lock:
            known = [watched for arn in arns if (watched := self._tasks.get(arn)) is not None]
            return [watched for watched in known if watched.stopped()]

    def _may_look(self, place: Place, batch: Sequence[str], now: datetime) -> bool:
        with self._lock:
            if not self._looks.setdefault(place.region, Bucket(*LOOKS)).take(now):
                return False
            for arn in batch:
                if (watched := self._tasks.get(arn)) is not None:
                    watched.looked_at = now
            return True

    def _look(self, place: Place, arns: Sequence[str], now: Clock, news: dict[str, None]) -> None:
        """One DescribeTasks, or more when ECS refuses the whole batch for the sake of one id. Adds the keys of those with news."""
        try:
            described = self._describe(place.region, place.cluster, arns)
        except Unavailable:
            self._failed(arns, "", now(), news)
            raise
        except Denied as denied:
            return self._failed(arns, str(denied), now(), news)
        except Rejected as rejected:
            if len(arns) == 1 or rejected.reason is Reason.CLUSTER_NOT_FOUND:
                return self._failed(arns, str(rejected), now(), news)
            half = len(arns) // 2
            self._look(place, arns[:half], now, news)
            return self._look(place, arns[half:], now, news)
        at = now()
        with self._lock:
            for task in described.tasks:
                watched = self._tasks.get(task.arn)
                if watched is not None and self._see(watched, task, at):
                    news |= dict.fromkeys(watched.keys)
            for arn in described.missing:
                watched = self._tasks.get(arn)
                if watched is not None and self._miss(watched, at):
                    news |= dict.fromkeys(watched.keys)

    # With the lock held

    def _watch(self, arn: str, place: Place, key: str, now: datetime) -> _Watched:
        watched = self._tasks.get(arn)
        if watched is None:
            watched = self._tasks[arn] = _Watched(place, set(), now)
            self._regions.setdefault(place.region, {})[arn] = watched
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

    def _failed(self, arns: Iterable[str], trouble: str, now: datetime, news: dict[str, None]) -> None:
        with self._lock:
            for arn in arns:
                watched = self._tasks.get(arn)
                if watched is None:
                    continue
                watched.pause = min(max(_PAUSE, watched.pause * 2), _LONGEST_PAUSE)
                watched.resume_at = now + watched.pause
                if trouble and trouble != watched.trouble:
                    watched.trouble = trouble
                    news |= dict.fromkeys(watched.keys)

    def _prune(self, region: str, now: datetime) -> None:
        for arn, watched in list(self._regions.get(region, {}).items()):
            over = watched.stopped() or watched.missing_since is not None
            if over and now - watched.asked_at >= _FORGET:
                self._drop(arn)

    def _drop(self, arn: str) -> None:
        region = self._tasks.pop(arn).place.region
        del self._regions[region][arn]
        if not self._regions[region]:
            del self._regions[region]


def _reported(stopped: Iterable[_Watched]) -> list[str]:
    """Of these tasks, the ones whose report is on its way or there."""
    tasks = [watched.task for watched in stopped]
    return [task.arn for task in tasks if task is not None and task.exit_code(REPORT) == 0]


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
