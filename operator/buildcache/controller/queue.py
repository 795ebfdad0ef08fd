"""Whose turn it is: a work queue in the shape of client-go's, for one kind. Pure but for the clock, which is passed in.

A key is queued once, is never worked on twice at a time, and comes again if it was added meanwhile. Used by `worker.py`
on the event loop only.

Keys are kept in bulkheads, one for each place in AWS (docs/decisions/014-bulkheads.md): each has a bound of its own on how many of
its keys are worked on at once, so that a place that does not answer takes no other's workers. The bulkheads take turns, and within
one the namespaces do.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0

ROUTINE_SHARE = 8
"""Every so manieth key of a bulkhead is taken from the routine ones first, so that a flood of new objects starves none of them."""

IN_TROUBLE = 3
"""Keys of a bulkhead whose passes failed, with none between them that succeeded, which show that the place is in trouble."""

FEW = 3
"""Keys of a bulkhead in trouble that are worked on at once: two whose calls may wait for an answer, and one for what needs none."""


class Taken(NamedTuple, Generic[K]):
    """A key to work on. `forced`: something besides the object itself asks for the pass (a deadline, the poller)."""

    key: K
    forced: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How many keys of one bulkhead are worked on at once, and how many of them as routine."""

    working: int
    routine: int


class WorkQueue(Generic[K]):
    """New objects go before routine (but for every eighth turn); within each the namespaces take turns, first in first out in each of them.

    Routine is what a poll or a resync brings in one moment, and what is tried again after it failed: it must not make a new object wait.
    `bulkhead` and `namespace` tell where a key belongs; the first may change for a key that waits. Keys for which `is_open` says no are
    held back; call `sort` when it says something else than before.
    """

    def __init__(
        self,
        random: Callable[[], float],
        limits: Limits,
        *,
        bulkhead: Callable[[K], Hashable],
        namespace: Callable[[K], str],
        is_open: Callable[[K], bool] = lambda key: True,
        age: Callable[[K], str] = lambda key: "",
    ) -> None:
        self._random = random
        self._limits = limits
        self._bulkhead = bulkhead
        self._namespace = namespace
        self._is_open = is_open
        self._age = age
        self._held: dict[K, tuple[bool, bool]] = {}
        """Keys that wait until `is_open` lets them in."""
        self._bulkheads: dict[Hashable, _Bulkhead[K]] = {}
        self._places: dict[K, Hashable] = {}
        """Of each key that waits or is worked on, the bulkhead that it is in."""
        self._working: set[K] = set()
        self._again: dict[K, tuple[bool, bool]] = {}
        # When a key is due, and whether it is new work or routine then.
        self._due: dict[K, tuple[float, bool]] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._failing: dict[Hashable, set[K]] = {}
        """Of each place, the first keys whose passes failed since one succeeded. Outlives the bulkhead, as all of them may wait for
        their next tries."""

    def add(self, key: K, *, urgent: bool = True, forced: bool = False) -> None:
        """Queue a key now; one that is being worked on comes again when that is done."""
        if key in self._working:
            was_urgent, was_forced = self._again.get(key, (False, False))
            self._again[key] = urgent or was_urgent, forced or was_forced
            return
        if not self._is_open(key):
            was_urgent, was_forced = self._held.get(key, (False, False))
            self._held[key] = urgent or was_urgent, forced or was_forced
            return
        if key in self._places:
            at = self._bulkheads[self._places[key]]
            if key in at.urgent:
                at.urgent.add(key, forced)
                return
            if urgent:
                forced = at.routine.pop(key) or forced
        else:
            at = self._at(key)
        (at.urgent if urgent else at.routine).add(key, forced)

    def sort(self) -> None:
        """Let in the keys that are not held back any more, the oldest by `age` first, and hold back those that are now."""
        held, self._held = self._held, {}
        for key in sorted(held, key=self._age):
            urgent, forced = held[key]
            self.add(key, urgent=urgent, forced=forced)
        for place, at in list(self._bulkheads.items()):
            for keys in (at.urgent, at.routine):
                for key in [key for key in keys if not self._is_open(key)]:
                    del self._places[key]
                    self._held[key] = keys is at.urgent, keys.pop(key)
            self._tidy(place)

    def add_after(self, key: K, delay: float, now: float, *, urgent: bool = True) -> None:
        """Queue a key for a pass in `delay` seconds; of several such wishes the earliest is kept."""
        due = now + max(0.0, delay)
        known = self._due.get(key)
        if known is not None and known[0] <= due:
            return
        self._due[key] = due, urgent
        self._serial += 1
        heapq.heappush(self._timers, (due, self._serial, key))
        if len(self._timers) > 2 * len(self._due) + 64:
            # Replaced wishes stay in the heap until their time; do not let them outnumber the real ones.
            self._timers = [item for item in self._timers if self._is_wish(item)]
            heapq.heapify(self._timers)

    def cancel(self, key: K) -> None:
        """Drop a key's timer: the pass that begins now will say when the next one is due."""
        self._due.pop(key, None)

    def take(self, now: float) -> Taken[K] | None:
        """Return the next key and mark it as being worked on, or None when nothing is due, or all that is has to wait for others."""
        self._ring(now)
        self._settle()
        for place, at in self._bulkheads.items():
            if (ready := at.ready(self._limits_of(place))) is not None:
                key, forced = ready.take()
                at.begin(key, routine=ready is at.routine)
                self._working.add(key)
                # The other places are before it now.
                del self._bulkheads[place]
                self._bulkheads[place] = at
                return Taken(key, forced)
        return None

    def done(self, key: K) -> None:
        """End the work on a key; it is queued again when it was added meanwhile."""
        self._working.remove(key)
        place = self._places.pop(key)
        self._bulkheads[place].end(key)
        self._tidy(place)
        if key in self._again:
            urgent, forced = self._again.pop(key)
            self.add(key, urgent=urgent, forced=forced)

    def retry(self, key: K, now: float, *, longest: float = LONGEST_BACKOFF, at_least: float = 0.0) -> float:
        """Queue a key as routine after its own backoff: doubling from a second to `longest`, with jitter. Returns the delay."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        if key in self._places and len(failing := self._failing.setdefault(self._places[key], set())) < IN_TROUBLE:
            failing.add(key)
        # Between half of the step and the whole of it, so that what failed together does not come back together.
        step = min(longest, FIRST_BACKOFF * 2.0 ** min(failures, 30))
        delay = max(at_least, step * (0.5 + 0.5 * self._random()))
        self.add_after(key, delay, now, urgent=False)
        return delay

    def succeeded(self, key: K) -> None:
        """Reset a key's backoff, and give its bulkhead all of its workers."""
        self._failures.pop(key, None)
        self._failing.pop(self._places.get(key), None)

    def next_due(self) -> float | None:
        """Return the clock's time at which the next timer rings, or None without one."""
        while self._timers and not self._is_wish(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def depth(self) -> int:
        """Return how many keys wait for a worker."""
        return len(self._held) + sum(len(at.urgent) + len(at.routine) for at in self._bulkheads.values())

    def is_ready(self) -> bool:
        """Tell whether there is a key that another worker could take now."""
        return any(at.ready(self._limits_of(place)) is not None for place, at in self._bulkheads.items())

    def _limits_of(self, place: Hashable) -> Limits:
        """What fails keeps few workers busy: passes that fail at once, one after the other in all of them, would take the processor."""
        if len(self._failing.get(place, ())) < IN_TROUBLE:
            return self._limits
        return Limits(min(FEW, self._limits.working), min(FEW, self._limits.routine))

    def _at(self, key: K) -> _Bulkhead[K]:
        place = self._places[key] = self._bulkhead(key)
        return self._bulkheads.setdefault(place, _Bulkhead(self._namespace))

    def _settle(self) -> None:
        """Move the next keys to where they belong by now, when an object that tells it has become known since they came."""
        for place, at in list(self._bulkheads.items()):
            while (ready := at.ready(self._limits_of(place))) is not None and self._bulkhead(
                key := ready.first()
            ) != place:
                urgent, forced = ready is at.urgent, ready.pop(key)
                del self._places[key]
                self.add(key, urgent=urgent, forced=forced)
            self._tidy(place)

    def _tidy(self, place: Hashable) -> None:
        if self._bulkheads[place].is_empty():
            del self._bulkheads[place]

    def _is_wish(self, timer: tuple[float, int, K]) -> bool:
        wish = self._due.get(timer[2])
        return wish is not None and wish[0] == timer[0]

    def _ring(self, now: float) -> None:
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._timers)[2]
            _, urgent = self._due.pop(key)
            # A Build that waited for its turn at ECS is as urgent as one that is new.
            self.add(key, urgent=urgent, forced=True)


