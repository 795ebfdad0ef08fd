"""The newest object of each name, from watch events, from the answers to our own writes, and from lists.

Fed by `handlers.py` on the event loop and by `passes.py` in worker threads, read by the passes as their `View`: every
method takes the lock for microseconds. An older resourceVersion never replaces a newer one, except when a read that
started later shows that time went backwards (etcd restored from a backup, F16).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildcache.core.admission import Line, is_admitted, is_waiting, oldest_first

from .objects import (
    Body,
    Key,
    KindName,
    cache_of,
    identified,
    is_ended,
    is_held,
    is_newer,
    is_released,
    is_terminal,
    key_of,
    pack,
    slim,
    uid_of,
    unpack,
    version_of,
)

if TYPE_CHECKING:
    from buildcache.core.build import Finished

HISTORY = 50
"""Finished Builds remembered for each BuildCache: what `status.efficiency` is computed from."""

_REMEMBERED_GONE = 4096


@dataclass(frozen=True, slots=True)
class _Entry:
    body: Body
    """Without build arguments."""
    arguments: bytes
    """Those, packed."""
    tick: int
    """When it was stored, in the store's own counting; compared with the tick at which a read began."""

    def whole(self) -> Body:
        return unpack(self.body, self.arguments)


class Store:
    """Implements `reconcile.view.View`. `summarise` turns a decided Build into its line of history."""

    def __init__(self, summarise: Callable[[Body], Finished]) -> None:
        self._summarise = summarise
        self._lock = threading.Lock()
        self._tick = 0
        self._entries: dict[Key, _Entry] = {}
        self._keys: dict[str, Key] = {}
        self._undecided: dict[Key, dict[Key, None]] = {}
        # Of these, the ones that were not admitted: kept apart, since they are asked for with each launch.
        self._waiting: dict[Key, dict[Key, None]] = {}
        self._admitted: dict[Key, dict[Key, None]] = {}
        self._history: dict[Key, dict[str, Finished]] = {}
        self._knows_history = False
        # UIDs that ended, newest last: a late event or answer about one of them brings nothing back.
        self._gone: dict[str, None] = {}
        # Keys that left the watch although our finalizer was on the object: only a read can tell why (F61).
        self._doubted: set[Key] = set()

    # What the shell feeds in

    def seen(self, kind: KindName, event_type: str | None, body: object) -> Key | None:
        """Take a watch or list event; return the key when it brought something new, None when it did not."""
        if not identified(body):
            return None
        assert isinstance(body, Mapping)  # noqa: S101 - told to mypy; `identified` has checked it
        key = key_of(kind, body)
        with self._lock:
            self._tick += 1
            if event_type == "DELETED":
                return key if self._left(key, body) else None
            return key if self._put(key, body) else None

    def answered(self, kind: KindName, body: Body) -> None:
        """Take the answer to a write of our own. It may be older than what the watch has brought since."""
        key = key_of(kind, body)
        with self._lock:
            self._tick += 1
            self._put(key, body)

    def begin_read(self) -> int:
        """Return the moment to give to `read`, `repair` and `repaired` with what the API server answers from now on."""
        with self._lock:
            return self._tick

    def read(self, key: Key, body: Body | None, since: int) -> Body | None:
        """Take what a read begun at `since` found under this name; return the newest body known now."""
        with self._lock:
            self._tick += 1
            self._doubted.discard(key)
            entry = self._entries.get(key)
            if entry is None or entry.tick <= since:
                if body is None:
                    self._forget(key)
                else:
                    self._gone.pop(uid_of(body), None)
                    self._put(key, body, force=True)
            elif body is not None:
                self._put(key, body)
            entry = self._entries.get(key)
            return entry.whole() if entry else None

    def repair(self, kind: KindName, page: Iterable[Body], since: int, listed: set[Key]) -> list[Key]:
        """Take a page of a list begun at `since`; return the keys of which the store had missed something.

        The keys of the page are added to `listed`, which `repaired` wants in the end: no body is kept that is known already.
        """
        missed: list[Key] = []
        with self._lock:
            self._tick += 1
            for body in page:
                if not identified(body):
                    continue
                key = key_of(kind, body)
                listed.add(key)
                entry = self._entries.get(key)
                if entry is None:
                    # Absent since before the list began, or ended while it ran: only the first is a lost event.
                    if uid_of(body) not in self._gone and self._put(key, body):
                        missed.append(key)
                elif version_of(entry.body) != version_of(body) and self._put(key, body, force=entry.tick <= since):
                    missed.append(key)
        return missed

    def repaired(self, kind: KindName, namespace: str, listed: set[Key], since: int) -> list[Key]:
        """End a repair with all keys that were listed, in a namespace or everywhere: only a read can tell why others are known."""
        with self._lock:
            self._tick += 1
            missed = [
                key
                for key, entry in self._entries.items()
                if key.kind == kind and namespace in ("", key.namespace) and key not in listed and entry.tick <= since
            ]
            self._doubted.update(missed)
        return missed

    def remember(self, builds: Iterable[Body]) -> list[Key]:
        """Take Builds that carry the finished label; return the keys of those that carry it without being finished."""
        hidden: list[Key] = []
        for body in builds:
            if not identified(body):
                continue
            key = key_of("Build", body)
            # One at a time: there may be thousands, and the watch waits for the lock.
            with self._lock:
                self._tick += 1
                if is_released(body):
                    self._decide(body)
                elif self._put(key, body):
                    hidden.append(key)
        return hidden

    def remembered(self) -> None:
        """Take note that all Builds with the finished label have been given to `remember`."""
        self._knows_history = True

    def forget(self, key: Key, uid: str) -> None:
        """Drop an object of which the API server said that it is gone, unless the name has a newer owner already."""
        with self._lock:
            self._tick += 1
            entry = self._entries.get(key)
            if entry is not None and uid_of(entry.body) == uid:
                self._forget(key)

    # What the shell asks

    def get(self, key: Key) -> Body | None:
        """Return the newest body under this name."""
        with self._lock:
            entry = self._entries.get(key)
        return entry.whole() if entry else None

    def is_doubted(self, key: Key) -> bool:
        """Tell whether only a read can say what became of this object."""
        with self._lock:
            return key in self._doubted

    def key_by_uid(self, uid: str) -> Key | None:
        """Return the key of a known object."""
        with self._lock:
            return self._keys.get(uid)

    def keys(self, kind: KindName) -> list[Key]:
        """Return the keys of all objects of a kind."""
        with self._lock:
            return [key for key in self._entries if key.kind == kind]

    def count(self, kind: KindName) -> int:
        """Return how many objects of a kind are kept."""
        with self._lock:
            return sum(1 for key in self._entries if key.kind == kind)

    # View

    def cache(self, namespace: str, name: str) -> Body | None:
        """Return the newest BuildCache of that name."""
        return self.get(Key("BuildCache", namespace, name))

    def builds_of(self, namespace: str, cache_name: str) -> Sequence[Mapping[str, Any]]:
        """Return the Builds of that cache whose result is not decided, oldest first, without their build arguments."""
        with self._lock:
            keys = self._undecided.get(Key("BuildCache", namespace, cache_name), {})
            bodies = [self._entries[key].body for key in keys]
        return oldest_first(bodies)

    def line_of(self, namespace: str, cache_name: str) -> Line:
        """Return the line of that cache: who was admitted, and who waits."""
        cache = Key("BuildCache", namespace, cache_name)
        with self._lock:
            running = len(self._admitted.get(cache, ()))
            bodies = [self._entries[key].body for key in self._waiting.get(cache, ())]
        return Line(running, tuple(uid_of(body) for body in oldest_first(bodies)))

    def finished_of(self, namespace: str, cache_name: str) -> Sequence[Finished]:
        """Return up to 50 summaries of decided Builds of that cache, newest last."""
        with self._lock:
            return tuple(self._history.get(Key("BuildCache", namespace, cache_name), {}).values())

    def knows_history(self) -> bool:
        """Tell whether `finished_of` knows what was before this process began."""
        return self._knows_history

    # Inside, with the lock held

    def _put(self, key: Key, body: Body, *, force: bool = False) -> bool:
        uid = uid_of(body)
        if uid in self._gone:
            return False
        if key.kind == "Build" and is_terminal(body):
            self._decide(body)
        if is_ended(body) or (key.kind == "Build" and is_released(body)):
            self._end(uid)
            if self._keys.get(uid) == key:
                self._forget(key)
            return False
        entry = self._entries.get(key)
        if entry is not None and not force and not is_newer(body, than=entry.body):
            return False
        if entry is not None and uid_of(entry.body) != uid:
            self._forget(key)
        self._doubted.discard(key)
        rest, arguments = pack(body)
        self._entries[key] = _Entry(slim(rest), arguments, self._tick)
        self._keys[uid] = key
        self._index(key, body)
        return True

    def _left(self, key: Key, body: Body) -> bool:
        entry = self._entries.get(key)
        if entry is None or uid_of(entry.body) != uid_of(body):
            return False
        if is_held(body):
            # Out of the watch but not out of the world: somebody set the label, or our own release is being answered
            # right now. Keep the object until a read has told.
            self._doubted.add(key)
            return True
        self._forget(key)
        self._end(uid_of(body))
        return True

    def _index(self, key: Key, body: Body) -> None:
        cache = cache_of(body) if key.kind == "Build" else None
        if cache is None:
            return
        undecided = not is_terminal(body)
        _file(self._undecided, cache, key, undecided)
        _file(self._admitted, cache, key, undecided and is_admitted(body))
        _file(self._waiting, cache, key, undecided and is_waiting(body))

    def _unindex(self, key: Key, cache: Key) -> None:
        for index in (self._undecided, self._admitted, self._waiting):
            _file(index, cache, key, False)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        self._doubted.discard(key)
        if entry is None:
            return
        self._keys.pop(uid_of(entry.body), None)
        if key.kind == "BuildCache":
            self._history.pop(key, None)
        elif (cache := cache_of(entry.body)) is not None:
            self._unindex(key, cache)

    def _end(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > _REMEMBERED_GONE:
            del self._gone[next(iter(self._gone))]

    def _decide(self, build: Body) -> None:
        cache = cache_of(build)
        if cache is None:
            return
        history = self._history.setdefault(cache, {})
        uid = uid_of(build)
        try:
            history[uid] = self._summarise(build)
        except ValueError:
            # A status that no model reads, forged or of another version: no history is better than no operator.
            return
        newest = sorted(history.items(), key=lambda item: item[1].completed_at)[-HISTORY:]
        self._history[cache] = dict(newest)


def _file(index: dict[Key, dict[Key, None]], cache: Key, key: Key, there: bool) -> None:
    """Put a key into an index or take it out; one that is in it keeps its place."""
    if there:
        index.setdefault(cache, {})[key] = None
    elif (keys := index.get(cache)) is not None:
        keys.pop(key, None)
        if not keys:
            del index[cache]
