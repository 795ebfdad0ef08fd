"""When passes begin: once everything that exists is in the store and the watches bring what changes. Never on half a view.

A pass that counts the running Builds of a cache, or looks for the other writer of a scope, is wrong with the first page of a list. There is
no patience after which it may be wrong. Namespaces are views of their own: one that may not be listed keeps no other closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from .objects import KindName
from .watches import Watches

logger = logging.getLogger(__name__)

LOOK = 0.05
"""Seconds between looks whether the watches are open."""

LONGEST_PAUSE = 15.0
"""Between lists that are refused: doubled from a second."""

SAID_AFTER = 10.0
"""Seconds after which the log says what is waited for, and again after ten times as long."""


class Gate:
    """Opens and closes namespaces. `read` brings everything of a kind and namespace into the store and tells whether it could."""

    def __init__(
        self,
        watches: Watches,
        namespaces: Iterable[str],
        read: Callable[[KindName, str], Awaitable[bool]],
        open_lanes: Callable[[str], None],
        close_lanes: Callable[[str], None],
    ) -> None:
        self.some_open = asyncio.Event()
        self._watches = watches
        self._namespaces = tuple(namespaces)
        self._closed = set(self._namespaces)
        self._read = read
        self._open_lanes = open_lanes
        self._close_lanes = close_lanes
        self._pauses: dict[str, float] = {}
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        """Open each namespace once its view is whole, close it while it is blind, and open it anew: what was missed is in a new list."""
        loop = asyncio.get_running_loop()
        began, said_after = loop.time(), SAID_AFTER
        while True:
            self._close_blind()
            for namespace in sorted(self._closed):
                if self._watches.is_open(namespace) and loop.time() >= self._not_before.get(namespace, 0.0):
                    await self._try(namespace)
            if self._closed and loop.time() - began > said_after:
                said_after *= 10
                waits = [name or "all namespaces" for name in sorted(self._closed)]
                logger.warning("no passes yet: not everything is listed and watched", extra={"objects_of": waits})
            await asyncio.sleep(LOOK if self._closed else 1.0)

    def _close_blind(self) -> None:
        for namespace in self._namespaces:
            if namespace not in self._closed and not self._watches.sees(namespace):
                where = namespace or "all namespaces"
                logger.warning("no passes while nothing is watched", extra={"objects_of": where})
                self._closed.add(namespace)
                self._close_lanes(namespace)

    async def _try(self, namespace: str) -> None:
        # BuildCaches first: a Build's region is in its cache.
        kinds: tuple[KindName, ...] = ("BuildCache", "Build")
        for kind in kinds:
            if not await self._read(kind, namespace):
                pause = self._pauses[namespace] = min(LONGEST_PAUSE, self._pauses.get(namespace, 0.5) * 2)
                self._not_before[namespace] = asyncio.get_running_loop().time() + pause
                return
        if not self._watches.is_open(namespace):
            return
        self._pauses.pop(namespace, None)
        self._closed.discard(namespace)
        self._open_lanes(namespace)
        self.some_open.set()
