"""When the tasks of which region are looked at: each region by itself, so that one that does not answer delays no other.

Runs on the event loop; a poll runs in a thread of its own. Used by `shell.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

logger = logging.getLogger(__name__)

REST = 1.0
"""Seconds between the questions which regions have tasks to follow."""

MOST_REGIONS = 40
"""Polls at once; a region beyond that waits for another one's end. AWS has fewer."""


class Polls(Protocol):
    """What is needed of `reconcile.poller.Poller`."""

    def next_in(self) -> Mapping[str, float]:
        """Return the seconds from the end of one poll to the next, for each region with tasks to follow."""
        ...

    def poll(self, region: str, now: Callable[[], datetime]) -> list[str]:
        """Look at the tasks of a region; return the UIDs of the Builds with news."""
        ...


class Polling:
    """One poll at a time for each region. `news` is called on the event loop after each of them."""

    def __init__(self, poller: Polls, now: Callable[[], datetime], news: Callable[[list[str]], None]) -> None:
        self._poller = poller
        self._now = now
        self._news = news
        self._executor = ThreadPoolExecutor(MOST_REGIONS, thread_name_prefix="poll")
        self._under_way: set[str] = set()
        self._ended: dict[str, float] = {}

    async def run(self) -> None:
        """Poll each region whenever it is due."""
        loop = asyncio.get_running_loop()
        while True:
            pauses = self._poller.next_in()
            self._ended = {region: at for region, at in self._ended.items() if region in pauses}
            rest = REST
            for region, pause in pauses.items():
                if region in self._under_way:
                    continue
                due = self._ended.setdefault(region, loop.time()) + pause - loop.time()
                if due <= 0:
                    self._start(region)
                else:
                    rest = min(rest, due)
            await asyncio.sleep(rest)

    def stop(self) -> bool:
        """Begin no more; tell whether none is under way, as one that waits for AWS cannot be ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        return not self._under_way

    def _start(self, region: str) -> None:
        self._under_way.add(region)
        # A future and not a task: kopf cancels the tasks that were made while it ran.
        polled = asyncio.get_running_loop().run_in_executor(self._executor, self._poller.poll, region, self._now)
        polled.add_done_callback(lambda done: self._took(region, done))

    def _took(self, region: str, done: asyncio.Future[list[str]]) -> None:
        self._under_way.discard(region)
        self._ended[region] = done.get_loop().time()
        if done.cancelled():
            return
        if (error := done.exception()) is not None:
            # A bug in what reads ECS: the Builds of the region would be followed no more if it ended here.
            logger.error(
                "the poller failed; it goes on", extra={"region": region, "error": repr(error)}, exc_info=error
            )
            return
        self._news(done.result())
