"""The line of Builds, without I/O: never more than the limit, first in first out, whoever decides when."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.cache import Limits
from buildcache.api.meta import FINALIZER
from buildcache.core.admission import (
    LONGEST,
    Admitted,
    Full,
    InLine,
    Line,
    concurrency,
    line,
    next_up,
    oldest_first,
    turn,
)


def body(number: int, *, held: bool = False, second: int | None = None, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "uid": f"uid-{number}",
        "name": f"web-{number}",
        "creationTimestamp": f"2026-03-01T12:00:{number if second is None else second:02}Z",
        "finalizers": [FINALIZER] if held else [],
    }
    return {"metadata": {**metadata, **more.pop("metadata", {})}, "spec": more}


def limits(most: int, queued: int = 100) -> Limits:
    return Limits(max_concurrent_builds=most, max_queued_builds=queued)


def test_first_come_first_served_until_the_limit() -> None:
    seen = line([body(1, held=True), body(2), body(3), body(4)])
    assert seen == Line(1, ("uid-2", "uid-3", "uid-4"))
    steps = [turn(uid, seen, limits(2), known=True) for uid in seen.waiting]
    assert steps == [Admitted(), InLine(0), InLine(1)]


def test_more_than_may_wait_are_refused_but_nobody_who_waits_already() -> None:
    seen = line([body(number) for number in range(5)])
    assert turn("uid-4", seen, limits(1, queued=3), known=False) == Full(3)
    assert turn("uid-4", seen, limits(1, queued=3), known=True) == InLine(3)
    assert turn("uid-3", seen, limits(1, queued=3), known=False) == InLine(2)


def test_no_queue_at_all() -> None:
    seen = line([body(1), body(2)])
    assert turn("uid-1", seen, limits(1, queued=0), known=False) == Admitted()
    assert turn("uid-2", seen, limits(1, queued=0), known=False) == Full(0)


@pytest.mark.parametrize(
    "gone",
    [body(1, metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}), body(1, cancel=True)],
    ids=["deleted", "cancelled"],
)
def test_who_leaves_before_being_admitted_keeps_nobody_waiting(gone: dict[str, Any]) -> None:
    assert turn("uid-2", line([gone, body(2)]), limits(1), known=True) == Admitted()


def test_who_is_stopped_keeps_the_place_until_the_task_is_gone() -> None:
    leaving = body(1, held=True, metadata={"deletionTimestamp": "2026-03-01T12:00:00Z"}, cancel=True)
    assert line([leaving]) == Line(1, ())


def test_lowered_limit_admits_nobody() -> None:
    seen = line([body(1, held=True), body(2, held=True), body(3)])
    assert turn("uid-3", seen, limits(1), known=True) == InLine(0)


def test_within_one_second_the_order_is_that_of_arrival() -> None:
    arrived = [body(number, second=0) for number in (7, 3, 5)]
    assert [each["metadata"]["uid"] for each in oldest_first(arrived)] == ["uid-7", "uid-3", "uid-5"]


@pytest.mark.parametrize("cache", [None, {}, {"spec": {"limits": "many"}}, {"spec": {"limits": {}}}])
def test_limit_that_cannot_be_read_is_the_default(cache: Any) -> None:
    assert concurrency(cache) == Limits().max_concurrent_builds


def test_a_long_line_looks_at_itself_a_few_times_a_second_in_all() -> None:
    assert sum(1 / InLine(position).again_after for position in range(1000)) < 10
    assert InLine(10_000).again_after == LONGEST


def choose(those: Sequence[Any], pick: int) -> Any:
    return those[pick % len(those)] if those else None


EVENTS = st.lists(
    st.tuples(st.sampled_from(["create", "decide", "hold", "end", "delete", "limit"]), st.integers(0, 30)), max_size=80
)


@settings(max_examples=300)
@given(EVENTS, st.integers(1, 4))
def test_never_more_than_the_limit_and_nobody_overtakes(events: list[tuple[str, int]], most: int) -> None:
    """Passes run at the same time: between a decision and the finalizer that carries it out anything may happen."""
    builds: list[dict[str, Any]] = []
    decided: list[str] = []
    admitted: list[int] = []
    allowed = most
    for number, (event, pick) in enumerate(events):
        seen = line(oldest_first(builds))
        match event:
            case "create":
                builds.append(body(number, second=number // 3))
            case "decide":
                uid = choose(seen.waiting, pick)
                if (
                    uid
                    and uid not in decided
                    and isinstance(turn(uid, seen, limits(most, queued=1000), known=True), Admitted)
                ):
                    decided.append(uid)
            case "hold":
                uid = choose(decided, pick)
                if uid:
                    decided.remove(uid)
                    for each in builds:
                        if each["metadata"]["uid"] == uid:
                            each["metadata"]["finalizers"] = [FINALIZER]
                            admitted.append(int(uid.removeprefix("uid-")))
            case "end":
                ended = choose([each for each in builds if each["metadata"]["finalizers"]], pick)
                if ended:
                    builds.remove(ended)
            case "delete":
                left = choose([each for each in builds if each["metadata"]["uid"] in seen.waiting], pick)
                if left and left["metadata"]["uid"] not in decided:
                    builds.remove(left)
            case "limit":
                # Raised only: those that were admitted before a lowering stay.
                most = min(8, most + 1)
                allowed = most
        running = sum(1 for each in builds if each["metadata"]["finalizers"])
        assert running + len(decided) <= allowed
        # Whoever waits longer than somebody who was decided for is at least as far.
        now = line(oldest_first(builds))
        if decided:
            last = max(now.waiting.index(uid) for uid in decided)
            for uid in now.waiting[:last]:
                assert isinstance(turn(uid, now, limits(most), known=True), Admitted)


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 6))
def test_who_is_woken_is_who_is_admitted(held: list[bool], most: int) -> None:
    seen = line([body(number, held=is_held) for number, is_held in enumerate(held)])
    admitted = [uid for uid in seen.waiting if isinstance(turn(uid, seen, limits(most), known=True), Admitted)]
    assert list(next_up(seen, most)) == admitted
