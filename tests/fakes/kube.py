"""A small Kubernetes API server in memory: discovery, list in pages, watch, get, both kinds of patch, for our two kinds.

It does what a real one does where the operator relies on it: resourceVersion counts up over all objects and is tested by
patches, a status patch changes only the status and another patch never does, deletion waits for finalizers, and a watch
with a selector shows an object that leaves the selection as DELETED. It runs on a thread of its own.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

EVENTS = "/apis/events.k8s.io/v1/"
GROUP = "/apis/buildcache.dev/v1alpha1"
PLURALS = {"buildcaches": "BuildCache", "builds": "Build"}
MAIN_PATCHES = {"application/json-patch+json", "application/merge-patch+json"}


@dataclass
class Fault:
    """What happens to the next requests that match: a status code, `html` (a proxy's page), or `lost` (effect without answer)."""

    method: str
    path_end: str
    answer: int | str
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One request that arrived, without discovery."""

    method: str
    path: str
    query: dict[str, str]
    agent: str
    status: int
    at: float


class FakeKube:
    """Start with `running()`; all methods may be called from any thread."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lists_slowly = 0.0
        self.has_crds = True
        self.answers: dict[str, dict[str, Any]] = {}
        """What is answered otherwise, by path, of all that is not about our objects."""
        self.is_away = False
        self.keeps_watches_waiting = False
        """The request for a watch gets no answer."""
        self.rejects_credentials = False
        self.events: dict[tuple[str, str], dict[str, Any]] = {}
        self.events_answer = 201
        self.events_refused = 0
        self.arrived = 0
        """All requests, discovery too."""
        self._lock = threading.RLock()
        self._version = 100
        self._objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._watchers: list[tuple[str, str, str, asyncio.Queue[dict[str, Any] | None]]] = []
        self._loop = asyncio.new_event_loop()
        self.url = ""

    # What a test does as a user

    def create(self, plural: str, name: str, namespace: str = "team-a", **body: Any) -> dict[str, Any]:
        with self._lock:
            metadata = {
                "labels": {},
                **body.pop("metadata", {}),
                "name": name,
                "namespace": namespace,
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "creationTimestamp": "2026-01-01T10:00:00Z",
                "managedFields": [{"manager": "test"}],
            }
            created = {"apiVersion": "buildcache.dev/v1alpha1", "kind": PLURALS[plural], "metadata": metadata, **body}
            created.setdefault("status", {"observedGeneration": -1})
            self._store(plural, created, None)
            return copy.deepcopy(created)

    def get(self, plural: str, name: str, namespace: str = "team-a") -> dict[str, Any] | None:
        with self._lock:
            return copy.deepcopy(self._objects.get((plural, namespace, name)))

    def change(
        self,
        plural: str,
        name: str,
        edit: Callable[[dict[str, Any]], None],
        namespace: str = "team-a",
        silent: bool = False,
    ) -> None:
        """Edit as another client would; `silent` keeps it from the watches."""
        with self._lock:
            old = self._objects[plural, namespace, name]
            new = copy.deepcopy(old)
            edit(new)
            self._store(plural, new, old, silent=silent)

    def delete(self, plural: str, name: str, namespace: str = "team-a") -> None:
        with self._lock:
            old = self._objects[plural, namespace, name]
            new = copy.deepcopy(old)
            new["metadata"]["deletionTimestamp"] = "2026-01-01T11:00:00Z"
            self._store(plural, new, old)

    def fail(
        self, method: str, path_end: str, answer: int | str, times: int = 1, headers: dict[str, str] | None = None
    ) -> None:
        with self._lock:
            self.faults.append(Fault(method, path_end, answer, times, headers or {}))

    def writes(self) -> list[Request]:
        with self._lock:
            return [request for request in self.requests if request.method != "GET"]

    def send(self, plural: str, event: dict[str, Any] | None) -> None:
        """Put an event into the open watches as it is; None closes them."""
        for watched, _, _, queue in list(self._watchers):
            if watched == plural:
                self._loop.call_soon_threadsafe(queue.put_nowait, event)

    def leave(self) -> None:
        """Close all watches and answer nothing any more, until `is_away` is False again."""
        self.is_away = True
        for plural in PLURALS:
            self.send(plural, None)

    def watching(self, plural: str) -> int:
        return sum(1 for watched, *_ in self._watchers if watched == plural)

    @contextmanager
    def running(self) -> Iterator[FakeKube]:
        started = threading.Event()

        async def serve() -> web.AppRunner:
            application = web.Application(client_max_size=16 * 1024 * 1024)
            application.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(application, shutdown_timeout=0.2)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return runner

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            runner = self._loop.run_until_complete(serve())
            started.set()
            self._loop.run_forever()
            for _, _, _, queue in self._watchers:
                queue.put_nowait(None)
            self._loop.run_until_complete(runner.cleanup())
            self._loop.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(10)

    # What the server does

    def _store(self, plural: str, new: dict[str, Any], old: dict[str, Any] | None, *, silent: bool = False) -> None:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        if old is not None and new.get("spec") != old.get("spec"):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        key = (plural, new["metadata"]["namespace"], new["metadata"]["name"])
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            # As a real one: the last state that was stored, with its finalizers, is what the event shows.
            self._objects.pop(key, None)
            gone = copy.deepcopy(old or new)
            gone["metadata"]["resourceVersion"] = str(self._version)
            self._tell(plural, "DELETED", gone, gone, silent)
            return
        self._objects[key] = new
        self._tell(plural, "ADDED" if old is None else "MODIFIED", new, old, silent)

    def _tell(self, plural: str, kind: str, new: dict[str, Any], old: dict[str, Any] | None, silent: bool) -> None:
        if silent:
            return
        for watched, namespace, selector, queue in list(self._watchers):
            if watched != plural or (namespace and namespace != new["metadata"]["namespace"]):
                continue
            is_in = _selected(new, selector)
            was_in = old is not None and _selected(old, selector)
            event = None
            if kind == "DELETED":
                event = ("DELETED", new) if is_in else None
            elif is_in:
                event = ("MODIFIED" if was_in else "ADDED", new)
            elif was_in and old is not None:
                left = copy.deepcopy(old)
                left["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"]
                event = ("DELETED", left)
            if event:
                message = {"type": event[0], "object": copy.deepcopy(event[1])}
                self._loop.call_soon_threadsafe(queue.put_nowait, message)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.arrived += 1
        if self.is_away:
            assert request.transport is not None
            request.transport.close()
        if self.rejects_credentials:
            return _status(401, "Unauthorized", {})
        if request.path.startswith(EVENTS):
            return await self._event(request)
        if not request.path.startswith(GROUP + "/"):
            path = request.path.rstrip("/")
            found = {**_discovery(path, self.has_crds), **self.answers.get(path, {})}
            return web.json_response(found, status=found.get("code", 200))
        if not self.has_crds:
            self._note(request, 404)
            return web.Response(status=404, text="404 page not found\n")
        body = json.loads(await request.text() or "null")
        fault = self._strike(request)
        if fault is not None and fault.answer == "html":
            return web.Response(text="<html>please log in</html>", content_type="text/html")
        if fault is not None and isinstance(fault.answer, int):
            self._note(request, fault.answer)
            return _status(fault.answer, "injected", fault.headers)
        if request.query.get("watch") == "true":
            while self.keeps_watches_waiting:  # noqa: ASYNC110 - set by a test, from another thread
                await asyncio.sleep(0.05)
            self._note(request, 200)
            return await self._watch(request)
        if self.lists_slowly and request.method == "GET":
            await asyncio.sleep(self.lists_slowly)
        with self._lock:
            status, answer = self._answer(request, body)
        self._note(request, status)
        if fault is not None and fault.answer == "lost":
            assert request.transport is not None
            request.transport.close()
        return web.json_response(answer, status=status)

    async def _event(self, request: web.Request) -> web.Response:
        """Events are not in `requests`: what they do is in `events`, and they are no write to an object of ours."""
        body = await request.json()
        if self.events_answer != 201:
            self.events_refused += 1
            return _status(self.events_answer, "events is forbidden", {})
        with self._lock:
            if request.method == "POST":
                name = (body["metadata"]["namespace"], body["metadata"]["name"])
                if name in self.events:
                    return web.json_response(_failure(409, "AlreadyExists", "exists"), status=409)
                self.events[name] = body
                return web.json_response(body, status=201)
            assert request.method == "PATCH"
            _, namespace, _, event = request.path.removeprefix(EVENTS).split("/")
            self.events[namespace, event] |= body
            return web.json_response(self.events[namespace, event])

    def told(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The Events about one object."""
        with self._lock:
            of = [copy.deepcopy(each) for each in self.events.values()]
        return [each for each in of if (each["regarding"]["kind"], each["regarding"]["name"]) == (kind, name)]

    def _strike(self, request: web.Request) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times and request.method == fault.method and request.path.endswith(fault.path_end):
                    fault.times -= 1
                    return fault
        return None

    def _note(self, request: web.Request, status: int) -> None:
        with self._lock:
            agent = request.headers.get("User-Agent", "")
            self.requests.append(
                Request(request.method, request.path, dict(request.query), agent, status, time.monotonic())
            )

    def _answer(self, request: web.Request, body: Any) -> tuple[int, Any]:
        namespace, plural, name, subresource = _parts(request.path)
        if not name:
            return 200, self._list(plural, namespace, request.query)
        old = self._objects.get((plural, namespace, name))
        if old is None:
            return 404, _failure(404, "NotFound", f"{plural} {name!r} not found")
        if request.method == "GET":
            return 200, copy.deepcopy(old)
        if request.method == "DELETE":
            return self._delete(plural, old, (body or {}).get("preconditions") or {})
        assert request.method == "PATCH", request.method
        assert request.content_type in MAIN_PATCHES, request.content_type
        new = copy.deepcopy(old)
        if request.content_type == "application/json-patch+json":
            assert isinstance(body, list)
            for operation in body:
                if not _apply(new, operation):
                    return 422, _failure(
                        422, "Invalid", "the server rejected our request due to an error in our request"
                    )
        else:
            assert isinstance(body, dict)
            for guard in ("resourceVersion", "uid"):
                wanted = (body.get("metadata") or {}).get(guard)
                if wanted is not None and wanted != old["metadata"][guard]:
                    return 409, _failure(409, "Conflict", "the object has been modified")
            new = _merge(new, body)
        if subresource == "status":
            new = {**copy.deepcopy(old), "status": new.get("status")}
        else:
            new["status"] = copy.deepcopy(old.get("status"))
        if new != old:
            self._store(plural, new, old)
        return 200, copy.deepcopy(new)

    def _delete(self, plural: str, old: dict[str, Any], preconditions: dict[str, str]) -> tuple[int, Any]:
        if any(old["metadata"][field] != value for field, value in preconditions.items()):
            return 409, _failure(409, "Conflict", "the precondition failed")
        new = copy.deepcopy(old)
        new["metadata"]["deletionTimestamp"] = "2026-01-01T11:00:00Z"
        self._store(plural, new, old)
        return 200, {"kind": "Status", "status": "Success"}

    def _list(self, plural: str, namespace: str, query: Any) -> dict[str, Any]:
        chosen = [
            copy.deepcopy(item)
            for key, item in sorted(self._objects.items())
            if key[0] == plural
            and (not namespace or key[1] == namespace)
            and _selected(item, query.get("labelSelector", ""))
        ]
        begin = int(query.get("continue") or 0)
        end = begin + int(query.get("limit") or len(chosen) or 1)
        metadata = {"resourceVersion": str(self._version), "continue": str(end) if end < len(chosen) else ""}
        return {"kind": f"{PLURALS[plural]}List", "apiVersion": "v1", "metadata": metadata, "items": chosen[begin:end]}

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        namespace, plural, _, _ = _parts(request.path)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        selector = request.query.get("labelSelector", "")
        watcher = (plural, namespace, selector, queue)
        since = int(request.query.get("resourceVersion") or 0)
        with self._lock:
            self._watchers.append(watcher)
            for key, item in self._objects.items():
                newer = int(item["metadata"]["resourceVersion"]) > since
                if key[0] == plural and newer and _selected(item, selector):
                    queue.put_nowait({"type": "MODIFIED", "object": copy.deepcopy(item)})
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while (event := await queue.get()) is not None:
                line = event["raw"] if "raw" in event else json.dumps(event)
                await response.write(line.encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            self._watchers.remove(watcher)
        return response


def _parts(path: str) -> tuple[str, str, str, str]:
    parts = path.removeprefix(GROUP + "/").split("/")
    namespace = ""
    if parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, "", "")[:3]
    return namespace, plural, name, subresource


def _selected(item: dict[str, Any], selector: str) -> bool:
    labels = item["metadata"].get("labels") or {}
    terms = filter(None, selector.split(","))
    return all(term.startswith("!") != (term.lstrip("!") in labels) for term in terms)


def _apply(target: dict[str, Any], operation: dict[str, Any]) -> bool:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    for parent in parents:
        target = target[parent]
    if operation["op"] == "test":
        return bool(target.get(last) == operation["value"])
    assert operation["op"] == "add"
    target[last] = operation["value"]
    return True


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


def _failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message, "details": {}}


def _status(code: int, message: str, headers: dict[str, str]) -> web.Response:
    reason = {403: "Forbidden", 409: "Conflict", 410: "Expired", 422: "Invalid", 429: "TooManyRequests"}.get(code, "")
    return web.json_response(_failure(code, reason or "InternalError", message), status=code, headers=headers)


def _discovery(path: str, has_crds: bool) -> dict[str, Any]:
    verbs = ["get", "list", "watch", "patch"]

    def resource(name: str, kind: str, namespaced: bool) -> dict[str, Any]:
        return {"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}

    match path:
        case "/version":
            return {"major": "1", "minor": "37"}
        case "/api":
            return {"versions": ["v1"]}
        case "/api/v1":
            return {"resources": [resource("namespaces", "Namespace", False), resource("events", "Event", True)]}
        case "/apis":
            groups = [("apiextensions.k8s.io", "v1")]
            groups += [("buildcache.dev", "v1alpha1")] if has_crds else []
            return {
                "groups": [
                    {
                        "name": name,
                        "versions": [{"groupVersion": f"{name}/{version}", "version": version}],
                        "preferredVersion": {"groupVersion": f"{name}/{version}", "version": version},
                    }
                    for name, version in groups
                ]
            }
        case "/apis/apiextensions.k8s.io/v1":
            return {"resources": [resource("customresourcedefinitions", "CustomResourceDefinition", False)]}
        case "/apis/buildcache.dev/v1alpha1" if has_crds:
            kinds = [resource(plural, kind, True) for plural, kind in PLURALS.items()]
            statuses = [{**item, "name": f"{item['name']}/status"} for item in kinds]
            return {"groupVersion": "buildcache.dev/v1alpha1", "resources": kinds + statuses}
    return _failure(404, "NotFound", path)
