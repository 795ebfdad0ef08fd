"""What the operator counts about itself. No object's name is a label, so the number of series is constant (H22)."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """One operator's numbers, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._passes = Counter(
            "buildcache_passes", "Passes by kind and how they ended.", ("kind", "verdict"), registry=self.registry
        )
        self._seconds = Histogram(
            "buildcache_pass_seconds",
            "Time of one pass with its writes.",
            ("kind",),
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self._depth = Gauge(
            "buildcache_queue_depth", "Objects waiting for a worker.", ("kind",), registry=self.registry
        )
        self._objects = Gauge(
            "buildcache_objects", "Objects kept in memory: finished Builds are not.", ("kind",), registry=self.registry
        )
        self._watches = Gauge("buildcache_watches_open", "Open watches.", ("kind",), registry=self.registry)
        self._failures = Counter(
            "buildcache_background_task_failures",
            "Background tasks that ended with an error and were started again.",
            ("loop",),
            registry=self.registry,
        )

    def supervise(self, task: str) -> None:
        """Show a background task's counter from its start on."""
        self._failures.labels(task)

    def task_failed(self, task: str) -> None:
        """Count one failure of a background task."""
        self._failures.labels(task).inc()

    def show_watches(self, kind: str, read: Callable[[], float]) -> None:
        """Read the number of open watches when it is asked for."""
        self._watches.labels(kind).set_function(read)

    def passed(self, kind: str, verdict: str, seconds: float) -> None:
        """Count one pass."""
        self._passes.labels(kind, verdict).inc()
        self._seconds.labels(kind).observe(seconds)

    def show_depth(self, kind: str, read: Callable[[], float]) -> None:
        """Read a queue's depth whenever somebody asks."""
        self._depth.labels(kind).set_function(read)

    def show_objects(self, kind: str, read: Callable[[], float]) -> None:
        """Read the number of objects whenever somebody asks."""
        self._objects.labels(kind).set_function(read)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
