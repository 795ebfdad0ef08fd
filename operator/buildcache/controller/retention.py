"""Which finished Builds are due to be deleted. They are not in the store: only the few that will go are kept here, by their time.

Filled from lists of finished Builds and from the answers to our own last writes; used by `finished.py` on the event loop.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime, timedelta

from buildcache.core.expiry import expires_at

from .objects import Body, Key, is_released, key_of, uid_of

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=5)
"""After a deletion that was refused: doubled with each further one."""


class Retention:
    """Keys by the moment at which they expire."""

    def __init__(self) -> None:
        self._due: list[tuple[datetime, Key, str]] = []
        self._noted: dict[str, datetime] = {}
        self._pauses: dict[str, timedelta] = {}
        self._surplus: frozenset[str] = frozenset()

    def note(self, build: Body) -> None:
        """Take a Build as it is now; one that is not finished, or shall stay, is of no interest."""
        uid, due = uid_of(build), expires_at(build) if is_released(build) else None
        if due is None:
            self._noted.pop(uid, None)
        elif self._noted.get(uid) != due:
            self._push(due, key_of("Build", build), uid)

    def note_all(self, builds: Iterable[Body]) -> None:
        """Take several."""
        for build in builds:
            self.note(build)

    def beyond(self, builds: Iterable[tuple[Key, str]], now: datetime) -> None:
        """Take the Builds that are more than their BuildCache keeps, as the last whole list has shown; these are due at once."""
        found = list(builds)
        self._surplus = frozenset(uid for _, uid in found)
        for key, uid in found:
            self._push(now, key, uid)

    def is_surplus(self, uid: str) -> bool:
        """Tell whether the last whole list has shown a Build as more than its BuildCache keeps. Safe in any thread."""
        return uid in self._surplus

    def refused(self, key: Key, uid: str, now: datetime) -> None:
        """Keep a Build that is due and could not be deleted."""
        pause = min(LONGEST_PAUSE, self._pauses.get(uid, FIRST_PAUSE / 2) * 2)
        self._pauses[uid] = pause
        self._push(now + pause, key, uid)

    def gone(self, uid: str) -> None:
        """Forget a Build that does not exist any more."""
        self._pauses.pop(uid, None)

    def take(self, now: datetime) -> list[tuple[Key, str]]:
        """Return keys and UIDs that are due and forget them: whether they still are is for a read to say."""
        taken: list[tuple[Key, str]] = []
        while self._due and self._due[0][0] <= now:
            due, key, uid = heapq.heappop(self._due)
            # What was changed since has another entry, or none.
            if self._noted.get(uid) == due:
                del self._noted[uid]
                taken.append((key, uid))
        return taken

    def _push(self, due: datetime, key: Key, uid: str) -> None:
        self._noted[uid] = due
        heapq.heappush(self._due, (due, key, uid))
