"""The API server as the operator's writer sees it, in memory and virtual time: versions, finalizers, pages, and events to the shell."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from buildcache.api.meta import FINALIZER, FINISHED_LABEL
from buildcache.controller.objects import Body, Key, KindName, key_of, uid_of, version_of
from buildcache.controller.patches import hold_patch, release_patch, status_patch, without_nulls
from buildcache.controller.writer import PAGE, Conflict, Gone, Refused, Result, Writer, Written
from buildcache.core.status import timestamp

from .virtual import VirtualLoop, sleep

Seen = Callable[[KindName, str | None, Any], None]


class MemoryKube(Writer):
    """Implements what `controller` asks of its writer. `latency`: of each request, in seconds."""

    def __init__(self, loop: VirtualLoop, *, latency: float = 0.005) -> None:
        self.seen: Seen = lambda kind, event, body: None
        """Where events go, a moment after they have happened."""
        self.refuses_lists = 0
        self.writes = 0
        self._loop = loop
        self._latency = latency
        self._objects: dict[Key, dict[str, Any]] = {}
        self._version = 0

    # What a test does as a user

    def create(self, kind: KindName, body: Mapping[str, Any], *, quiet: bool = False) -> dict[str, Any]:
        """Make an object; `quiet` when it is there before anybody watches."""
        made = copy.deepcopy(dict(body))
        made["metadata"] = {"creationTimestamp": timestamp(self._loop.now()), "labels": {}, **made["metadata"]}
        self._store(kind, made, None if quiet else "ADDED")
        return made

    def get(self, key: Key) -> dict[str, Any] | None:
        return self._objects.get(key)

    def bodies(self, kind: KindName) -> list[dict[str, Any]]:
        return [body for key, body in self._objects.items() if key.kind == kind]

    def change(self, key: Key, edit: Callable[[dict[str, Any]], None]) -> None:
        new = copy.deepcopy(self._objects[key])
        edit(new)
        new["metadata"]["generation"] = new["metadata"].get("generation", 1) + 1
        self._store(key.kind, new, "MODIFIED")

    def delete_as_user(self, key: Key) -> None:
        new = copy.deepcopy(self._objects[key])
        new["metadata"]["deletionTimestamp"] = timestamp(self._loop.now())
        self._store(key.kind, new, "MODIFIED")

    # Writer

    def cluster_version(self) -> Result:
        return Written({"major": "1", "minor": "37"})

    def hold(self, kind: KindName, body: Body) -> Result:
        operations = hold_patch(body)
        return self._apply(kind, body, operations) if operations else Written(body, sent=False)

    def release(self, kind: KindName, body: Body) -> Result:
        operations = release_patch(kind, body)
        return self._apply(kind, body, operations) if operations else Written(body, sent=False)

    def write_status(self, kind: KindName, body: Body, status: Mapping[str, Any]) -> Result:
        if status_patch(body, status) is None:
            return Written(body, sent=False)
        old = self._current(kind, body)
        if not isinstance(old, dict):
            return old
        return self._store(kind, {**old, "status": without_nulls(status)}, "MODIFIED")

    def delete(self, kind: KindName, body: Body) -> Result:
        old = self._current(kind, body)
        if isinstance(old, dict):
            self.delete_as_user(key_of(kind, body))
            return Gone()
        return old

    def read(self, key: Key) -> Result:
        sleep(self._latency)
        body = self._objects.get(key)
        return Gone() if body is None else Written(copy.deepcopy(body))

    def pages(self, kind: KindName, namespaces: tuple[str, ...], selector: str = "") -> Iterator[list[Body] | Refused]:
        if self.refuses_lists:
            self.refuses_lists -= 1
            sleep(self._latency)
            yield Refused("the API server does not list now")
            return
        chosen = sorted(
            key
            for key, body in self._objects.items()
            if key.kind == kind
            and (not namespaces or key.namespace in namespaces)
            and (not selector or selector.startswith("!") != (FINISHED_LABEL in body["metadata"]["labels"]))
        )
        for start in range(0, len(chosen), PAGE):
            sleep(self._latency * 4)
            page: list[Body] = [self._objects[key] for key in chosen[start : start + PAGE] if key in self._objects]
            yield copy.deepcopy(page)

    # What the server does

    def _current(self, kind: KindName, body: Body) -> dict[str, Any] | Conflict | Gone:
        sleep(self._latency)
        self.writes += 1
        old = self._objects.get(key_of(kind, body))
        if old is None or uid_of(old) != uid_of(body):
            return Gone()
        return old if version_of(old) == version_of(body) else Conflict()

    def _apply(self, kind: KindName, body: Body, operations: list[dict[str, Any]]) -> Result:
        old = self._current(kind, body)
        if not isinstance(old, dict):
            return old
        new = copy.deepcopy(old)
        for operation in operations[1:]:
            new["metadata"][operation["path"].rpartition("/")[2]] = operation["value"]
        return self._store(kind, new, "MODIFIED")

    def _store(self, kind: KindName, new: dict[str, Any], event: str | None) -> Written:
        self._version += 1
        new = {**new, "kind": kind, "metadata": {**new["metadata"], "resourceVersion": str(self._version)}}
        key = key_of(kind, new)
        if new["metadata"].get("deletionTimestamp") and FINALIZER not in (new["metadata"].get("finalizers") or ()):
            self._objects.pop(key, None)
            event = "DELETED"
        else:
            self._objects[key] = new
        if event is not None:
            self._loop.call_later(self._latency, self.seen, kind, event, copy.deepcopy(new))
        return Written(copy.deepcopy(new))
