"""The passes of one kind, some at a time: take a key, make its pass in a thread, decide when it comes again.

Runs on the event loop. A lane's tasks are all made at its start: kopf cancels every task that was born while it ran.
"""

from __future__ import annotations

import asyncio
import collections
import logging
import random
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Protocol

from .metrics import Metrics
from .objects import Key, KindName, identity, version_of
from .passes import Done, Verdict
from .queue import Limits, WorkQueue
from .store import Store
from .supervision import Supervisor

logger = logging.getLogger(__name__)

EVERYWHERE = ""
"""For `Lane.open`: all namespaces."""

LONGEST_REFUSED = 60.0
"""Seconds between tries while the API server does not take our writes, or while a bug is there (F09 and F13)."""


HURRIES = 10
"""Passes in a row that may each ask for another one within a second; after these a second lies between them."""


class MakesPasses(Protocol):
    """What a lane needs of `passes.Passes`."""

    def make(self, key: Key) -> Done:
        """Bring one object a step further; never raises."""
        ...


class Lane:
    """One kind's queue and workers. `settled` hears of every pass that has ended, to wake whom it concerns.

    No more than `limits` of the workers are busy with the keys of one bulkhead. Nothing is worked on before `open`.
    """

    def __init__(
        self,
        kind: KindName,
        passes: MakesPasses,
        *,
        store: Store,
        executor: Executor,
        workers: int,
        limits: Limits,
        bulkhead: Callable[[Key], Hashable],
        metrics: Metrics,
        settled: Callable[[Key, Done], None],
    ) -> None:
        self.kind = kind
        self._passes = passes
        self._store = store
        self._executor = executor
        self._workers = workers
        self._metrics = metrics
        self._settled = settled
        self._open: set[str] = set()
        self._queue: WorkQueue[Key] = WorkQueue(
            random.random,
            limits,
            bulkhead=bulkhead,
            namespace=lambda key: key.namespace,
            is_open=self._is_open,
            age=self._created,
        )
        self._dealt_with: dict[Key, str] = {}
        self._hurries: dict[Key, int] = {}
        self._idle: collections.deque[asyncio.Future[None]] = collections.deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, key: Key, *, urgent: bool = True, forced: bool = False) -> None:
        """Queue a key. Unforced, the pass is skipped when it would see what the last one has left."""
        self._queue.add(key, urgent=urgent, forced=forced)
        self._wake()

    def add_after(self, key: Key, delay: float) -> None:
        """Queue a key for later, unless it comes earlier anyway."""
        self._queue.add_after(key, delay, asyncio.get_running_loop().time())
        self._wake()

    def depth(self) -> int:
        """Return how many keys wait."""
        return self._queue.depth()

    def start(self, supervisor: Supervisor) -> None:
        """Make the workers."""
        self._tasks = [
            supervisor.start(f"{self.kind} worker {number}", self._work, group=f"{self.kind} workers")
            for number in range(self._workers)
        ]

    def open(self, namespace: str) -> None:
        """Let them work on the objects of a namespace, or EVERYWHERE. Before, and after `close`, keys only gather."""
        self._open.add(namespace)
        self._queue.sort()
        self._wake()

    def close(self, namespace: str) -> None:
        """Begin no more passes there; those under way end."""
        self._open.discard(namespace)
        self._queue.sort()

    def _created(self, key: Key) -> str:
        body = self._store.get(key)
        return str(body["metadata"].get("creationTimestamp", "")) if body is not None else ""

    def _is_open(self, key: Key) -> bool:
        return EVERYWHERE in self._open or key.namespace in self._open

    async def stop(self, patience: float) -> bool:
        """Take no more keys and wait for the passes under way; tell whether all of them have ended."""
        self._stopping = True
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        if self._alarm is not None:
            self._alarm.cancel()
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks, timeout=patience)
        for task in pending:
            task.cancel()
        return not pending

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            taken = self._queue.take(loop.time())
            if taken is None:
                await self._sleep()
                continue
            if self._queue.is_ready():
                self._wake()
            key = taken.key
            try:
                if taken.forced or not self._is_dealt_with(key):
                    await self._pass(key)
            except Exception as error:  # a bug beside the pass, which itself never raises: the key must not be lost
                self._metrics.task_failed(f"{self.kind} workers")
                delay = self._queue.retry(key, loop.time(), longest=LONGEST_REFUSED)
                logger.exception(
                    "unhandled error beside a pass; trying again",
                    extra={
                        "object": identity(key, self._store.get(key)),
                        "error": f"{type(error).__name__}: {error}",
                        "seconds": round(delay, 1),
                    },
                )
            finally:
                self._queue.done(key)
            # A burst of keys with nothing to do must not keep the watch from being read.
            await asyncio.sleep(0)

    async def _pass(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        self._queue.cancel(key)
        started = loop.time()
        done = await loop.run_in_executor(self._executor, self._passes.make, key)
        self._metrics.passed(self.kind, done.verdict.value, loop.time() - started)
        if done.body is not None and done.verdict is not Verdict.GONE:
            self._dealt_with[key] = version_of(done.body)
        self._schedule(key, done, loop.time())
        self._settled(key, done)

    def _schedule(self, key: Key, done: Done, now: float) -> None:
        match done.verdict:
            case Verdict.SETTLED:
                self._queue.succeeded(key)
                if done.again_after is None:
                    self._hurries.pop(key, None)
                else:
                    self._queue.add_after(key, self._calm(key, done.again_after), now)
            case Verdict.GONE:
                self._queue.succeeded(key)
                self._dealt_with.pop(key, None)
                if self._store.get(key) is not None:
                    # The name has a new owner, whose event may have come while the old one's pass was running.
                    self._queue.add(key, forced=True)
            case Verdict.FAILED:
                self._queue.retry(key, now)
            case Verdict.BUG:
                self._queue.retry(key, now, longest=LONGEST_REFUSED)
            case Verdict.REFUSED | Verdict.CONFLICT:
                delay = self._queue.retry(key, now, longest=LONGEST_REFUSED, at_least=done.at_least)
                logger.warning(
                    "could not write to Kubernetes; trying again",
                    extra={
                        "object": identity(key, done.body or self._store.get(key)),
                        "error": done.message,
                        "seconds": round(delay, 1),
                    },
                )
        if self._store.get(key) is None:
            # Finished or gone: nothing of it is kept, whatever the pass asked for.
            self._queue.cancel(key)
            self._queue.succeeded(key)
            self._dealt_with.pop(key, None)
            self._hurries.pop(key, None)

    def _calm(self, key: Key, delay: float) -> float:
        # Two rules that undo each other's work would else keep AWS and the API server busy as fast as they answer.
        if delay >= 1.0:
            self._hurries.pop(key, None)
            return delay
        self._hurries[key] = self._hurries.get(key, 0) + 1
        return delay if self._hurries[key] <= HURRIES else 1.0

    def _is_dealt_with(self, key: Key) -> bool:
        body = self._store.get(key)
        if self._store.is_doubted(key):
            return False
        return body is None or self._dealt_with.get(key) == version_of(body)

    async def _sleep(self) -> None:
        # A future of our own instead of an event: one key wakes one worker.
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        self._set_alarm()
        try:
            await idle
        finally:
            if idle in self._idle:
                self._idle.remove(idle)

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                break
        self._set_alarm()

    def _set_alarm(self) -> None:
        # Without an idle worker there is nobody to wake: whoever is done next looks at what is due.
        due = self._queue.next_due() if self._idle else None
        if self._alarm is not None:
            if due is not None and not self._alarm.cancelled() and self._alarm.when() == due:
                return
            self._alarm.cancel()
            self._alarm = None
        if due is not None and not self._stopping:
            self._alarm = asyncio.get_running_loop().call_at(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()
