"""The work queue against a model, and the sentences that the model does not say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from buildcache.controller.queue import FEW, IN_TROUBLE, LONGEST_BACKOFF, Limits, WorkQueue

KEYS = st.sampled_from(["a/1", "a/2", "b/1", "b/2", "c/1"])
REGIONS = st.sampled_from(["here", "there"])
MOST, MOST_ROUTINE = 4, 3


def namespace(key: str) -> str:
    return key.partition("/")[0]


def region(key: str) -> str:
    """Of a key such as there:a/1."""
    return key.rpartition(":")[0]


def made(random: float) -> WorkQueue[str]:
    return WorkQueue(lambda: random, Limits(100, 2), bulkhead=region, namespace=namespace)


class QueueModel(RuleBasedStateMachine):
    """What anybody may expect of the queue, in sets and numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.region: dict[str, str] = {}
        self.closed: set[str] = set()
        self.queue: WorkQueue[str] = WorkQueue(
            lambda: 0.5,
            Limits(MOST, MOST_ROUTINE),
            bulkhead=lambda key: self.region.get(key, "here"),
            namespace=namespace,
            is_open=lambda key: namespace(key) not in self.closed,
        )
        self.now = 0.0
        self.ready: dict[str, bool] = {}
        self.urgent: set[str] = set()
        self.working: dict[str, str] = {}
        self.routine: dict[str, str] = {}
        self.again: dict[str, bool] = {}
        self.again_urgent: set[str] = set()
        self.due: dict[str, tuple[float, bool]] = {}
        self.failures: dict[str, int] = {}
        self.failing: dict[str, set[str]] = {}

    def _add(self, key: str, forced: bool, urgent: bool) -> None:
        place, urgents = (self.again, self.again_urgent) if key in self.working else (self.ready, self.urgent)
        place[key] = place.get(key, False) or forced
        if urgent:
            urgents.add(key)

    def _wish(self, key: str, due: float, urgent: bool) -> None:
        if key not in self.due or due < self.due[key][0]:
            self.due[key] = due, urgent

    def _ring(self) -> None:
        for key in [key for key, (due, _) in self.due.items() if due <= self.now]:
            self._add(key, True, self.due.pop(key)[1])

    def _takeable(self, key: str) -> bool:
        place = self.region.get(key, "here")
        few = len(self.failing.get(place, ())) >= IN_TROUBLE
        most, most_routine = (FEW, FEW) if few else (MOST, MOST_ROUTINE)
        if namespace(key) in self.closed or list(self.working.values()).count(place) >= most:
            return False
        return key in self.urgent or list(self.routine.values()).count(place) < most_routine

    @rule(key=KEYS, urgent=st.booleans(), forced=st.booleans())
    def add(self, key: str, urgent: bool, forced: bool) -> None:
        self.queue.add(key, urgent=urgent, forced=forced)
        self._add(key, forced, urgent)

    @rule(key=KEYS, delay=st.floats(0, 50), urgent=st.booleans())
    def add_after(self, key: str, delay: float, urgent: bool) -> None:
        self.queue.add_after(key, delay, self.now, urgent=urgent)
        self._wish(key, self.now + delay, urgent)

    @rule(key=KEYS)
    def cancel(self, key: str) -> None:
        self.queue.cancel(key)
        self.due.pop(key, None)

    @rule(key=KEYS, region=REGIONS)
    def is_known_to_be_elsewhere(self, key: str, region: str) -> None:
        self.region[key] = region

    @rule(name=st.sampled_from("abc"))
    def opens_or_closes(self, name: str) -> None:
        self.closed ^= {name}
        self.queue.sort()

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        self._ring()
        if taken is None:
            # A key that is known to be elsewhere since it came is moved there when it would be its turn.
            assert self.region or not any(map(self._takeable, self.ready))
            return
        assert taken.key not in self.working
        assert self._takeable(taken.key)
        assert self.ready.pop(taken.key) is taken.forced
        place = self.region.get(taken.key, "here")
        self.working[taken.key] = place
        if taken.key not in self.urgent:
            self.routine[taken.key] = place
        self.urgent.discard(taken.key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.queue.done(key)
        del self.working[key]
        self.routine.pop(key, None)
        if key in self.again:
            self._add(key, self.again.pop(key), key in self.again_urgent)
            self.again_urgent.discard(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.failing.setdefault(self.working[key], set()).add(key)
        delay = self.queue.retry(key, self.now)
        failures = self.failures.get(key, 0)
        assert delay == min(LONGEST_BACKOFF, 2.0**failures) * 0.75
        self.failures[key] = failures + 1
        self._wish(key, self.now + delay, False)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def succeeded(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.failing.pop(self.working[key], None)
        self.queue.succeeded(key)
        self.failures.pop(key, None)

    @invariant()
    def shows_what_waits(self) -> None:
        assert self.queue.depth() == len(self.ready)
        for place in ("here", "there"):
            assert list(self.working.values()).count(place) <= MOST
            assert list(self.routine.values()).count(place) <= MOST_ROUTINE
        assert self.queue.next_due() == min((due for due, _ in self.due.values()), default=None)

    @invariant()
    def tells_of_work_that_another_worker_could_take(self) -> None:
        if self.region:
            return  # it notices that a key is elsewhere when it takes one
        assert self.queue.is_ready() == any(map(self._takeable, self.ready))


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def taken(queue: WorkQueue[str], now: float = 0.0) -> list[str]:
    keys = []
    while (item := queue.take(now)) is not None:
        keys.append(item.key)
        queue.done(item.key)
    return keys


@given(
    st.lists(
        st.tuples(st.sampled_from(["here:", "there:"]), st.sampled_from("abc"), st.integers(0, 20), st.booleans()),
        max_size=40,
        unique_by=lambda each: each[:3],
    )
)
def test_c5_namespaces_take_turns_in_each_region_and_class_and_their_own_order_is_kept(
    keys: list[tuple[str, str, int, bool]],
) -> None:
    queue = made(0.0)
    for place, name, number, urgent in keys:
        queue.add(f"{place}{name}/{number}", urgent=urgent)
    order = taken(queue)
    urgent_keys = {f"{place}{name}/{number}" for place, name, number, urgent in keys if urgent}
    for place in ("here", "there"):
        for is_urgent in (True, False):
            of_class = [key for key in order if region(key) == place and (key in urgent_keys) is is_urgent]
            names = [namespace(key) for key in of_class]
            for name in set(names):
                mine = [
                    f"{place}:{name}/{number}"
                    for p, n, number, u in keys
                    if (p, n, u) == (f"{place}:", name, is_urgent)
                ]
                assert [key for key in of_class if namespace(key) == f"{place}:{name}"] == mine
            for at, name in enumerate(names):
                # Until a namespace's next turn each of the others that wait has had one, and none two.
                following = names[at + 1 :]
                if name in following:
                    until, later = following[: following.index(name)], following[following.index(name) + 1 :]
                    assert len(until) == len(set(until))
                    assert set(later) - {name} <= set(until)
    # Regions take turns too, as long as both have something.
    places = [region(key) for key in order]
    both = min(places.count("here"), places.count("there"))
    assert all(one != other for one, other in pairwise(places[: 2 * both]))


def test_c5_what_failed_comes_back_as_routine() -> None:
    queue = made(0.0)
    queue.retry("here:a/old", 0.0)
    queue.add("here:a/new")
    assert taken(queue, 1.0) == ["here:a/new", "here:a/old"]


def test_c5_a_region_has_workers_of_its_own() -> None:
    queue: WorkQueue[str] = WorkQueue(lambda: 0.0, Limits(2, 1), bulkhead=region, namespace=namespace)
    for number in range(10):
        queue.add(f"there:a/{number}")
    first = [queue.take(0.0), queue.take(0.0)]
    assert [item.key for item in first if item] == ["there:a/0", "there:a/1"]
    assert queue.take(0.0) is None
    assert not queue.is_ready()
    queue.add("here:a/1")
    assert queue.take(0.0) == ("here:a/1", False)


def test_c2_what_is_held_back_comes_oldest_first_when_it_is_let_in() -> None:
    is_open = False
    queue: WorkQueue[str] = WorkQueue(
        lambda: 0.0,
        Limits(9, 9),
        bulkhead=lambda key: None,
        namespace=lambda key: "a",
        is_open=lambda key: is_open,
        age=lambda key: key[-1],
    )
    for key in ("c/2", "a/3", "b/1"):
        queue.add(key, urgent=False)
    assert queue.take(0.0) is None
    assert queue.depth() == 3
    is_open = True
    queue.sort()
    assert taken(queue) == ["b/1", "c/2", "a/3"]


def test_new_objects_go_before_resync() -> None:
    queue: WorkQueue[str] = made(0.0)
    for key in "abc":
        queue.add(key, urgent=False)
    queue.add("new")
    assert taken(queue) == ["new", "a", "b", "c"]


def test_a_flood_of_routine_leaves_room_for_new_objects() -> None:
    queue: WorkQueue[str] = made(0.0)
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
    queue: WorkQueue[str] = made(0.0)
    for key in "abc":
        queue.add(key, urgent=False)
    queue.add("c")
    assert taken(queue) == ["c", "a", "b"]


def test_a_flood_of_new_objects_starves_nobody() -> None:
    queue: WorkQueue[str] = made(0.0)
    queue.add_after("deadline", 1.0, 0.0)
    queue.add("routine", urgent=False)
    for number in range(100):
        queue.add(f"new {number}")
    keys = taken(queue, now=2.0)
    assert "routine" in keys[:8]
    queue.add_after("deadline", 1.0, 2.0)
    assert queue.take(3.0) == ("deadline", True)


def test_timers_that_are_moved_again_and_again_take_no_memory() -> None:
    queue: WorkQueue[str] = made(0.0)
    for number in range(10_000):
        queue.add_after("a", 100.0, float(number))
        queue.cancel("a")
    assert len(queue._timers) < 100


@pytest.mark.parametrize(("random", "delay"), [(0.0, 0.5), (1.0, 1.0)])
def test_jitter_spreads_a_retry_between_half_of_its_step_and_the_whole(random: float, delay: float) -> None:
    assert made(random).retry("a", 0.0) == delay


def test_a_servers_retry_after_is_obeyed__F11() -> None:
    queue: WorkQueue[str] = made(0.0)
    assert queue.retry("a", 0.0, at_least=30.0) == 30.0
    assert queue.take(29.9) is None
    assert queue.take(30.0) is not None


def test_backoff_never_overflows() -> None:
    queue: WorkQueue[str] = made(1.0)
    delays = [queue.retry("a", 0.0, longest=60.0) for _ in range(2000)]
    assert max(delays) == 60.0


def in_trouble() -> WorkQueue[str]:
    """There, the passes of three objects have failed."""
    queue = made(0.0)
    for key in ("there:a/1", "there:a/2", "there:a/3"):
        queue.add(key)
    while (item := queue.take(0.0)) is not None:
        queue.retry(item.key, 0.0)
        queue.done(item.key)
    return queue


def busy(queue: WorkQueue[str], now: float = 0.0) -> list[str]:
    return [item.key for item in iter(lambda: queue.take(now), None)]


def test_c5_a_place_in_which_passes_fail_keeps_few_workers_busy_and_no_other_place_does() -> None:
    queue = in_trouble()
    for place in ("here", "there"):
        for number in range(10, 20):
            queue.add(f"{place}:b/{number}")
    assert [region(key) for key in busy(queue)].count("there") == FEW
    assert queue.depth() == 10 - FEW


def test_c5_a_pass_that_succeeds_gives_the_place_all_of_its_workers_back() -> None:
    queue = in_trouble()
    for number in range(10, 20):
        queue.add(f"there:b/{number}")
    first, *_ = busy(queue)
    queue.succeeded(first)
    queue.done(first)
    assert len(busy(queue)) == 10 - FEW


def test_c5_one_object_that_always_fails_takes_no_workers_from_its_place() -> None:
    queue = made(0.0)
    for attempt in range(20):
        queue.add("there:a/bad", forced=True)
        assert queue.take(float(attempt)) is not None
        queue.retry("there:a/bad", float(attempt))
        queue.done("there:a/bad")
    for number in range(10):
        queue.add(f"there:b/{number}")
    assert len([key for key in busy(queue) if key != "there:a/bad"]) == 10
