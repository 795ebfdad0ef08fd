"""Whose turn it is: a work queue in the shape of client-go's, for one kind. Pure but for the clock, which is passed in.

A key is queued once, is never worked on twice at a time, and comes again if it was added meanwhile. Used by `worker.py`
on the event loop only.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K")

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0

ROUTINE_SHARE = 8
"""Every so manieth key is taken from the routine ones first, so that a flood of new objects starves none of them."""


class Taken(NamedTuple, Generic[K]):
    """A key to work on. `forced`: something besides the object itself asks for the pass (a deadline, the poller)."""

    key: K
    forced: bool


class WorkQueue(Generic[K]):
    """New objects go before routine (but for every eighth turn); within each, first in first out.

    `most_routine` keys at a time are worked on as routine: what a poll or a resync brings in one moment must not make a new object wait.
    """

    def __init__(self, random: Callable[[], float], most_routine: int) -> None:
        self._random = random
        self._most_routine = most_routine
        # Dicts are ordered sets here; the value says whether the pass is forced.
        self._urgent: dict[K, bool] = {}
        self._routine: dict[K, bool] = {}
        self._working: set[K] = set()
        self._working_routine: set[K] = set()
        self._again: dict[K, tuple[bool, bool]] = {}
        self._due: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._turn = 0

    def add(self, key: K, *, urgent: bool = True, forced: bool = False) -> None:
        """Queue a key now; one that is being worked on comes again when that is done."""
        if key in self._working:
            was_urgent, was_forced = self._again.get(key, (False, False))
            self._again[key] = urgent or was_urgent, forced or was_forced
            return
        if key in self._urgent:
            self._urgent[key] = self._urgent[key] or forced
        elif urgent:
            self._urgent[key] = self._routine.pop(key, False) or forced
        else:
            self._routine[key] = self._routine.get(key, False) or forced

    def add_after(self, key: K, delay: float, now: float) -> None:
        """Queue a key for a pass in `delay` seconds; of several such wishes the earliest is kept."""
        due = now + max(0.0, delay)
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        self._serial += 1
        heapq.heappush(self._timers, (due, self._serial, key))
        if len(self._timers) > 2 * len(self._due) + 64:
            # Replaced wishes stay in the heap until their time; do not let them outnumber the real ones.
            self._timers = [item for item in self._timers if self._due.get(item[2]) == item[0]]
            heapq.heapify(self._timers)

    def cancel(self, key: K) -> None:
        """Drop a key's timer: the pass that begins now will say when the next one is due."""
        self._due.pop(key, None)

    def take(self, now: float) -> Taken[K] | None:
        """Return the next key and mark it as being worked on, or None when nothing is due."""
        self._ring(now)
        self._turn = (self._turn + 1) % ROUTINE_SHARE
        routine = self._routine if self._has_room() else {}
        for ready in (self._urgent, routine) if self._turn else (routine, self._urgent):
            if ready:
                key = next(iter(ready))
                forced = ready.pop(key)
                self._working.add(key)
                if ready is routine:
                    self._working_routine.add(key)
                return Taken(key, forced)
        return None

    def done(self, key: K) -> None:
        """End the work on a key; it is queued again when it was added meanwhile."""
        self._working.remove(key)
        self._working_routine.discard(key)
        if key in self._again:
            urgent, forced = self._again.pop(key)
            self.add(key, urgent=urgent, forced=forced)

    def retry(self, key: K, now: float, *, longest: float = LONGEST_BACKOFF, at_least: float = 0.0) -> float:
        """Queue a key after its own backoff: doubling from a second to `longest`, with jitter. Returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # Between half of the step and the whole of it, so that what failed together does not come back together.
        step = min(longest, FIRST_BACKOFF * 2.0 ** min(failures, 30))
        delay = max(at_least, step * (0.5 + 0.5 * self._random()))
        self.add_after(key, delay, now)
        return delay

    def succeeded(self, key: K) -> None:
        """Reset a key's backoff."""
        self._failures.pop(key, None)

    def next_due(self) -> float | None:
        """Return the clock's time at which the next timer rings, or None without one."""
        while self._timers and self._due.get(self._timers[0][2]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def depth(self) -> int:
        """Return how many keys wait for a worker."""
        return len(self._urgent) + len(self._routine)

    def is_ready(self) -> bool:
        """Tell whether there is a key that another worker could take now."""
        return bool(self._urgent) or (bool(self._routine) and self._has_room())

    def _has_room(self) -> bool:
        return len(self._working_routine) < self._most_routine

    def _ring(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._timers)[2]
            del self._due[key]
            # A Build that waited for its turn at ECS is as urgent as one that is new.
            self.add(key, forced=True)
