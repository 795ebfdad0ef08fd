"""A circuit breaker for each client, so for each service, region and role: where calls run into their timeouts, one at a time is made.

A call without an answer holds a worker thread for as long as the timeout is; with the circuit open it fails at once. Errors that AWS
answers, throttling among them, never open it: they cost nobody's time.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ConnectTimeoutError, ReadTimeoutError

FAILURES = 3
"""Calls without an answer, one after the other, that open the circuit."""

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until one call is let through: doubled when it gets no answer either."""

LOST = 120.0
"""A trial of which nothing was heard for so long has ended in a way that nobody noted."""


class CircuitOpen(BotoCoreError):
    """AWS was not asked, because it has not answered the calls before this one."""

    fmt = "AWS does not answer; it is tried with one call at a time until it does"


class Breaker:
    """Thread-safe. `before_send` comes before each attempt, `heard` or `unheard` after it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = 0.0
        self._closed_from = 0.0
        """While open: when the next trial may begin."""

    def attach(self, client: Any) -> None:
        """Watch over all calls of a client."""
        events = client.meta.events
        events.register("before-send", self._before_send)
        events.register("needs-retry", self._after_attempt)

    def before_send(self) -> None:
        """Let an attempt through. Raises CircuitOpen."""
        with self._lock:
            if self._failures < FAILURES:
                return
            now = self._now()
            if now < self._closed_from:
                raise CircuitOpen
            # This one is the trial; the others wait for what comes of it.
            self._closed_from = now + LOST

    def heard(self) -> None:
        """An attempt has ended at once, whatever came of it."""
        with self._lock:
            self._failures, self._pause = 0, 0.0

    def unheard(self) -> None:
        """An attempt has run into its timeout."""
        with self._lock:
            self._failures += 1
            if self._failures < FAILURES:
                return
            now = self._now()
            if self._failures == FAILURES or now + self._pause < self._closed_from:
                # It opens, or its trial has failed. What was under way when it opened tells nothing new.
                self._pause = min(max(FIRST_PAUSE, self._pause * 2), LONGEST_PAUSE)
                self._closed_from = now + self._pause

    def _before_send(self, **_: Any) -> None:
        self.before_send()

    def _after_attempt(self, caught_exception: Exception | None = None, **_: Any) -> None:
        if isinstance(caught_exception, ReadTimeoutError | ConnectTimeoutError):
            self.unheard()
        elif not isinstance(caught_exception, CircuitOpen):
            self.heard()
