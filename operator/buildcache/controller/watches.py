"""Whether the watches are open. kopf does not tell, so `handlers.py` reports the requests of its HTTP session here.

An open stream that has gone silent is closed by kopf itself after 70 s without an event or bookmark, so "no open watch"
lags behind the truth by that much at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from buildcache.api.meta import GROUP, VERSION

from .objects import PLURALS

UNREADY_AFTER = 70.0
GIVE_UP_AFTER = 300.0


def watch_paths(namespaces: Iterable[str]) -> frozenset[str]:
    """Return the URL path of every watch that must be open."""
    scopes = [f"/namespaces/{namespace}" for namespace in namespaces] or [""]
    return frozenset(f"/apis/{GROUP}/{VERSION}{scope}/{plural}" for scope in scopes for plural in PLURALS.values())


class Watches:
    """Used on the event loop only; `silence` may be asked from anywhere."""

    def __init__(self, paths: frozenset[str], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._paths = paths
        self._closed_since = dict.fromkeys(paths, clock())
        self._all_open = asyncio.Event()

    def opened(self, path: str) -> None:
        """The API server has answered a watch request."""
        if self._closed_since.pop(path, None) is not None and not self._closed_since:
            self._all_open.set()

    def closed(self, path: str) -> None:
        """A watch is asked for, so the one before it has ended."""
        if path in self._paths:
            self._closed_since.setdefault(path, self._clock())

    def close_all(self) -> None:
        """Everything that watches has ended."""
        for path in self._paths:
            self.closed(path)

    def is_open(self, namespace: str) -> bool:
        """Tell whether the watches of a namespace are open; of all namespaces, when it is empty."""
        return not watch_paths((namespace,) if namespace else ()) & self._closed_since.keys()

    async def wait(self, patience: float) -> bool:
        """Wait until each watch was open once, but not for ever; tell whether they were."""
        try:
            async with asyncio.timeout(patience):
                await self._all_open.wait()
        except TimeoutError:
            return False
        return True

    @property
    def were_open(self) -> bool:
        """Whether each of them was open at least once."""
        return self._all_open.is_set()

    def silence(self) -> float:
        """Return for how many seconds some watch has not been open; 0 while all are."""
        return self._clock() - min(self._closed_since.values(), default=self._clock())
