"""The whole shell in process: kopf, store, queue, workers and writer as shipped, before an API server in memory."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from buildcache import handlers
from buildcache.api.meta import FINALIZER
from buildcache.controller.shell import Shell, threads
from buildcache.controller.store import Store
from buildcache.controller.watches import Watches, watch_paths
from buildcache.controller.writer import Writer, connect
from buildcache.core.build import finished
from buildcache.reconcile.capacity import Capacity
from buildcache.reconcile.outcome import Outcome
from tests.fakes.kube import FakeKube

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
users: [{{name: fake, user: {{token: a-token-for-tests}}}}]
"""


def condition(kind: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": "2026-01-01T10:00:00Z",
        "observedGeneration": 1,
    }


class Passes:
    """A reconciler of tests: holds an object with the finalizer, then does what the test says."""

    def __init__(self, then: Callable[[Mapping[str, Any]], Outcome]) -> None:
        self.then = then
        self.seen: list[Mapping[str, Any]] = []
        self.effects: list[float] = []
        self.at_once: set[str] = set()
        self.refused: set[str] = set()
        """Names of objects that nothing is done for, not even the finalizer."""
        self._lock = threading.Lock()

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        name = body["metadata"]["name"]
        with self._lock:
            assert name not in self.at_once, "two passes of one object at once"
            self.at_once.add(name)
            self.seen.append(body)
        try:
            if name in self.refused:
                return Outcome()
            if FINALIZER not in (body["metadata"].get("finalizers") or []):
                if body["metadata"].get("deletionTimestamp"):
                    return Outcome()
                return Outcome(finalizer="add")
            if body["metadata"].get("deletionTimestamp"):
                return Outcome(finalizer="release")
            self.effects.append(time.monotonic())
            return self.then(body)
        finally:
            with self._lock:
                self.at_once.discard(name)

    def passes_of(self, name: str) -> int:
        return sum(1 for body in self.seen if body["metadata"]["name"] == name)


class Poller:
    """A poller of tests: `news` are UIDs of Builds."""

    def __init__(self) -> None:
        self.news: list[str] = []

    def next_in(self) -> Mapping[str, float]:
        return {"eu-west-1": 0.1} if self.news else {}

    def poll(self, region: str, now: Callable[[], datetime]) -> list[str]:
        news, self.news = self.news, []
        return news


def running(body: Mapping[str, Any]) -> Outcome:
    """A Build that runs and never ends."""
    return Outcome(status={"observedGeneration": 1, "conditions": [condition("Succeeded", "Unknown", "Running")]})


def completed(body: Mapping[str, Any]) -> Outcome:
    """A Build that is done at once."""
    status = {
        "observedGeneration": 1,
        "completionTime": "2026-01-01T10:00:00Z",
        "conditions": [condition("Succeeded", "True", "Completed")],
    }
    return Outcome(status=status, finalizer="release")


def available(body: Mapping[str, Any]) -> Outcome:
    """A BuildCache that is ready."""
    return Outcome(
        status={"observedGeneration": 1, "conditions": [condition("Ready", "True", "Available")]}, again_after=600.0
    )


class Operator:
    """What a test holds while the shell runs."""

    def __init__(self, kube: FakeKube, shell: Shell, caches: Passes, builds: Passes, poller: Poller) -> None:
        self.poller = poller
        self.kube = kube
        self.shell = shell
        self.caches = caches
        self.builds = builds

    async def until(self, what: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Wait until something is true, and return it. The limit is patience with a busy machine, not part of what is tested."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := what():
                return value
            await asyncio.sleep(0.005)
        raise AssertionError("it did not become true in time")

    def reason(self, name: str, plural: str = "builds") -> str:
        body = self.kube.get(plural, name)
        conditions = (body or {}).get("status", {}).get("conditions") or [{}]
        return str(conditions[0].get("reason", ""))

    async def quiet(self, seconds: float = 0.6) -> None:
        """Wait until nothing was written for a while."""
        for _ in range(60):
            count = len(self.kube.writes())
            await asyncio.sleep(seconds)
            if count == len(self.kube.writes()):
                return
        raise AssertionError("the writes do not end")


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with FakeKube().running() as server:
        yield server


Start = Callable[..., "contextlib.AbstractAsyncContextManager[Operator]"]


@pytest.fixture
def start(kube: FakeKube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run the operator for the length of an `async with`."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG.format(url=kube.url))
    # Read from the environment when the package is imported, which another test may have done.
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
    monkeypatch.setattr(handlers, "FIRST_PAUSE", 0.2)

    @contextlib.asynccontextmanager
    async def run(
        builds: Callable[[Mapping[str, Any]], Outcome] = running,
        caches: Callable[[Mapping[str, Any]], Outcome] = available,
        namespaces: tuple[str, ...] = (),
        workers: int = 8,
    ) -> AsyncIterator[Operator]:
        store = Store(finished)
        of_builds, of_caches = Passes(builds), Passes(caches)
        poller = Poller()
        watches = Watches(watch_paths(namespaces), time.monotonic)
        with connect(threads(workers)) as client:
            shell = Shell(
                store=store,
                writer=Writer(client, user_agent=handlers.USER_AGENT),
                watches=watches,
                caches=of_caches,
                builds=of_builds,
                poller=poller,
                capacity=Capacity(),
                namespaces=namespaces,
                workers=workers,
                now=lambda: datetime.now(UTC),
                credentials=lambda: "",
            )
            shell.start()
            stop = asyncio.Event()
            watching = asyncio.create_task(handlers.watch(shell, namespaces, stop))
            try:
                assert await watches.wait(10)
                yield Operator(kube, shell, of_caches, of_builds, poller)
            finally:
                stop.set()
                async with asyncio.timeout(10):
                    await watching
                assert await shell.stop()

    return run
