"""The work queue against a model, and the sentences that the model does not say."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from buildcache.controller.queue import LONGEST_BACKOFF, WorkQueue

KEYS = st.sampled_from("abcde")
MOST_ROUTINE = 2


class QueueModel(RuleBasedStateMachine):
    """What anybody may expect of the queue, in sets and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: WorkQueue[str] = WorkQueue(lambda: 0.5, MOST_ROUTINE)
        self.now = 0.0
        self.ready: dict[str, bool] = {}
        self.urgent: set[str] = set()
        self.working: set[str] = set()
        self.routine: set[str] = set()
        self.again: dict[str, bool] = {}
        self.again_urgent: set[str] = set()
        self.due: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    def _add(self, key: str, forced: bool, urgent: bool) -> None:
        place, urgents = (self.again, self.again_urgent) if key in self.working else (self.ready, self.urgent)
        place[key] = place.get(key, False) or forced
        if urgent:
            urgents.add(key)

    def _ring(self) -> None:
        for key in [key for key, due in self.due.items() if due <= self.now]:
            del self.due[key]
            self._add(key, True, True)

    @rule(key=KEYS, urgent=st.booleans(), forced=st.booleans())
    def add(self, key: str, urgent: bool, forced: bool) -> None:
        self.queue.add(key, urgent=urgent, forced=forced)
        self._add(key, forced, urgent)

    @rule(key=KEYS, delay=st.floats(0, 50))
    def add_after(self, key: str, delay: float) -> None:
        self.queue.add_after(key, delay, self.now)
        self.due[key] = min(self.due.get(key, float("inf")), self.now + delay)

    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        self.queue.cancel(key)
        self.due.pop(key, None)

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        self._ring()
        if taken is None:
            assert not self.urgent
            assert not self.ready or len(self.routine) == MOST_ROUTINE
            return
        assert taken.key not in self.working
        assert self.ready.pop(taken.key) is taken.forced
        self.working.add(taken.key)
        if taken.key not in self.urgent:
            self.routine.add(taken.key)
        self.urgent.discard(taken.key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key)
        self.working.remove(key)
        self.routine.discard(key)
        if key in self.again:
            self._add(key, self.again.pop(key), key in self.again_urgent)
            self.again_urgent.discard(key)

    @rule(key=KEYS)
    def retry(self, key: str) -> None:
        delay = self.queue.retry(key, self.now)
        failures = self.failures.get(key, 0)
        assert delay == min(LONGEST_BACKOFF, 2.0**failures) * 0.75
        self.failures[key] = failures + 1
        self.due[key] = min(self.due.get(key, float("inf")), self.now + delay)

    @rule(key=KEYS)
    def succeeded(self, key: str) -> None:
        self.queue.succeeded(key)
        self.failures.pop(key, None)

    @invariant()
    def shows_what_waits(self) -> None:
        assert self.queue.depth() == len(self.ready)
        assert len(self.routine) <= MOST_ROUTINE
        assert self.queue.is_ready() == bool(self.urgent or (self.ready and len(self.routine) < MOST_ROUTINE))
        assert self.queue.next_due() == min(self.due.values(), default=None)


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def taken(queue: WorkQueue[str], now: float = 0.0) -> list[str]:
    keys = []
    while (item := queue.take(now)) is not None:
        keys.append(item.key)
        queue.done(item.key)
    return keys


def test_new_objects_go_before_resync() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    for key in "abc":
        queue.add(key, urgent=False)
    queue.add("new")
    assert taken(queue) == ["new", "a", "b", "c"]


def test_a_flood_of_routine_leaves_room_for_new_objects() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    for number in range(100):
        queue.add(f"known {number}", urgent=False)
    busy = [queue.take(0.0) for _ in range(10)]
    assert [item.key for item in busy if item is not None] == ["known 0", "known 1"]
    queue.add("new")
    assert queue.take(0.0) == ("new", False)
    assert queue.take(0.0) is None
    queue.done("known 0")
    assert queue.take(0.0) == ("known 2", False)


def test_an_event_moves_a_key_forward() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    for key in "abc":
        queue.add(key, urgent=False)
    queue.add("c")
    assert taken(queue) == ["c", "a", "b"]


def test_a_flood_of_new_objects_starves_nobody() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    queue.add_after("deadline", 1.0, 0.0)
    queue.add("routine", urgent=False)
    for number in range(100):
        queue.add(f"new {number}")
    keys = taken(queue, now=2.0)
    assert "routine" in keys[:8]
    queue.add_after("deadline", 1.0, 2.0)
    assert queue.take(3.0) == ("deadline", True)


def test_timers_that_are_moved_again_and_again_take_no_memory() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    for number in range(10_000):
        queue.add_after("a", 100.0, float(number))
        queue.cancel("a")
    assert len(queue._timers) < 100


@pytest.mark.parametrize(("random", "delay"), [(0.0, 0.5), (1.0, 1.0)])
def test_jitter_spreads_a_retry_between_half_of_its_step_and_the_whole(random: float, delay: float) -> None:
    assert WorkQueue[str](lambda: random, MOST_ROUTINE).retry("a", 0.0) == delay


def test_a_servers_retry_after_is_obeyed__F11() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, MOST_ROUTINE)
    assert queue.retry("a", 0.0, at_least=30.0) == 30.0
    assert queue.take(29.9) is None
    assert queue.take(30.0) is not None


def test_backoff_never_overflows() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 1.0, MOST_ROUTINE)
    delays = [queue.retry("a", 0.0, longest=60.0) for _ in range(2000)]
    assert max(delays) == 60.0
