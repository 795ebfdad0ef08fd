"""The record of every AWS request that arrived, in order: the control surface's `GET /calls`. Filled by `faults.py`."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from lab.aws.operations import Operation


class CallLog:
    """Numbered entries, the newest `limit` of them. Thread-safe."""

    def __init__(self, limit: int = 200_000) -> None:
        self._lock = threading.Lock()
        self._entries: deque[dict[str, Any]] = deque(maxlen=limit)
        self._next = 0

    def arrived(self, operation: Operation) -> dict[str, Any]:
        """Enter a request; its status is filled in by `answered`."""
        with self._lock:
            entry = {
                "n": self._next,
                "service": operation.service,
                "operation": operation.name,
                "region": operation.region,
                "mutating": operation.mutating,
                "status": None,
                "at": time.time(),
            }
            self._next += 1
            self._entries.append(entry)
            return entry

    def answered(self, entry: dict[str, Any], status: int | None) -> None:
        """Fill in the HTTP status; None for a request whose connection was dropped."""
        with self._lock:
            entry["status"] = status

    def since(self, number: int) -> dict[str, Any]:
        """Return the entries numbered `number` and up, and the number after the last one."""
        with self._lock:
            newest: list[dict[str, Any]] = []
            for entry in reversed(self._entries):
                if entry["n"] < number:
                    break
                newest.append(dict(entry))
            return {"next": self._next, "calls": newest[::-1]}
