"""Corrections that have no effect: which actions are asked for again although AWS has accepted them, and when to repeat them. Pure.

A difference that is gone at the next look was corrected, and is forgotten. One that is still there is corrected again after a pause that
doubles each time: a loop at the pace of AWS's answers would use up the rate limits of the account.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from buildcache.api.cache_status import Drift

FIRST_PAUSE = timedelta(seconds=1)
INEFFECTIVE = 3
"""So many times a correction is carried out before it counts as ineffective: what AWS has just changed may not be visible everywhere."""


@dataclass(frozen=True, slots=True)
class Try:
    """How often a difference was corrected in a row, and until when the next attempt waits."""

    count: int
    due: datetime


@dataclass(frozen=True, slots=True)
class Corrections:
    """The differences that the last pass corrected. Kept in memory only: losing it costs some early attempts."""

    tries: Mapping[Drift, Try] = field(default_factory=dict)

    def still(self, differences: Iterable[Drift]) -> "Corrections":
        """Forget the differences that are gone."""
        kept = set(differences)
        return Corrections({each: found for each, found in self.tries.items() if each in kept})

    def pause(self, difference: Drift, now: datetime) -> float | None:
        """Return the seconds until the next attempt, or None when it may be made now."""
        found = self.tries.get(difference)
        # A clock that was set back does not make the pause longer than it was.
        if found is None or not found.due - _pause(found.count) <= now < found.due:
            return None
        return (found.due - now).total_seconds()

    def applied(self, differences: Iterable[Drift], now: datetime, longest: float) -> "Corrections":
        """Note one more attempt for each; the pause after it is at most `longest` seconds."""
        tries = dict(self.tries)
        for each in frozenset(differences):
            count = self.tries[each].count + 1 if each in self.tries else 1
            tries[each] = Try(count, now + min(_pause(count), timedelta(seconds=longest)))
        return Corrections(tries)

    def ineffective(self) -> tuple[Drift, ...]:
        """Return the differences that remain after several attempts."""
        return tuple(each for each, found in self.tries.items() if found.count >= INEFFECTIVE)


def _pause(count: int) -> timedelta:
    return FIRST_PAUSE * (1 << min(count - 1, 20))
