"""Who is next when ECS has no room: the oldest, for each cluster and size of task (docs/decisions/015-first-in-first-out-when-full.md).

A Build that ECS had no room for stands in the line of its size, and all that come later stand behind it without asking. The first one
asks again when a task in the cluster has stopped, and now and then by itself, since room may also come from elsewhere. Nothing is kept
but in memory: after a restart the first refusal begins the line anew, in the same order.

Thread-safe; knows no clock. Asked by `executor.py` before RunTask, told by it and by the poller; the shell wakes those whose turn it is.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
"""Between two questions of the first one in a line, while no task stops: doubled with each refusal."""

SHORTEST_LOOK, LONGEST_LOOK = 15.0, 300.0
"""Bounds of the seconds after which the others look at their place again; whose turn it is, is woken."""

GRACE = timedelta(seconds=30)
"""A Build that could have asked for so long and did not, loses its place: its cache is suspended, or it is gone."""

_NEVER = datetime.min.replace(tzinfo=UTC)


class Size(NamedTuple):
    """Tasks of which one fits where another has left. `launch`: launch type or capacity providers."""

    region: str
    cluster: str
    launch: str
    platform: str
    cpu: int
    memory: int


@dataclass(slots=True)
class _Waiting:
    """A Build in a line. `order`: creation, and within one second who came first."""

    uid: str
    order: tuple[datetime, int]
    until: datetime
    """When it loses its place, unless it has come again."""


@dataclass(slots=True)
class _Line:
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    pause: timedelta = timedelta()
    ask_at: datetime = _NEVER

    def first(self) -> _Waiting | None:
        return min(self.waiting.values(), key=lambda each: each.order, default=None)


class Capacity:
    """The lines of all clusters and sizes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Size, _Line] = {}
        self._sizes: dict[str, Size] = {}
        self._woken: dict[str, None] = {}
        self._serial = 0

    def wait(self, size: Size, uid: str, created: datetime, now: datetime) -> float | None:
        """Return None when ECS may be asked for this Build now, else the seconds until it looks here again."""
        with self._lock:
            if self._sizes.get(uid, size) != size:
                self._remove(uid, now)  # its BuildCache has another executor by that name now
            line = self._lines.get(size)
            if line is None:
                return None
            for each in [each for each in line.waiting.values() if now > each.until and each.uid != uid]:
                self._remove(each.uid, now)
            if (line := self._lines.get(size)) is None:
                return None
            mine = self._enter(line, size, uid, created)
            before = sum(1 for each in line.waiting.values() if each.order < mine.order)
            if before:
                seconds = min(LONGEST_LOOK, SHORTEST_LOOK + before)
            else:
                left = line.ask_at - now
                # A time further away than any pause means that the clock was set back.
                seconds = left.total_seconds() if timedelta() < left <= LONGEST_PAUSE else 0.0
            mine.until = now + timedelta(seconds=seconds) + GRACE
            return seconds or None

    def refused(self, size: Size, uid: str, created: datetime, now: datetime) -> float:
        """ECS had no room for a Build. Returns the seconds until it looks here again."""
        with self._lock:
            line = self._lines.setdefault(size, _Line())
            mine = self._enter(line, size, uid, created)
            # Several may have asked before the first was refused: one moment, one pause.
            if now >= line.ask_at:
                line.pause = min(max(FIRST_PAUSE, line.pause * 2), LONGEST_PAUSE)
                line.ask_at = now + line.pause
            seconds = (line.ask_at - now).total_seconds() if line.first() is mine else SHORTEST_LOOK
            mine.until = now + timedelta(seconds=seconds) + GRACE
            return seconds

    def placed(self, size: Size, uid: str, now: datetime) -> None:
        """ECS took a Build's task: there may be room for more."""
        with self._lock:
            self._remove(uid, now)
            if (line := self._lines.get(size)) is not None:
                self._open(line, now)

    def freed(self, region: str, cluster: str, now: datetime) -> None:
        """A task in the cluster has stopped: what it leaves may be enough for one of any size."""
        with self._lock:
            for size, line in self._lines.items():
                if (size.region, size.cluster) == (region, cluster):
                    self._open(line, now)

    def left(self, uid: str, now: datetime) -> None:
        """A Build has ended, or is gone."""
        with self._lock:
            self._remove(uid, now)

    def woken(self) -> list[str]:
        """Return the UIDs of the Builds that shall look here again, each once."""
        with self._lock:
            woken, self._woken = self._woken, {}
        return list(woken)

    # With the lock held

    def _enter(self, line: _Line, size: Size, uid: str, created: datetime) -> _Waiting:
        mine = line.waiting.get(uid)
        if mine is None:
            self._serial += 1
            mine = line.waiting[uid] = _Waiting(uid, (created, self._serial), _NEVER)
            self._sizes[uid] = size
        return mine

    def _remove(self, uid: str, now: datetime) -> None:
        size = self._sizes.pop(uid, None)
        if size is None:
            return
        line = self._lines[size]
        was_first = line.first() is line.waiting[uid]
        del line.waiting[uid]
        if not line.waiting:
            del self._lines[size]
        elif was_first:
            self._wake(line, now)

    def _open(self, line: _Line, now: datetime) -> None:
        line.pause, line.ask_at = timedelta(), now
        self._wake(line, now)

    def _wake(self, line: _Line, now: datetime) -> None:
        if (first := line.first()) is not None:
            first.until = min(first.until, max(now, line.ask_at) + GRACE)
            self._woken[first.uid] = None
