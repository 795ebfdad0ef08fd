"""Everything between kopf and the passes, put together: who is told what, and what happens by the clock.

All of it runs on the event loop, except what it sends to worker threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from buildcache.api.meta import FINISHED_LABEL, VERSION
from buildcache.core import scope
from buildcache.core.admission import concurrency, next_up
from buildcache.core.cluster_version import complaint
from buildcache.core.expiry import expires_at
from buildcache.core.status import Reason
from buildcache.reconcile.outcome import Reconciler

from .health import Health
from .metrics import Metrics
from .objects import PLURALS, Body, Key, KindName, cache_of, condition_of, identified, is_released, is_terminal
from .passes import Done, Passes
from .retention import Retention
from .store import Store
from .supervision import Supervisor
from .watches import Watches
from .worker import Lane
from .writer import UNFINISHED, Gone, Refused, Result, Writer, Written

logger = logging.getLogger(__name__)

WATCH_PATIENCE = 10.0
"""Seconds that passes wait for the first watches: without, a restart with many objects delays new Builds."""

HISTORY_PATIENCE = 60.0
REPAIR_INTERVAL = 600.0

RETENTION_LIST, RETENTION_LOOK = 300.0, 5.0
"""Seconds between lists of the finished Builds, whose `ttlAfterFinished` may have been changed; and between looks at who is due."""

QUEUE_DELAY = 5.0
"""Seconds after which a BuildCache is looked at when one of its Builds moved: one pass for a burst, not one for each."""

EXIT_PATIENCE = 5.0

GUARD_LOOK = 5.0
"""Seconds between looks at whether the watches are stuck."""

VERSION_UNKNOWN = 30.0
"""Seconds until the API server, which did not tell its version, is asked again."""

CREDENTIALS_MISSING, CREDENTIALS_FOUND = 10.0, 60.0
"""Seconds between looks at the operator's own AWS credentials. A look at good ones makes no call."""


EXTRA_THREADS = 2

POLLER_REST = 1.0
"""Seconds between the questions whether there is a task to follow."""


