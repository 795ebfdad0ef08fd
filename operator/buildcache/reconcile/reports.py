"""Reports of tasks that ended together, read together: one call for up to a hundred log streams of a group.

CloudWatch gives an account some 25 GetLogEvents a second, and a poll may find as many ended tasks as it has looked at: read one by one,
they would be throttled. Below FEW, and for whatever is not found here, the pass reads the one stream itself (docs/decisions/007).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from buildcache.core import report
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.report import Report
from buildcache.core.task_state import TaskRef
from buildcache.core.tasks import REPORT

FEW = 5
"""Fewer streams than that are not worth a search."""

BATCH = 100
"""Streams that one FilterLogEvents takes."""

LOOK_BACK = timedelta(minutes=15)
"""How far back is searched: the line is among a task's last."""

Search = Callable[[str, str, Sequence[str], datetime], Mapping[str, Sequence[str]]]
"""Region, group, streams, since when → the lines of each stream. Raises Unavailable, Denied or Rejected."""


@dataclass(frozen=True, slots=True)
class _Place:
    region: str
    group: str
    stream: str


class Reports:
    """Thread-safe. Knows the streams of the tasks that are followed, and the reports that nobody has asked for yet."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}
        self._found: dict[str, Report] = {}

    def expect(self, ref: TaskRef, group: str) -> None:
        """The task writes its report to this group."""
        with self._lock:
            self._places[ref.arn] = _Place(ref.region, group, ref.stream(REPORT))

    def take(self, arn: str) -> Report | None:
        """Return the report of a task, if it was found with others."""
        with self._lock:
            return self._found.get(arn)

    def forget(self, arn: str) -> None:
        """The task is of no interest any more."""
        with self._lock:
            self._places.pop(arn, None)
            self._found.pop(arn, None)

    def ended(self, arns: Iterable[str], now: datetime) -> None:
        """Read the reports of tasks that have just stopped, where there are enough of them."""
        together: dict[tuple[str, str], dict[str, str]] = {}
        with self._lock:
            for arn in arns:
                if (place := self._places.get(arn)) is not None:
                    together.setdefault((place.region, place.group), {})[place.stream] = arn
        for (region, group), streams in together.items():
            names = list(streams)
            for start in range(0, len(names), BATCH):
                batch = names[start : start + BATCH]
                if len(batch) < FEW:
                    continue
                try:
                    lines = self._search(region, group, batch, now - LOOK_BACK)
                except (Unavailable, Denied, Rejected):
                    continue
                found = {streams[name]: report.parse(said) for name, said in lines.items() if name in streams}
                with self._lock:
                    self._found |= {
                        arn: each for arn, each in found.items() if each is not None and arn in self._places
                    }
