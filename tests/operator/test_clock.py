"""The time that passes are given: a jump of the machine's clock reaches them only when the API server confirms it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from buildcache.controller.clock import TOLERANCE, Clock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Machine:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.off = timedelta()
        self.clock = Clock(self.wall, lambda: self.passed)

    def wall(self) -> datetime:
        return NOON + timedelta(seconds=self.passed) + self.off

    def true(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)


def test_c15_a_jump_of_two_hours_reaches_no_pass() -> None:
    machine = Machine()
    machine.passed = 100
    assert machine.clock.now() == machine.true()
    machine.off = timedelta(hours=2)
    for _ in range(50):
        machine.passed += 60
        assert machine.clock.now() == machine.true()
        machine.clock.told(machine.true())
    machine.off = timedelta()
    machine.passed += 60
    assert machine.clock.now() == machine.true()


def test_c15_a_machine_that_slept_is_right_when_the_api_server_says_so() -> None:
    machine = Machine()
    machine.clock.now()
    machine.off = timedelta(hours=8)
    assert machine.clock.now() == machine.true()
    machine.clock.told(machine.wall().replace(microsecond=0))
    assert machine.clock.now() == machine.wall()
    machine.passed += 3600
    assert machine.clock.now() == machine.wall()


def test_c15_a_clock_that_is_slewed_is_followed() -> None:
    machine = Machine()
    for _ in range(1000):
        machine.passed += 60
        machine.off += timedelta(milliseconds=30)
        assert machine.clock.now() == machine.wall()


@given(st.lists(st.tuples(st.floats(0, 7200), st.floats(-1e6, 1e6)), max_size=30))
def test_c15_without_a_confirmation_time_never_moves_further_than_it_passes(steps: list[tuple[float, float]]) -> None:
    machine = Machine()
    before = machine.clock.now()
    for seconds, off in steps:
        machine.passed += seconds
        machine.off = timedelta(seconds=off)
        now = machine.clock.now()
        assert abs(now - before - timedelta(seconds=seconds)) <= TOLERANCE + timedelta(milliseconds=1)
        before = now
