"""Finished Builds, which are neither watched nor kept in memory: listed now and then, remembered as history, deleted in time.

Nothing waits for a list of them. Runs on the event loop, its lists in a thread; used by `shell.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from buildcache.api.meta import FINISHED_LABEL
from buildcache.core.expiry import expires_at, is_tracked, keep_finished, observed

from .objects import Body, Key, cache_of, identified, identity, is_released, key_of, uid_of
from .retention import Retention
from .store import Store
from .writer import Gone, Refused, Result, Writer, Written

logger = logging.getLogger(__name__)

SHORTEST_INTERVAL, LONGEST_INTERVAL = 300.0, 3600.0
SHARE = 200
"""A list comes again after so many times as it took, within these seconds: half a percent of a core, however many there are."""

LOOK = 5.0
"""Seconds between looks at who is due."""

Hop = Callable[..., Awaitable[Any]]
"""Runs a function in a worker thread."""


class FinishedBuilds:
    """All Builds with the finished label.

    `hidden` is told of those that carry it without being finished, `listed` of each whole list.
    """

    def __init__(
        self,
        store: Store,
        writer: Writer,
        namespaces: tuple[str, ...],
        now: Callable[[], datetime],
        *,
        hidden: Callable[[Key], None],
        listed: Callable[[], None],
    ) -> None:
        self._store = store
        self._writer = writer
        self._namespaces = namespaces
        self._now = now
        self._hidden = hidden
        self._listed = listed
        self._retention = Retention()
        self._limits: dict[Key, int] = {}
        self._wanted = True

    def note(self, build: Body) -> None:
        """Take a Build as a pass has left it."""
        self._retention.note(build)

    def limit(self, key: Key, cache: Body | None) -> None:
        """Take a BuildCache as it is now: with another limit the next list comes soon."""
        most = keep_finished(cache)
        if most == self._limits.get(key):
            return
        if most is None:
            del self._limits[key]
        else:
            self._limits[key] = most
            self._wanted = True

    async def run(self, hop: Hop) -> None:
        """List, and delete what is due, from now on."""
        loop = asyncio.get_running_loop()
        due, pause = loop.time(), 1.0
        while True:
            if self._wanted or loop.time() >= due:
                self._wanted = False
                began = loop.time()
                if await hop(self._list, loop):
                    due, pause = loop.time() + interval(loop.time() - began), 1.0
                else:
                    due, pause = loop.time() + pause, min(SHORTEST_INTERVAL, pause * 2)
            for key, uid in self._retention.take(self._now()):
                match await hop(self._expire, key, uid):
                    case Written(body=body):
                        self._retention.note(body)
                    case Gone():
                        self._retention.gone(uid)
                    case _:
                        self._retention.refused(key, uid, self._now())
            await asyncio.sleep(min(LOOK, max(0.0, due - loop.time())))

    # In a worker thread

    def _list(self, loop: asyncio.AbstractEventLoop) -> bool:
        """List all of them, page by page; tell whether that was possible."""
        kept: dict[Key, list[tuple[str, Key, str]]] = {}
        for page in self._writer.pages("Build", self._namespaces, FINISHED_LABEL):
            if isinstance(page, Refused):
                logger.warning("could not list finished Builds", extra={"error": page.message})
                return False
            for key in self._store.remember(page):
                logger.warning(
                    "a Build carries the finished label but is not finished",
                    extra={"object": identity(key, self._store.get(key))},
                )
                loop.call_soon_threadsafe(self._hidden, key)
            released = [body for body in page if identified(body) and is_released(body)]
            for body in released:
                self._observe(body)
                self._count(body, kept)
            loop.call_soon_threadsafe(self._retention.note_all, released)
        self._store.remembered()
        loop.call_soon_threadsafe(self._take_list, kept)
        return True

    def _observe(self, body: Body) -> None:
        status = observed(body)
        if status is not None:
            answer = self._writer.write_status("Build", body, status)
            if isinstance(answer, Refused):
                logger.warning(
                    "could not write that a change was observed",
                    extra={"object": str(key_of("Build", body)), "error": answer.message},
                )

    def _count(self, body: Body, kept: dict[Key, list[tuple[str, Key, str]]]) -> None:
        cache = cache_of(body)
        if cache is not None and keep_finished(self._store.get(cache)) is not None and not is_tracked(body):
            ended = str((body.get("status") or {}).get("completionTime") or "")
            kept.setdefault(cache, []).append((ended, key_of("Build", body), uid_of(body)))

    def _expire(self, key: Key, uid: str) -> Result:
        """Delete a finished Build whose time is over, after a look at what it is now. Written: it stays for now."""
        result = self._writer.read(key)
        if not isinstance(result, Written):
            return result
        body = result.body
        why = self._why(body, uid)
        if why is None or not is_released(body):
            return result
        answer = self._writer.delete("Build", body)
        if isinstance(answer, Gone):
            logger.info("deleted a finished Build", extra={"object": identity(key, body), "why": why})
        elif isinstance(answer, Refused):
            logger.warning(
                "could not delete a finished Build", extra={"object": identity(key, body), "error": answer.message}
            )
        return answer

    def _why(self, body: Body, uid: str) -> str | None:
        due = expires_at(body)
        if due is not None and due <= self._now():
            return "spec.ttlAfterFinished"
        cache = cache_of(body)
        limited = cache is not None and keep_finished(self._store.get(cache)) is not None
        surplus = limited and uid_of(body) == uid and self._retention.is_surplus(uid) and not is_tracked(body)
        return "limits.keepFinishedBuilds of its BuildCache" if surplus else None

    # On the event loop

    def _take_list(self, kept: dict[Key, list[tuple[str, Key, str]]]) -> None:
        # Only a whole list tells who is beyond the limit: they are not watched, so between two lists some may have gone.
        surplus = [
            (key, uid)
            for cache, builds in kept.items()
            if (most := keep_finished(self._store.get(cache))) is not None
            for _, key, uid in sorted(builds)[:-most]
        ]
        self._retention.beyond(surplus, self._now())
        self._listed()


def interval(took: float) -> float:
    """Seconds until the next list, when the last one took so long."""
    return min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, SHARE * took))
