"""A token bucket: how many calls may be made now, and when the others may. Pure.

The clock is an argument, and the caller's lock protects the state.

AWS limits an account, not this operator: these rates stay below its limits, so that the account's other users have a share.
"""

from __future__ import annotations

from datetime import datetime, timedelta

_FORGOTTEN = timedelta(seconds=60)
"""A turn that was not taken for so long after it had come is nobody's any more."""

_ENOUGH = 1 - 1e-9
"""Of a token: sums of fractions are never quite one."""


class Bucket:
    """`per_second` calls in the long run, up to `burst` at once."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._rate = per_second
        self._burst = burst
        self._tokens = burst
        self._filled: datetime | None = None
        # Who waits for a turn, by tenant, each with the time that it was told; the tenant whose turn is next is the first.
        self._waiting: dict[str, dict[str, datetime]] = {}

    def take(self, now: datetime) -> bool:
        """Make a call now, if one is free."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """The call of which it was the turn was not made after all."""
        self._tokens = min(self._burst, self._tokens + 1)

    def reserve(self, key: str, now: datetime, tenant: str = "") -> float:
        """Return 0 when the call of `key` may be made now, else the seconds until its turn: ask again then.

        The tenants take turns, and those of one are in the order in which they first asked. So a turn may come later than was said, when
        another tenant has come since, but never later than if that one had been there from the beginning.
        """
        self._fill(now)
        before = self._before(key, tenant)
        missing = before + 1 - self._tokens
        if missing <= 1 - _ENOUGH:
            self._tokens -= 1
            mine = self._waiting.pop(tenant, {})
            mine.pop(key, None)
            if mine:
                self._waiting[tenant] = mine
            return 0.0
        wait = missing / self._rate
        self._waiting.setdefault(tenant, {})[key] = now + timedelta(seconds=wait)
        return wait

    def _before(self, key: str, tenant: str) -> int:
        """How many calls come before that of `key`."""
        mine = self._waiting.get(tenant, {})
        place = next((number for number, each in enumerate(mine) if each == key), len(mine))
        before, earlier = place, 1
        for name, keys in self._waiting.items():
            if name == tenant:
                earlier = 0
            else:
                # As many as there are rounds before ours, and one more of those that come before us in each.
                before += min(len(keys), place + earlier)
        return before

    def _fill(self, now: datetime) -> None:
        passed = (now - self._filled).total_seconds() if self._filled is not None else 0.0
        if passed < 0:
            # The clock was set back: nothing is known of the time between.
            self._waiting.clear()
        self._filled = now
        self._tokens = min(self._burst, self._tokens + max(0.0, passed) * self._rate)
        for tenant, keys in list(self._waiting.items()):
            for key, due in list(keys.items()):
                if now - due < _FORGOTTEN:
                    break
                del keys[key]
            if not keys:
                del self._waiting[tenant]
