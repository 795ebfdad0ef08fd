"""The time that passes are given: UTC that a jump of this machine's clock does not reach.

Deadlines are times of day, as their beginnings are read from objects and from AWS. A clock that is set two hours ahead would end
every Build that runs. So the wall clock is followed only as far as it goes at the pace of the monotonic one; when it departs, the API
server's clock decides: it is right after a machine has slept, and wrong after a mistake.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

logger = logging.getLogger(__name__)

TOLERANCE = timedelta(seconds=30)
"""What clocks may differ by before it counts. NTP slews less than this in a day."""


def utc() -> datetime:
    """Read the wall clock."""
    return datetime.now(UTC)  # noqa: TID251 - the one reader of it


class Clock:
    """Thread-safe."""

    def __init__(self, wall: Callable[[], datetime] = utc, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._from = wall(), monotonic()
        self._distrusted = False

    def now(self) -> datetime:
        """Return the wall clock's time, or what it would be without a jump that nothing confirms."""
        with self._lock:
            wall, expected = self._wall(), self._expected()
            departed = abs(wall - expected) > TOLERANCE
            if departed and not self._distrusted:
                logger.warning(
                    "the clock of this machine jumped; going on by the monotonic clock until the API server confirms it",
                    extra={"seconds": round((wall - expected).total_seconds())},
                )
            self._distrusted = departed
            if departed:
                return expected
            self._from = wall, self._monotonic()
            return wall

    def told(self, date: datetime) -> None:
        """Take the API server's time, from an answer that has just come."""
        with self._lock:
            wall = self._wall()
            if abs(wall - date) <= TOLERANCE < abs(self._expected() - date):
                logger.warning("the API server confirms the clock of this machine; following it again")
                self._from = wall, self._monotonic()
                self._distrusted = False

    def _expected(self) -> datetime:
        wall, monotonic = self._from
        return wall + timedelta(seconds=self._monotonic() - monotonic)
