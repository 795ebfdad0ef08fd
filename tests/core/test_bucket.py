"""The token bucket: never faster than its rate, in order, and not stuck by a clock that jumps."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.bucket import Bucket
from tests.fakes.builds import START


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_a_thousand_at_once_start_as_fast_as_the_rate_allows_and_in_order() -> None:
    bucket = Bucket(20, 80)
    waits = [bucket.reserve(f"uid-{number}", START) for number in range(1000)]
    assert waits[:80] == [0.0] * 80
    assert waits[80:] == sorted(waits[80:])
    assert round(waits[-1], 3) == 46.0
    assert bucket.reserve("uid-80", START + at(waits[80])) == 0.0
    assert bucket.reserve("uid-500", START + at(1)) == waits[500] - 1, "the turn that was given stays"


def test_who_asks_again_too_early_loses_nothing() -> None:
    bucket = Bucket(1, 1)
    bucket.reserve("a", START)
    assert bucket.reserve("b", START) == 1.0
    assert bucket.reserve("b", START + at(0.5)) == 0.5
    assert bucket.reserve("b", START + at(1)) == 0.0


def test_turns_that_nobody_takes_are_forgotten() -> None:
    bucket = Bucket(10, 1)
    for number in range(100):
        bucket.reserve(f"uid-{number}", START)
    bucket.reserve("later", START + at(120))
    assert bucket._promised == {}


def test_clock_that_is_set_back_does_not_hold_anybody_for_long() -> None:
    bucket = Bucket(10, 1)
    for number in range(20):
        bucket.reserve(f"uid-{number}", START)
    assert bucket.reserve("uid-19", START - at(7200)) < 3


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200))
def test_never_faster_than_the_rate(steps: list[tuple[float, bool]]) -> None:
    bucket, rate, burst = Bucket(5, 10), 5, 10
    now, made = START, 0
    waiting: dict[str, None] = {}
    for number, (pause, take) in enumerate(steps):
        now += at(pause)
        if take:
            made += bucket.take(now)
        else:
            waiting[f"uid-{number}"] = None
        for key in list(waiting):
            if bucket.reserve(key, now) == 0:
                del waiting[key]
                made += 1
        assert made <= burst + rate * (now - START).total_seconds() + 1e-3
