"""Background tasks that survive their own bugs: an error is logged and counted, and the task starts anew after a pause.

The restart happens inside of the same asyncio task: kopf cancels every task that was born while it ran.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from .metrics import Metrics

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0

WELL_AFTER = 2 * LONGEST_PAUSE
"""Seconds after which a task that was started again counts as well."""

ILL_AFTER = 600.0
"""Seconds for which a task may fail again and again before the process counts as unhealthy: a new one is the last remedy."""


class Supervisor:
    """Runs tasks on the event loop; `problems` may be asked from any thread."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._began: dict[str, float] = {}
        self._failing_since: dict[str, float] = {}

    def start(self, name: str, body: Callable[[], Awaitable[None]], *, group: str = "") -> asyncio.Task[None]:
        """Make a task of `body`; it is over when that returns. Tasks of one `group` are counted together."""
        self._metrics.supervise(group or name)
        task = asyncio.create_task(self._run(name, body, group or name), name=name)
        self._tasks[name] = task
        return task

    def problems(self) -> list[str]:
        """Return a line for each task that is dead or has failed again and again for minutes."""
        now = self._clock()
        dead = [
            f"the task {name!r} has ended with an error" for name, task in self._tasks.copy().items() if _died(task)
        ]
        ill = [
            f"the task {name!r} has been failing for {now - since:.0f} s"
            for name, since in self._failing_since.copy().items()
            if now - since > ILL_AFTER and now - self._began[name] < WELL_AFTER
        ]
        return dead + ill

    async def _run(self, name: str, body: Callable[[], Awaitable[None]], group: str) -> None:
        pause = FIRST_PAUSE
        while True:
            began = self._began[name] = self._clock()
            try:
                await body()
            except (
                Exception
            ) as error:  # a bug, or an answer that no code foresees; without this the task would be gone unseen
                if self._clock() - began >= WELL_AFTER:
                    pause = FIRST_PAUSE
                    self._failing_since.pop(name, None)
                self._failing_since.setdefault(name, began)
                self._metrics.task_failed(group)
                logger.exception(
                    "a background task failed; starting it again",
                    extra={"task": name, "error": f"{type(error).__name__}: {error}", "seconds": pause},
                )
            else:
                self._failing_since.pop(name, None)
                return
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 2)


def _died(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None
