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
    assert list(bucket._waiting.get("", {})) in ([], ["later"])


def test_clock_that_is_set_back_does_not_hold_anybody_for_long() -> None:
    bucket = Bucket(10, 1)
    for number in range(20):
        bucket.reserve(f"uid-{number}", START)
    assert bucket.reserve("uid-19", START - at(7200)) < 3


def test_c5_a_crowd_of_one_tenant_costs_another_one_turn() -> None:
    bucket = Bucket(25, 80)
    crowd = {f"crowd-{number}": bucket.reserve(f"crowd-{number}", START, "crowd") for number in range(400)}
    assert max(crowd.values()) > 12
    assert bucket.reserve("single", START, "other") <= 2 / 25
    assert bucket.reserve("single", START + at(0.08), "other") == 0.0


def test_c5_a_turn_that_is_given_back_is_the_next_ones() -> None:
    bucket = Bucket(1, 2)
    for number in range(100):
        assert bucket.reserve(f"uid-{number}", START) == 0.0
        bucket.give_back()
    bucket.give_back()
    assert [bucket.take(START) for _ in range(3)] == [True, True, False], "and no more than the burst"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, unique=True, max_size=60),
    st.integers(1, 5),
)
def test_c5_tenants_take_turns(keys: list[tuple[str, int]], burst: int) -> None:
    """Everybody asks when told to: between two turns of a tenant no other one has more than one, and each keeps its order."""
    bucket = Bucket(10, burst)
    asked = [(tenant, f"{tenant}{number}") for tenant, number in keys]
    pending = [each for each in asked if bucket.reserve(each[1], START, each[0])]
    order: list[str] = []
    now = 0.0
    while pending:
        now += 0.1
        before = len(pending)
        for each in list(pending):
            if bucket.reserve(each[1], START + at(now), each[0]) == 0:
                pending.remove(each)
                order.append(each[0])
        assert len(pending) < before, "a turn in each tenth of a second"
    for place, tenant in enumerate(order):
        rest = order[place + 1 :]
        if tenant in rest:
            between, later = rest[: rest.index(tenant)], rest[rest.index(tenant) + 1 :]
            assert len(between) == len(set(between))
            assert set(later) - {tenant} <= set(between)


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
