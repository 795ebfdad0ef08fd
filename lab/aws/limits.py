"""AWS's rate limits of ECS, as token buckets: off unless asked for, because they slow down every test. Consulted by `faults.py`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BURST_AND_RATE: Mapping[str, tuple[float, float]] = {
    "task-definition modify": (20, 1),
    "task-definition read": (50, 20),
    "cluster read": (50, 20),
    "cluster-resource modify": (100, 40),
    "cluster-resource read": (100, 20),
}
CATEGORY: Mapping[str, str] = {
    "RegisterTaskDefinition": "task-definition modify",
    "DeregisterTaskDefinition": "task-definition modify",
    "DescribeTaskDefinition": "task-definition read",
    "ListTaskDefinitions": "task-definition read",
    "ListTaskDefinitionFamilies": "task-definition read",
    "DescribeClusters": "cluster read",
    "RunTask": "cluster-resource modify",
    "StopTask": "cluster-resource modify",
    "DescribeTasks": "cluster-resource read",
    "ListTasks": "cluster-resource read",
}


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Limits:
    """All calls of a category share one bucket. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._buckets = {name: _Bucket(burst, now()) for name, (burst, _) in BURST_AND_RATE.items()}

    def allows(self, operation: str) -> bool:
        """Take a token; False: the call is throttled."""
        category = CATEGORY.get(operation)
        if category is None:
            return True
        burst, rate = BURST_AND_RATE[category]
        with self._lock:
            bucket, now = self._buckets[category], self._now()
            bucket.tokens = min(burst, bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
            if bucket.tokens < 1:
                return False
            bucket.tokens -= 1
            return True