class Polls(Protocol):
    """What the shell needs of `reconcile.poller.Poller`."""

    def next_in(self) -> float | None:
        """Return the seconds until the next poll, None when there is nothing to follow."""
        ...

    def poll(self, now: datetime) -> list[str]:
        """Look at the tasks; return the UIDs of the Builds with news."""
        ...


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
        namespaces: tuple[str, ...],
        workers: int,
        now: Callable[[], datetime],
        credentials: Callable[[], str],
    ) -> None:
        self.watches = watches
        self.health = Health()
        self.metrics = Metrics()
        self._supervisor = Supervisor(self.metrics)
        self._store = store
        self._writer = writer
        self._poller = poller
        self._now = now
        self._credentials = credentials
        self._namespaces = namespaces
        # A lane of its own for each kind: slow AWS answers for caches never use up the workers of Builds. Threads for
        # all of both, one for lists and one for the poller.
        for_caches = max(1, workers // 4)
        self._executor = ThreadPoolExecutor(workers + EXTRA_THREADS, thread_name_prefix="pass")

        for_builds = max(1, workers - for_caches)

        def lane(
            kind: KindName, reconciler: Reconciler, size: int, routine: int, settled: Callable[[Key, Done], None]
        ) -> Lane:
            passes = Passes(kind, reconciler, store=store, writer=writer, now=now)
            made = Lane(
                kind,
                passes,
                store=store,
                executor=self._executor,
                workers=size,
                routine=routine,
                metrics=self.metrics,
                settled=settled,
            )
            self.metrics.show_depth(kind, made.depth)
            self.metrics.show_objects(kind, lambda: store.count(kind))
            self.metrics.show_watches(kind, lambda: watches.open_count(PLURALS[kind]))
            return made

        self.caches = lane("BuildCache", caches, for_caches, for_caches, self._cache_settled)
        # A poll finds hundreds of tasks changed at once: a Build that comes meanwhile must find a worker.
        self.builds = lane("Build", builds, for_builds, max(1, for_builds // 3), self._build_settled)
        self._retention = Retention()
        self._shown: dict[Key, _Shown] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
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
            self._tell_builds(key, None if event_type == "DELETED" else body)
        elif event_type == "DELETED":
            self._tell_cache(body)
            self._wake_next(body)

    # Its life

    def start(self, give_up: Callable[[], None] = lambda: None) -> None:
        """Make all tasks; must be called before kopf starts, which cancels those that are made while it runs.

        `give_up` is called when a new process is the better hope.
        """
        self._loop = asyncio.get_running_loop()
        self.builds.start(self._supervisor)
        self.caches.start(self._supervisor)
        loops = {
            "start": self._begin,
            "repair list": self._repair,
            "poller": self._poll,
            "expiry": self._expire,
            "credentials": self._check_credentials,
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
        return all(ended)

    def problems(self) -> list[str]:
        """Return a line for each background task that does not do its work."""
        return self._supervisor.problems()

    async def _guard(self, give_up: Callable[[], None]) -> None:
        """Give up when a watch stays closed for minutes although the API server answers and serves our kinds.

        Not while the API server is away: a new process would find the same, and kubelet would wait longer before each start.
        """
        while True:
            await asyncio.sleep(GUARD_LOOK)
            if self.watches.is_stuck() and await asyncio.to_thread(self._writer.missing_kinds) == ():
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

    async def _begin(self) -> None:
        if not await self.watches.wait(WATCH_PATIENCE):
            logger.warning("not every watch is open yet; passes begin without", extra={"seconds": WATCH_PATIENCE})
        self.builds.open()
        # BuildCaches count the last finished Builds in their status: without these the first pass would write less.
        try:
            async with asyncio.timeout(HISTORY_PATIENCE):
                await self._load_history()
        except TimeoutError:
            logger.warning("finished Builds are not listed yet; BuildCaches show what is known")
        self.caches.open()

    async def _load_history(self) -> None:
        delay = 1.0
        while not await self._hop(self._list_finished):
            await asyncio.sleep(delay)
            delay = min(30.0, delay * 2)

    def _list_finished(self) -> bool:
        for page in self._writer.pages("Build", self._namespaces, FINISHED_LABEL):
            if isinstance(page, Refused):
                logger.warning("could not list finished Builds", extra={"error": page.message})
                return False
            for key in self._store.remember(page):
                logger.warning("a Build carries the finished label but is not finished", extra={"object": str(key)})
                self._from_thread(self.builds, key)
            self._note_finished(page)
        return True

    def _note_finished(self, builds: list[Body]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._retention.note_all, [body for body in builds if identified(body)])

    async def _expire(self) -> None:
        listed = self._loop.time() if self._loop is not None else 0.0
        while True:
            await asyncio.sleep(RETENTION_LOOK)
            loop = asyncio.get_running_loop()
            if loop.time() - listed >= RETENTION_LIST:
                listed = loop.time()
                await self._hop(self._list_finished)
            for key, uid in self._retention.take(self._now()):
                match await self._hop(self._expire_one, key):
                    case Written(body=body):
                        self._retention.note(body)
                    case Gone():
                        self._retention.gone(uid)
                    case _:
                        self._retention.refused(key, uid, self._now())

    def _expire_one(self, key: Key) -> Result:
        """Delete a finished Build whose time is over, after a look at what it is now. Written: it stays for now."""
        result = self._writer.read(key)
        if not isinstance(result, Written):
            return result
        due = expires_at(result.body)
        if due is None or due > self._now() or not is_released(result.body):
            return result
        answer = self._writer.delete("Build", result.body)
        if isinstance(answer, Gone):
            logger.info("deleted a finished Build", extra={"object": str(key), "why": "spec.ttlAfterFinished"})
        elif isinstance(answer, Refused):
            logger.warning("could not delete a finished Build", extra={"object": str(key), "error": answer.message})
        return answer

    async def _repair(self) -> None:
        while True:
            await asyncio.sleep(REPAIR_INTERVAL)
            for kind in ("BuildCache", "Build"):
                await self._hop(self._repair_kind, kind)

    def _repair_kind(self, kind: KindName) -> None:
        since = self._store.begin_read()
        bodies: list[Body] = []
        for page in self._writer.pages(kind, self._namespaces, UNFINISHED if kind == "Build" else ""):
            if isinstance(page, Refused):
                logger.warning("could not list for repair", extra={"kind": kind, "error": page.message})
                return
            bodies.extend(page)
        for key in self._store.repaired(kind, bodies, since):
            self._from_thread(self.caches if kind == "BuildCache" else self.builds, key)

    async def _poll(self) -> None:
        while True:
            pause = self._poller.next_in()
            await asyncio.sleep(POLLER_REST if pause is None else pause)
            if pause is None:
                continue
            try:
                changed = await self._hop(self._poller.poll, self._now())
            except Exception:  # a bug in what reads ECS: Builds would be followed no more if it ended the loop
                logger.exception("the poller failed; it goes on")
                continue
            for uid in changed:
                self._poke(uid, urgent=False)

    async def _hop(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)

    def _from_thread(self, lane: Lane, key: Key) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: lane.add(key, urgent=False))

    # Who must look again when something else has changed

    def _poke(self, uid: str, *, urgent: bool) -> None:
        """Look at a Build that something else than itself has news for."""
        key = self._store.key_by_uid(uid)
        if key is not None:
            self.builds.add(key, urgent=urgent, forced=True)

    def _build_settled(self, key: Key, done: Done) -> None:
        if done.changed and done.body is not None:
            self._retention.note(done.body)
            self._tell_cache(done.body, now=_waits_for_cache(done.body))
            if is_terminal(done.body) or self._store.get(key) is None:
                self._wake_next(done.body)

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
