"""Corrections without effect: pauses grow, several attempts in a row are told, and a difference that goes is forgotten."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.cache_status import Drift
from buildcache.core.corrections import INEFFECTIVE, Corrections

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONGEST = 600.0
STUBBORN = Drift(part="mount-target/eu-west-1a", field="securityGroups", want="sg-1")
other_drifts = st.builds(Drift, part=st.sampled_from(["repository", "log-group"]), field=st.just("exists"))


def attempts(seconds: float, look_every: float) -> list[datetime]:
    """When a difference that never goes is corrected, if AWS is looked at so often."""
    corrections, now, made = Corrections(), NOW, []
    while (now - NOW).total_seconds() < seconds:
        corrections = corrections.still([STUBBORN])
        if corrections.pause(STUBBORN, now) is None:
            made.append(now)
            corrections = corrections.applied([STUBBORN], now, LONGEST)
        now += timedelta(seconds=look_every)
    return made


@given(st.floats(0.2, 5.0))
def test_m4_a_correction_without_effect_is_repeated_with_growing_pauses(look_every: float) -> None:
    made = attempts(3600, look_every)
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(made)]
    assert 10 <= len(made) <= 20  # seven pauses below four minutes, then one in ten minutes
    assert all(later >= min(1.5 * earlier, LONGEST) - look_every for earlier, later in itertools.pairwise(pauses))
    assert max(pauses) <= LONGEST + look_every


def test_m4_what_did_not_hold_several_times_is_told_and_what_held_is_forgotten() -> None:
    corrections = Corrections()
    for count in range(INEFFECTIVE):
        assert corrections.ineffective() == ()
        corrections = corrections.applied([STUBBORN], NOW + timedelta(minutes=count), LONGEST)
    assert corrections.ineffective() == (STUBBORN,)
    assert corrections.still([]) == Corrections()


@given(st.lists(other_drifts))
def test_m4_one_pass_with_the_same_difference_in_several_places_is_one_attempt(others: list[Drift]) -> None:
    corrections = Corrections().applied([STUBBORN, *others, STUBBORN], NOW, LONGEST)
    assert corrections.tries[STUBBORN].count == 1
    assert corrections.pause(Drift(part="file-system", field="exists"), NOW) is None


def test_m4_a_clock_that_was_set_back_does_not_hold_a_correction_back() -> None:
    corrections = Corrections().applied([STUBBORN], NOW, LONGEST)
    assert corrections.pause(STUBBORN, NOW) == 1.0
    assert corrections.pause(STUBBORN, NOW - timedelta(hours=2)) is None
