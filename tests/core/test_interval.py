"""The spread of looks: near the interval, the same for the same question, different between objects."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.interval import SPREAD, jittered

moments = st.datetimes(min_value=datetime(2020, 1, 1), max_value=datetime(2040, 1, 1), timezones=st.just(UTC))


@given(st.integers(60, 86400), st.uuids().map(str), moments)
def test_a_look_comes_within_a_tenth_of_its_interval(seconds: int, uid: str, now: datetime) -> None:
    assert seconds * (1 - SPREAD) <= jittered(seconds, uid, now) <= seconds * (1 + SPREAD)
    assert jittered(seconds, uid, now) == jittered(seconds, uid, now)


def test_a_thousand_caches_are_spread_and_do_not_stay_in_step() -> None:
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    pauses = [jittered(600, f"uid-{number}", now) for number in range(1000)]
    for start in range(540, 660, 12):
        assert 50 < sum(start <= pause < start + 12 for pause in pauses) < 150
    assert jittered(600, "uid-1", now) != jittered(600, "uid-1", now + timedelta(minutes=10))