class _Turns(Generic[K]):
    """Keys by namespace: these take turns, the keys of one are first in first out. The value says whether the pass is forced."""

    def __init__(self, namespace: Callable[[K], str]) -> None:
        self._namespace = namespace
        self._keys: dict[str, dict[K, bool]] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._keys.get(self._namespace(key), ())

    def __len__(self) -> int:
        return sum(map(len, self._keys.values()))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __iter__(self) -> Iterator[K]:
        for keys in self._keys.values():
            yield from keys

    def add(self, key: K, forced: bool) -> None:
        """Put a key at the end; one that is there keeps its place."""
        keys = self._keys.setdefault(self._namespace(key), {})
        keys[key] = keys.get(key, False) or forced

    def pop(self, key: K) -> bool:
        """Take a key out, from wherever it is."""
        namespace = self._namespace(key)
        forced = self._keys[namespace].pop(key)
        if not self._keys[namespace]:
            del self._keys[namespace]
        return forced

    def first(self) -> K:
        """Return the first key of the namespace whose turn it is."""
        return next(iter(next(iter(self._keys.values()))))

    def take(self) -> tuple[K, bool]:
        """Take that key; its namespace is the last one then."""
        namespace, keys = next(iter(self._keys.items()))
        key = next(iter(keys))
        forced = keys.pop(key)
        del self._keys[namespace]
        if keys:
            self._keys[namespace] = keys
        return key, forced


@dataclass(slots=True)
class _Bulkhead(Generic[K]):
    """The keys of one place: those that wait, and those that are worked on."""

    namespace: Callable[[K], str]
    urgent: _Turns[K] = field(init=False)
    routine: _Turns[K] = field(init=False)
    working: set[K] = field(default_factory=set)
    working_routine: set[K] = field(default_factory=set)
    taken: int = 0

    def __post_init__(self) -> None:
        self.urgent, self.routine = _Turns(self.namespace), _Turns(self.namespace)

    def ready(self, limits: Limits) -> _Turns[K] | None:
        """The keys of which the next one is taken, None when there are none or when enough are worked on."""
        if len(self.working) >= limits.working:
            return None
        routine = self.routine if len(self.working_routine) < limits.routine else None
        first, second = (self.urgent, routine) if (self.taken + 1) % ROUTINE_SHARE else (routine, self.urgent)
        return first or second or None

    def begin(self, key: K, *, routine: bool) -> None:
        self.taken += 1
        self.working.add(key)
        if routine:
            self.working_routine.add(key)

    def end(self, key: K) -> None:
        self.working.discard(key)
        self.working_routine.discard(key)

    def is_empty(self) -> bool:
        return not (self.working or self.urgent or self.routine)
