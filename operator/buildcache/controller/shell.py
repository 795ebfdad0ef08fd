"""Everything between kopf and the passes, put together: who is told what, and what happens by the clock.

All of it runs on the event loop, except what it sends to worker threads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from buildcache.api.meta import VERSION
from buildcache.core import scope
from buildcache.core.admission import concurrency, next_up
from buildcache.core.cluster_version import complaint
from buildcache.core.status import Reason
from buildcache.reconcile.capacity import Capacity
from buildcache.reconcile.outcome import Reconciler

from . import repair
from .events import Recorder
from .finished import FinishedBuilds
from .gate import Gate
from .health import Health
from .metrics import Metrics
from .objects import PLURALS, Body, Key, KindName, cache_of, condition_of, is_terminal, uid_of
from .passes import Done, Passes
from .polling import Polling, Polls
from .queue import Limits
from .repair import Repair
from .store import Store
from .supervision import Supervisor
from .watches import Watches
from .worker import EVERYWHERE, Lane
from .writer import Refused, Writer, Written

logger = logging.getLogger(__name__)

QUEUE_DELAY = 5.0
"""Seconds after which a BuildCache is looked at when one of its Builds moved: one pass for a burst, not one for each."""

EXIT_PATIENCE = 5.0

GUARD_LOOK = 5.0
"""Seconds between looks at whether the watches are stuck."""

ANSWERS_FOR = 60.0
"""Seconds for which the API server must answer while they are: longer than any pause before a watch is opened again."""

VERSION_UNKNOWN = 30.0
"""Seconds until the API server, which did not tell its version, is asked again."""

CREDENTIALS_MISSING, CREDENTIALS_FOUND = 10.0, 60.0
"""Seconds between looks at the operator's own AWS credentials. A look at good ones makes no call."""


BULKHEADS = 3
"""Threads for so many times the workers of one bulkhead: two regions that hang take none from a third until their circuits are open."""

EXTRA_THREADS = 2
"""For lists."""


def threads(workers: int) -> int:
    """Return how many passes and lists run at once in all, when `workers` may in one region."""
    return workers * BULKHEADS + EXTRA_THREADS


