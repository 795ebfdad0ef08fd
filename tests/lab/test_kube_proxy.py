"""The proxy passes everything on unchanged, and spoils what a rule names."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lab.kube_faults import parse_crash, parse_rule
from lab.kube_proxy import KubeProxy
from lab.loop import Loop

BUILDS = "/apis/buildcache.dev/v1alpha1/namespaces/a/builds"
STATUS = f"{BUILDS}/b/status"
EVENT = {"type": "ADDED", "object": {"metadata": {"name": "b"}}}


@dataclass
class Upstream:
    """A tiny API server: it remembers writes, and its watch sends one event and then waits for `more`."""

    writes: list[tuple[str, str, bytes, dict[str, str]]] = field(default_factory=list)
    watches: int = 0
    more: threading.Event = field(default_factory=threading.Event)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("watch"):
            return await self.watch(request)
        body = await request.read()
        if request.method != "GET":
            self.writes.append((request.method, request.raw_path, body, dict(request.headers)))
        return web.json_response({"path": request.raw_path, "method": request.method}, headers={"Audit-Id": "x"})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        self.watches += 1
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        line = json.dumps(EVENT).encode() + b"\n"
        await response.write(line[:10])
        await asyncio.sleep(0.02)
        await response.write(line[10:])
        await asyncio.to_thread(self.more.wait)
        await response.write(line)
        return response


@dataclass
class World:
    """A proxy between a client and the tiny API server."""

    upstream: Upstream
    proxy: KubeProxy
    crashes: list[int]

    def add(self, **rule: Any) -> None:
        self.proxy.add([parse_rule(rule)])


@pytest.fixture
def world() -> Iterator[World]:
    loop = Loop("test")
    upstream = Upstream()
    crashes: list[int] = []
    proxy = KubeProxy(loop, on_crash=lambda: crashes.append(len(upstream.writes)))
    try:
        proxy.start(f"http://127.0.0.1:{loop.serve(upstream.application())}")
        yield World(upstream, proxy, crashes)
    finally:
        upstream.more.set()
        proxy.stop()
        loop.close()


async def patch(world: World, **options: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.patch(world.proxy.url + STATUS, **options) as answer:
        return answer.status, await answer.json(), dict(answer.headers)


async def test_a_write_arrives_unchanged_and_so_does_its_answer(world: World) -> None:
    headers = {"Content-Type": "application/merge-patch+json", "Authorization": "Bearer t", "User-Agent": "operator"}
    code, answer, got = await patch(world, data=b'{"a":1}', headers=headers, params={"fieldManager": "x y"})
    assert (code, answer["method"]) == (200, "PATCH")
    assert got["Audit-Id"] == "x"
    [(method, path, body, sent)] = world.upstream.writes
    assert (method, path, body) == ("PATCH", f"{STATUS}?fieldManager=x+y", b'{"a":1}')
    assert headers.items() <= sent.items()


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        pytest.param("throttle", 429, "TooManyRequests", id="throttle: F11"),
        pytest.param("error", 500, "InternalError", id="error: F09"),
        pytest.param("denied", 403, "Forbidden", id="denied: F05"),
        pytest.param("conflict", 409, "Conflict", id="conflict: F06"),
        pytest.param("invalid", 422, "Invalid", id="invalid: F07"),
        pytest.param("too-large", 413, "RequestEntityTooLarge", id="too-large: F08"),
    ],
)
async def test_a_refused_write_has_no_effect_and_answers_a_status_object(
    world: World, kind: str, code: int, reason: str
) -> None:
    world.add(kubernetes="patch builds/status", kind=kind, times=1)
    got, body, headers = await patch(world, json={})
    assert got == code
    assert (body["kind"], body["status"], body["reason"], body["code"]) == ("Status", "Failure", reason, code)
    assert ("Retry-After" in headers) == (kind == "throttle")
    assert world.upstream.writes == []
    assert (await patch(world, json={}))[0] == 200, "the rule was for one request"


async def test_a_rule_strikes_only_what_it_names(world: World) -> None:
    world.add(kubernetes="patch builds", kind="conflict", times=-1)
    assert (await patch(world, json={}))[0] == 200


async def test_a_rule_lets_pass_what_comes_before_its_turn(world: World) -> None:
    world.add(kubernetes="patch builds/status", kind="conflict", skip=2)
    assert [(await patch(world, json={}))[0] for _ in range(5)] == [200, 200, 409, 200, 200]


@pytest.mark.parametrize("skip", [-1, "1", True, 1.5])
def test_a_rule_with_a_turn_that_is_none_is_refused(skip: object) -> None:
    with pytest.raises(ValueError, match="skip"):
        parse_rule({"kubernetes": "patch builds/status", "kind": "conflict", "skip": skip})


async def test_a_rule_without_end_holds_until_it_is_deleted(world: World) -> None:
    world.add(kubernetes="patch builds/status", kind="error", times=-1)
    assert [(await patch(world, json={}))[0] for _ in range(3)] == [500] * 3
    world.proxy.clear()
    assert (await patch(world, json={}))[0] == 200


@pytest.mark.parametrize(("kind", "writes"), [("reset", 0), ("lost", 1)])
async def test_a_dropped_connection_happens_before_or_after_the_effect_as_asked(
    world: World, kind: str, writes: int
) -> None:
    """F10: the answer of a write that happened never arrives."""
    world.add(kubernetes="patch builds/status", kind=kind)
    with pytest.raises(aiohttp.ClientError):
        await patch(world, json={})
    assert len(world.upstream.writes) == writes


async def test_a_delayed_request_takes_effect_late(world: World) -> None:
    world.add(kubernetes="patch builds/status", kind="delay", seconds=0.3)
    clock = asyncio.get_running_loop()
    began = clock.time()
    assert (await patch(world, json={}))[0] == 200
    assert clock.time() - began >= 0.3


@pytest.mark.parametrize(("when", "writes"), [("before", 0), ("after", 1)])
async def test_a_crash_strikes_once_on_the_asked_side_of_the_effect(world: World, when: str, writes: int) -> None:
    """F19."""
    world.proxy.add([parse_crash({"kubernetes": "patch builds/status", "when": when})])
    with pytest.raises(aiohttp.ClientError):
        await patch(world, json={})
    assert world.crashes == [writes]
    assert len(world.upstream.writes) == writes
    assert (await patch(world, json={}))[0] == 200


async def watch(world: World, during: Callable[[], None] = lambda: None) -> list[dict[str, Any]]:
    """The events until the stream ends; `during` runs after the first one."""
    events = []
    async with (
        aiohttp.ClientSession() as session,
        session.get(world.proxy.url + BUILDS, params={"watch": "true"}) as answer,
    ):
        async for line in answer.content:
            events.append(json.loads(line))
            if len(events) == 1:
                await asyncio.to_thread(during)
    return events


async def test_a_watch_is_passed_on_event_by_event(world: World) -> None:
    assert await watch(world, during=world.upstream.more.set) == [EVENT, EVENT]


async def test_an_open_watch_closes_when_a_rule_says_so(world: World) -> None:
    """F01: the stream just ends."""
    assert await watch(world, during=lambda: world.add(kubernetes="watch builds", kind="close")) == [EVENT]
    assert await watch(world, during=world.upstream.more.set) == [EVENT, EVENT], "the rule is used up"


async def test_an_open_watch_ends_with_410_when_a_rule_says_so(world: World) -> None:
    """F02: the server no longer has the version."""
    events = await watch(world, during=lambda: world.add(kubernetes="watch builds", kind="gone"))
    assert [event["type"] for event in events] == ["ADDED", "ERROR"]
    assert events[1]["object"]["code"] == 410


@pytest.mark.parametrize(("kind", "types"), [("close", []), ("gone", ["ERROR"])])
async def test_a_rule_without_an_open_watch_strikes_the_next_one(world: World, kind: str, types: list[str]) -> None:
    world.add(kubernetes="watch builds", kind=kind)
    assert [event["type"] for event in await watch(world)] == types
    assert world.upstream.watches == 0


async def test_a_watch_that_cannot_start_says_why(world: World) -> None:
    world.add(kubernetes="watch builds", kind="error")
    [status] = await watch(world)
    assert (status["kind"], status["code"]) == ("Status", 500)


async def test_a_silent_watch_hears_nothing_and_is_dropped_when_the_rules_are_deleted(world: World) -> None:
    """F03: a half-open connection."""

    def silence() -> None:
        world.add(kubernetes="watch builds", kind="silent")
        world.upstream.more.set()

    watching = asyncio.create_task(watch(world, during=silence))
    done, _ = await asyncio.wait({watching}, timeout=0.5)
    assert not done, "neither an event nor an end"
    await asyncio.to_thread(world.proxy.clear)
    with pytest.raises(aiohttp.ClientError):
        await watching


async def test_an_api_server_that_is_gone_looks_gone(world: World) -> None:
    loop = Loop("dead")
    proxy = KubeProxy(loop, on_crash=lambda: None)
    try:
        proxy.start("http://127.0.0.1:1")
        with pytest.raises(aiohttp.ClientError):
            await patch(World(world.upstream, proxy, []), json={})
    finally:
        proxy.stop()
        loop.close()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"kubernetes": "patch builds", "kind": "explode"}, "kind must be one of"),
        ({"kubernetes": "patch builds", "kind": "close"}, "is for watches"),
        ({"kubernetes": "patch builds"}, "kind must be a text"),
        ({"kubernetes": 7, "kind": "error"}, "kubernetes must be a text"),
        ({"kubernetes": "builds", "kind": "error"}, "must begin with a verb"),
        ({"kubernetes": "patch builds", "kind": "error", "times": 0}, "times must be"),
        ({"kubernetes": "patch builds", "kind": "error", "times": True}, "times must be"),
        ({"kubernetes": "patch builds", "kind": "delay", "seconds": -1}, "seconds must be"),
        ({"kubernetes": "patch builds", "kind": "error", "reason": "x"}, "no field 'reason'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_the_reason(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_rule(rule)
