"""A rate that AWS allows, kept on our side: what would be throttled is not asked for, and nobody sees an error."""

import threading
import time
from collections.abc import Callable

from .errors import NotYet


class Pace:
    """A token bucket. Thread-safe."""

    def __init__(self, burst: float, per_second: float, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._rate = per_second
        self._what = what
        self._now = now
        self._lock = threading.Lock()
        self._tokens = burst
        self._at = now()

    def take(self) -> None:
        """Take a token. Raises NotYet when there is none: later passes take it."""
        with self._lock:
            now = self._now()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                raise NotYet(f"{self._what}, and others are before this one")
            self._tokens -= 1
