"""A token bucket: how many calls may be made now, and when the others may. Pure.

The clock is an argument, and the caller's lock protects the state.

AWS limits an account, not this operator: these rates stay below its limits, so that the account's other users have a share.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_FORGOTTEN = timedelta(seconds=60)
"""A turn that was not taken for so long is nobody's any more."""


class Bucket:
    """`per_second` calls in the long run, up to `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate = per_second
        self._burst = burst
        self._tokens = burst
        self._filled: datetime | None = None
        self._promised: dict[str, datetime] = {}

    def take(self, now: datetime) -> bool:
        """Make a call now, if one is free."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, key: str, now: datetime) -> float:
        """Return 0 when the call of `key` may be made now, else the seconds until its turn: ask again then.

        Turns are given in the order in which they were first asked for.
        """
        due = self._promised.get(key)
        if due is not None and due - now <= timedelta(seconds=(len(self._promised) + 1) / self._rate):
            if now < due:
                return (due - now).total_seconds()
            del self._promised[key]
            return 0.0
        # A turn further away than all turns together means that the clock was set back.
        self._fill(now)
        self._tokens -= 1
        if self._tokens >= 0:
            self._promised.pop(key, None)
            return 0.0
        wait = -self._tokens / self._rate
        self._promised[key] = now + timedelta(seconds=wait)
        return wait

    def _fill(self, now: datetime) -> None:
        passed = (now - self._filled).total_seconds() if self._filled is not None else 0.0
        if self._filled is not None and passed < 0:
            # The clock was set back: nothing is known of the time between.
            self._tokens = min(self._burst, max(0.0, self._tokens))
            self._promised.clear()
        self._filled = now
        self._tokens = min(self._burst, self._tokens + max(0.0, passed) * self._rate)
        for key, due in list(self._promised.items()):
            if now - due < _FORGOTTEN:
                break
            del self._promised[key]
