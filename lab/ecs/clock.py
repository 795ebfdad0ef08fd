"""One thread and a heap of due actions: what lets thousands of waiting tasks cost nothing. Used by `agent.py` and `simulated.py`."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Clock:
    """Runs actions when they are due, one after the other; actions must be short."""

    def __init__(self, name: str) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` after `seconds`; actions due at one moment run in the order they were given."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))
            self._changed.notify()

    def close(self) -> None:
        """Run nothing more."""
        with self._changed:
            self._closed = True
            self._due.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                if self._closed:
                    return
                _, _, action = heapq.heappop(self._due)
            try:
                action()
            except Exception:
                # One bad task must not stop the clock of all others; the lab's log shows it.
                logger.exception("an action of the lab's ECS failed")