class Shell:
    """One operator's store, lanes and periodic work."""

    def __init__(
        self,
        *,
        store: Store,
        writer: Writer,
        watches: Watches,
        caches: Reconciler,
        builds: Reconciler,
        poller: Polls,
        capacity: Capacity,
        namespaces: tuple[str, ...],
        workers: int,
        now: Callable[[], datetime],
        credentials: Callable[[], str],
    ) -> None:
        self.watches = watches
        self.health = Health()
        self.metrics = Metrics()
        self._supervisor = Supervisor(self.metrics)
        self._events = Recorder(writer, socket.gethostname())
        self._store = store
        self._writer = writer
        self._polling = Polling(poller, now, self._polled)
        self._capacity = capacity
        self._now = now
        self._credentials = credentials
        self._namespaces = namespaces
        # A lane of its own for each kind: slow AWS answers for caches never use up the workers of Builds.
        for_caches = max(1, workers // 4)
        for_builds = max(1, workers - for_caches)
        self._executor = ThreadPoolExecutor(threads(workers), thread_name_prefix="pass")

        def lane(kind: KindName, reconciler: Reconciler, limits: Limits, settled: Callable[[Key, Done], None]) -> Lane:
            passes = Passes(kind, reconciler, store=store, writer=writer, now=now, changed=self._events.changed)
            made = Lane(
                kind,
                passes,
                store=store,
                executor=self._executor,
                workers=limits.working * BULKHEADS,
                limits=limits,
                bulkhead=self._bulkhead,
                metrics=self.metrics,
                settled=settled,
            )
            self.metrics.show_depth(kind, made.depth)
            self.metrics.show_objects(kind, lambda: store.count(kind))
            self.metrics.show_watches(kind, lambda: watches.open_count(PLURALS[kind]))
            return made

        self.caches = lane("BuildCache", caches, Limits(for_caches, for_caches), self._cache_settled)
        # A poll finds hundreds of tasks changed at once: a Build that comes meanwhile must find a worker.
        self.builds = lane("Build", builds, Limits(for_builds, max(1, for_builds // 3)), self._build_settled)
        self._gate = Gate(watches, namespaces or (EVERYWHERE,), self._read, self._open, self._close)
        self._repair = Repair(store, writer)
        self._finished = FinishedBuilds(
            store,
            writer,
            namespaces,
            now,
            hidden=lambda key: self.builds.add(key, urgent=False),
            listed=self._history_listed,
        )
        self._shown: dict[Key, _Shown] = {}
        self._loops: list[asyncio.Task[None]] = []

    # Told from outside

    def seen(self, kind: KindName, event_type: str | None, body: Any) -> None:
        """Take an event of the watch or of kopf's first list. Costs microseconds: kopf's loop waits for it."""
        key = self._store.seen(kind, event_type, body)
        if key is None:
            return
        lane = self.caches if kind == "BuildCache" else self.builds
        lane.add(key, urgent=event_type is not None)
        if kind == "BuildCache":
            shown = None if event_type == "DELETED" else body
            self._tell_builds(key, shown)
            self._finished.limit(key, shown)
        elif event_type == "DELETED":
            self._tell_cache(body)
            self._wake_next(body)
            self._capacity.left(uid_of(body), self._now())
            self._wake_refused()

    # Its life

    def start(self, give_up: Callable[[], None] = lambda: None) -> None:
        """Make all tasks; must be called before kopf starts, which cancels those that are made while it runs.

        `give_up` is called when a new process is the better hope.
        """
        self.builds.start(self._supervisor)
        self.caches.start(self._supervisor)
        loops = {
            "gate": self._gate.run,
            "repair list": self._repairs,
            "poller": self._polling.run,
            "finished Builds": self._finish,
            "credentials": self._check_credentials,
            "events": self._events.run,
            "cluster version": self._check_version,
            "watch guard": lambda: self._guard(give_up),
        }
        self._loops = [self._supervisor.start(name, body) for name, body in loops.items()]

    async def stop(self) -> bool:
        """End: no new passes; the running ones get some seconds. Tells whether all of them have ended."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        ended = await asyncio.gather(self.builds.stop(EXIT_PATIENCE), self.caches.stop(EXIT_PATIENCE))
        self._executor.shutdown(wait=False, cancel_futures=True)
        return self._polling.stop() and all(ended)

    def problems(self) -> list[str]:
        """Return a line for each background task that does not do its work."""
        return self._supervisor.problems()

    async def _guard(self, give_up: Callable[[], None]) -> None:
        """Give up when a watch stays closed for minutes although the API server answers and serves our kinds all the while.

        Not while the API server is away, nor when it has just come back: a new process would find the same, and kubelet would wait
        longer before each start.
        """
        loop = asyncio.get_running_loop()
        answers_since: float | None = None
        while True:
            await asyncio.sleep(GUARD_LOOK)
            if not self.watches.is_stuck() or await asyncio.to_thread(self._writer.missing_kinds) != ():
                answers_since = None
                continue
            if answers_since is None:
                answers_since = loop.time()
            if loop.time() - answers_since > ANSWERS_FOR:
                logger.error("the API server answers, but a watch stays closed; ending, so that a new process tries")
                give_up()

    async def has_kinds(self) -> bool:
        """Tell whether our CRDs are there to be watched; /readyz names those that are not."""
        missing = await asyncio.to_thread(self._writer.missing_kinds)
        if isinstance(missing, Refused):
            # Not known. Whoever asks finds out.
            return True
        self.health.report(
            "crds",
            f"the CRDs {' and '.join(missing)} in version {VERSION} are not installed: apply those of this release"
            " (kubectl apply -k crds/); they are found within seconds"
            if missing
            else "",
        )
        return not missing

    async def _check_credentials(self) -> None:
        while True:
            problem = await asyncio.to_thread(self._credentials)
            self.health.report("aws", problem)
            await asyncio.sleep(CREDENTIALS_MISSING if problem else CREDENTIALS_FOUND)

    async def _check_version(self) -> None:
        while True:
            match await asyncio.to_thread(self._writer.cluster_version):
                case Written(body=version):
                    if said := complaint(version):
                        self.health.remark(said)
                    return
                case _:
                    await asyncio.sleep(VERSION_UNKNOWN)

    def _open(self, namespace: str) -> None:
        self.builds.open(namespace)
        self.caches.open(namespace)

    def _close(self, namespace: str) -> None:
        self.builds.close(namespace)
        self.caches.close(namespace)

    async def _read(self, kind: KindName, namespace: str) -> bool:
        """Bring everything of a kind and namespace into the store; tell whether it could be listed."""
        missed: list[Key] | None = await self._hop(self._repair.make, kind, namespace)
        for key in missed or ():
            (self.caches if kind == "BuildCache" else self.builds).add(key, urgent=False)
        return missed is not None

    async def _repairs(self) -> None:
        kinds: tuple[KindName, ...] = ("BuildCache", "Build")
        while True:
            await asyncio.sleep(repair.INTERVAL)
            for kind in kinds:
                for namespace in self._namespaces or (EVERYWHERE,):
                    await self._read(kind, namespace)

    async def _finish(self) -> None:
        # Not before passes begin: a list of thousands would take the core from them.
        await self._gate.some_open.wait()
        await self._finished.run(self._hop)

    def _history_listed(self) -> None:
        for key in self._store.keys("BuildCache"):
            self.caches.add(key, urgent=False, forced=True)

    async def _hop(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    # Who must look again when something else has changed

    def _poke(self, uid: str, *, urgent: bool) -> None:
        """Look at a Build that something else than itself has news for."""
        key = self._store.key_by_uid(uid)
        if key is not None:
            self.builds.add(key, urgent=urgent, forced=True)

    def _build_settled(self, key: Key, done: Done) -> None:
        if done.changed and done.body is not None:
            self._finished.note(done.body)
            self._tell_cache(done.body, now=_waits_for_cache(done.body))
            if is_terminal(done.body) or self._store.get(key) is None:
                self._wake_next(done.body)
                self._capacity.left(uid_of(done.body), self._now())
        self._wake_refused()

    def _polled(self, uids: list[str]) -> None:
        for uid in uids:
            self._poke(uid, urgent=False)
        self._wake_refused()

    def _wake_refused(self) -> None:
        """Look at the Builds that ECS had no room for and may have now."""
        for uid in self._capacity.woken():
            self._poke(uid, urgent=True)

    def _bulkhead(self, key: Key) -> Hashable:
        """Where in AWS an object is worked on. None: nowhere yet, its BuildCache is not known.

        Once there are roles to assume, they are a part of it, as they have limits and failures of their own.
        """
        cache: Key | None = key
        if key.kind == "Build":
            build = self._store.get(key)
            cache = None if build is None else cache_of(build)
        body = None if cache is None else self._store.get(cache)
        region = (body.get("spec") or {}).get("region") if body is not None else None
        return region if isinstance(region, str) else None

    def _cache_settled(self, key: Key, done: Done) -> None:
        self._tell_builds(key, self._store.get(key))

    def _tell_cache(self, build: Body, *, now: bool = False) -> None:
        """Look at the BuildCache for its numbers, soon; `now`: because the Build waits for something of it."""
        cache = cache_of(build)
        if cache is None or self._store.get(cache) is None:
            return
        if now:
            self.caches.add(cache, forced=True)
        else:
            self.caches.add_after(cache, QUEUE_DELAY)

    def _wake_next(self, ended: Body) -> None:
        """Look at the Builds that there is room for, now that one has ended or gone."""
        cache = cache_of(ended)
        if cache is None:
            return
        seen, body = self._store.line_of(cache.namespace, cache.name), self._store.get(cache)
        if not seen.waiting:
            return
        if scope.has_file_system(body):
            seen = scope.with_held_up(seen, body, self._store.builds_of(cache.namespace, cache.name), self._now())
        for uid in next_up(seen, concurrency(body)):
            self._poke(uid, urgent=True)

    def _tell_builds(self, key: Key, cache: Body | None) -> None:
        shown, before = _shown(cache), self._shown.get(key)
        if before == shown:
            return
        if shown is None:
            self._shown.pop(key, None)
        else:
            self._shown[key] = shown
        # Access points come and go with the Builds that need them, which is news for those that wait for one only.
        only_parts = before is not None and shown is not None and before.rest == shown.rest
        for build in self._store.builds_of(key.namespace, key.name):
            if only_parts and not _waits_for_cache(build):
                continue
            metadata = build["metadata"]
            self.builds.add(Key("Build", metadata["namespace"], metadata["name"]), urgent=False, forced=True)


@dataclass(frozen=True, slots=True)
class _Shown:
    """Of a BuildCache what its Builds wait for."""

    rest: object
    """Another spec, a deletion, another condition."""
    parts: object


def _shown(cache: Body | None) -> _Shown | None:
    if cache is None:
        return None
    metadata, status = cache["metadata"], cache.get("status") or {}
    conditions = status.get("conditions") or ()
    rest = (
        metadata["uid"],
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        tuple((item.get("type"), item.get("status"), item.get("reason")) for item in conditions),
    )
    return _Shown(
        rest, tuple((item.get("name"), item.get("id"), item.get("state")) for item in status.get("parts") or ())
    )


def _waits_for_cache(build: Body) -> bool:
    succeeded = condition_of(build, "Succeeded")
    return succeeded is not None and succeeded[1] == Reason.WAITING_FOR_CACHE
