"""The state of each watch: open, closed and since when, refused and why. kopf does not tell, so its HTTP session reports here.

An open stream that has gone silent is closed by kopf itself after 70 s without an event or bookmark, so what is known here lags
behind the truth by that much at most.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from buildcache.api.meta import GROUP, VERSION

from .objects import PLURALS

logger = logging.getLogger(__name__)

BLIND_AFTER = 20.0
"""Seconds without a watch after which no pass is made in its namespace: what a pass would act on may be long changed or deleted."""

UNREADY_AFTER = 70.0
GIVE_UP_AFTER = 300.0

STILL_REFUSED = 120.0
"""Seconds for which a refusal explains why a watch is closed. It is tried again more often than that."""


def watch_paths(namespaces: Iterable[str]) -> frozenset[str]:
    """Return the URL path of every watch that must be open."""
    return frozenset(path for namespace in tuple(namespaces) or ("",) for path in _paths_of(namespace))


def _paths_of(namespace: str) -> tuple[str, ...]:
    scope = f"/namespaces/{namespace}" if namespace else ""
    return tuple(f"/apis/{GROUP}/{VERSION}{scope}/{plural}" for plural in PLURALS.values())


def namespace_of(path: str) -> str:
    """Return the namespace that a watch is for, or an empty text for all of them."""
    return path.partition("/namespaces/")[2].partition("/")[0]


@dataclass(slots=True)
class _Watch:
    closed_since: float | None
    was_open: bool = False
    why: str = ""
    """Why it could not be opened, the last time it was tried."""
    refused_at: float | None = None
    """When the API server last answered that it must not be."""


class Watches:
    """Used on the event loop only; what answers probes may be asked from anywhere."""

    def __init__(
        self, paths: frozenset[str], clock: Callable[[], float], dated: Callable[[datetime], None] = lambda date: None
    ) -> None:
        self._clock = clock
        self.dated = dated
        """Hears the API server's time with each of its answers."""
        self._watches = {path: _Watch(clock()) for path in sorted(paths)}
        self._settled = asyncio.Event()

    # What the HTTP session reports

    def opened(self, path: str) -> None:
        """The API server has answered a watch request."""
        watch = self._watches.get(path)
        if watch is None:
            return
        if watch.why:
            logger.info("watching again", extra={"path": path})
        watch.closed_since, watch.was_open, watch.why, watch.refused_at = None, True, "", None
        self._settle()

    def closed(self, path: str) -> None:
        """A watch is asked for, so the one before it has ended."""
        watch = self._watches.get(path)
        if watch is not None and watch.closed_since is None:
            watch.closed_since = self._clock()

    def failed(self, path: str, why: str, *, refused: bool = False) -> None:
        """The request for a list or watch got no usable answer; `refused`: the API server has said no."""
        if self._note(path, why, refused=refused):
            logger.warning("cannot watch; trying again", extra={"path": path, "error": why})

    def all_failed(self, why: str) -> None:
        """Nothing can be watched, for one reason."""
        if any([self._note(path, why) for path in self._watches]):
            logger.warning("cannot watch; trying again", extra={"error": why})

    def _note(self, path: str, why: str, *, refused: bool = False) -> bool:
        watch = self._watches.get(path)
        if watch is None:
            return False
        self.closed(path)
        if refused:
            watch.refused_at = self._clock()
            self._settle()
        changed, watch.why = watch.why != why, why
        return changed

    def _settle(self) -> None:
        if all(watch.was_open or watch.refused_at is not None for watch in self._watches.values()):
            self._settled.set()

    def close_all(self) -> None:
        """Everything that watches has ended."""
        for path in self._watches:
            self.closed(path)

    def knows(self, path: str) -> bool:
        """Tell whether a list or watch at this path is one of ours."""
        return path in self._watches

    # What follows from it

    def is_open(self, namespace: str) -> bool:
        """Tell whether the watches of a namespace are open now; of all namespaces, when it is empty."""
        return all(self._watches[path].closed_since is None for path in _paths_of(namespace))

    async def wait(self, patience: float) -> bool:
        """Wait until each watch was open once or is refused, but not for ever; tell whether that is so."""
        try:
            async with asyncio.timeout(patience):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    def sees(self, namespace: str) -> bool:
        """Tell whether what happens in a namespace is known, so that passes may be made there."""
        paths = _paths_of(namespace) if _paths_of(namespace)[0] in self._watches else _paths_of("")
        return all(self._is_open(watch, BLIND_AFTER) for path in paths if (watch := self._watches.get(path)))

    def open_count(self, plural: str) -> int:
        """Return how many watches of a kind are open."""
        return sum(path.endswith(f"/{plural}") and watch.closed_since is None for path, watch in self._watches.items())

    def readiness(self) -> tuple[bool, str]:
        """Return whether the operator does its work, and what it cannot watch, a line each.

        It does when at least one namespace is watched and each other one is refused by the API server: that is for an
        administrator to solve, and no reason to count the others out.
        """
        shut = {path: watch for path, watch in self._watches.items() if not self._is_open(watch, UNREADY_AFTER)}
        blind = {namespace_of(path) for path in shut}
        sees_some = any(namespace_of(path) not in blind for path in self._watches)
        explained = all(self._is_refused(watch) for watch in shut.values())
        return sees_some and explained, "".join(self._line(path, watch) for path, watch in shut.items())

    def is_stuck(self) -> bool:
        """Tell whether a watch has been closed for minutes although the API server does not refuse it."""
        return any(
            watch.closed_since is not None
            and self._clock() - watch.closed_since > GIVE_UP_AFTER
            and not self._is_refused(watch)
            for watch in self._watches.values()
        )

    def _is_open(self, watch: _Watch, patience: float) -> bool:
        since = watch.closed_since
        return watch.was_open and (since is None or self._clock() - since < patience)

    def _is_refused(self, watch: _Watch) -> bool:
        return watch.refused_at is not None and self._clock() - watch.refused_at < STILL_REFUSED

    def _line(self, path: str, watch: _Watch) -> str:
        where = f"namespace {namespace_of(path)}" if namespace_of(path) else "all namespaces"
        seconds = self._clock() - (watch.closed_since or self._clock())
        why = f": {watch.why}" if watch.why else ""
        return f"{path.rpartition('/')[2]} of {where} not watched for {seconds:.0f} s{why}\n"
