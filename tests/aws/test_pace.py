"""What the operator does not ask for, so that AWS need not refuse it."""

import pytest

from buildcache.aws.errors import NotYet
from buildcache.aws.pace import Pace


def test_f36_a_burst_and_then_one_a_second() -> None:
    clock = [0.0]
    pace = Pace(2, 1, "ECS takes one a second", now=lambda: clock[0])
    pace.take()
    pace.take()
    with pytest.raises(NotYet, match="ECS takes one a second"):
        pace.take()
    clock[0] = 1.0
    pace.take()
    with pytest.raises(NotYet):
        pace.take()
    clock[0] = 100.0
    pace.take()
    pace.take()
    with pytest.raises(NotYet):
        pace.take()
