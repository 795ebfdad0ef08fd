"""Kubernetes Events about condition transitions and drift, for `kubectl describe`. Best effort: no pass waits for one or fails by one.

The name of an Event is a function of what it tells, so a restart or a second try posts none twice. A Build has three at most: that it
waits, that it runs, and how it ended.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from buildcache.api.meta import GROUP, VERSION
from buildcache.core.status import Reason

from .objects import Body, KindName, uid_of
from .writer import Conflict, Refused, Result

logger = logging.getLogger(__name__)

LONGEST_QUEUE = 1000
LONGEST_NOTE = 1024
REFUSED_PAUSE = 30.0
"""Seconds without a try after a refusal: the API server has more important things to do, or RBAC does not allow Events."""

REMEMBERED = 1000
"""Events whose repetitions are counted."""

_WAITS = frozenset(
    {Reason.WAITING_FOR_CACHE, Reason.WAITING_FOR_CAPACITY, Reason.THROTTLED, Reason.RETRYING, Reason.INTERNAL_ERROR}
)
_DRIFT = frozenset({Reason.CORRECTED, Reason.DRIFT_FOUND, Reason.CORRECTION_FAILED})


@dataclass(frozen=True, slots=True)
class Event:
    """What is told of one object."""

    name: str
    regarding: Mapping[str, str]
    reason: str
    note: str
    warning: bool
    repeats: bool
    """Whether it may happen again, which its count then tells."""

    def body(self, at: datetime, instance: str) -> dict[str, Any]:
        """Return the object to post."""
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": self.name, "namespace": self.regarding["namespace"]},
            "eventTime": micro_time(at),
            "reportingController": f"{GROUP}/operator",
            "reportingInstance": instance[:128],
            "action": "Reconcile",
            "reason": self.reason,
            "type": "Warning" if self.warning else "Normal",
            "regarding": dict(self.regarding),
            "note": self.note[:LONGEST_NOTE],
        }


def micro_time(at: datetime) -> str:
    """Return a time as the API's MicroTime."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def events_of(kind: KindName, before: Body, after: Body) -> list[Event]:
    """Compare two states of an object; return what is worth telling. Pure."""
    was, now = _conditions(before), _conditions(after)
    changed = {name: each for name, each in now.items() if _gist(each) != _gist(was.get(name, {}))}
    told: list[Event] = []
    if kind == "Build" and (each := changed.get("Succeeded")) is not None:
        if each["status"] != "Unknown":
            told.append(_event(kind, after, each, "ended", warning=each["status"] == "False", repeats=False))
        elif each["reason"] == Reason.RUNNING:
            told.append(_event(kind, after, each, "runs", warning=False, repeats=False))
        elif each["reason"] in _WAITS:
            told.append(_event(kind, after, each, "waits", warning=True, repeats=False))
    if kind == "BuildCache":
        if (each := changed.get("Ready")) is not None and (was or each["status"] != "Unknown"):
            told.append(_event(kind, after, each, _slot(each), warning=each["status"] == "False", repeats=True))
        drift = now.get("Drifted")
        if drift is not None and drift["reason"] in _DRIFT and drift != was.get("Drifted"):
            bad = drift["reason"] != Reason.CORRECTED
            told.append(_event(kind, after, drift, _slot(drift), warning=bad, repeats=True))
    return told


def _conditions(body: Body) -> dict[str, Mapping[str, str]]:
    return {each["type"]: each for each in (body.get("status") or {}).get("conditions") or ()}


def _gist(condition: Mapping[str, str]) -> tuple[str | None, str | None]:
    return condition.get("status"), condition.get("reason")


def _slot(condition: Mapping[str, str]) -> str:
    return "-".join((condition["type"], condition["status"], condition["reason"], condition.get("message", "")))


def _event(
    kind: KindName, body: Body, condition: Mapping[str, str], slot: str, *, warning: bool, repeats: bool
) -> Event:
    metadata = body["metadata"]
    digest = hashlib.sha256(f"{uid_of(body)} {slot}".encode()).hexdigest()[:16]
    regarding = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": uid_of(body),
    }
    name = f"{metadata['name'][:200].rstrip('.-')}.{digest}"
    return Event(name, regarding, condition["reason"], condition.get("message", ""), warning, repeats)


class Posts(Protocol):
    """What the recorder needs of `writer.Writer`."""

    def post_event(self, body: Mapping[str, Any]) -> Result:
        """Create an Event; a conflict says that it exists."""
        ...

    def repeat_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> Result:
        """Count an Event once more."""
        ...


class Recorder:
    """Takes what happened from any thread, and posts it from a task of its own."""

    def __init__(self, posts: Posts, instance: str) -> None:
        self._posts = posts
        self._instance = instance
        self._queue: collections.deque[tuple[Event, datetime]] = collections.deque(maxlen=LONGEST_QUEUE)
        self._counts: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()

    def changed(self, kind: KindName, before: Body, after: Body, at: datetime) -> None:
        """Note what a status write has changed. With a full queue the oldest is dropped."""
        for event in events_of(kind, before, after):
            self._queue.append((event, at))
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Post what comes, one after the other."""
        self._loop = asyncio.get_running_loop()
        told = ""
        while True:
            while self._queue:
                event, at = self._queue.popleft()
                result = await asyncio.to_thread(self._post, event, at)
                if isinstance(result, Refused):
                    if result.message != told:
                        logger.warning("could not post an Event; it is dropped", extra={"error": result.message})
                        told = result.message
                    await asyncio.sleep(REFUSED_PAUSE)
            self._news.clear()
            if not self._queue:
                await self._news.wait()

    def _post(self, event: Event, at: datetime) -> Result:
        result = self._posts.post_event(event.body(at, self._instance))
        if not isinstance(result, Conflict) or not event.repeats:
            return result
        count = self._counts[event.name] = self._counts.pop(event.name, 1) + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        series = {"count": count, "lastObservedTime": micro_time(at)}
        return self._posts.repeat_event(event.regarding["namespace"], event.name, series)
