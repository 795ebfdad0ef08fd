"""The proxy between the operator (nobody else) and the API server: passes everything on, or spoils it by rule.

Its address stands in the operator's kubeconfig. Plain HTTP towards the operator, a kept-alive TLS pool towards the API
server, watches passed on line by line as they come.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from lab.kube_faults import ANSWERS, WATCH_KINDS, Faults, Rule, gone, status
from lab.kube_path import Operation, operation
from lab.loop import Loop

# Between two neighbours only (RFC 9110, 7.6.1); each side of the proxy has its own.
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"}
_OPEN_WATCH_KINDS = (*WATCH_KINDS, "reset")
_CLOSE, _RESET = "close", "reset"
_MAX_BODY = 16 * 1024 * 1024


class Watch:
    """One open watch: `verdict` is set when a rule strikes it, `over` when a silent one may end."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.verdict: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()


class KubeProxy:
    """Start it with the API server's address; `url` goes into the operator's kubeconfig."""

    def __init__(self, loop: Loop, *, on_crash: Callable[[], None]) -> None:
        self._loop = loop
        self._on_crash = on_crash
        self._faults = Faults()
        self._watches: list[Watch] = []
        self._session: aiohttp.ClientSession | None = None
        self._upstream = ""
        self.url = ""

    def start(self, upstream: str, ca: Path | None = None) -> str:
        """Serve; answers the proxy's address."""
        self._upstream = upstream
        self._loop.run(self._open(ca))
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self.url = f"http://127.0.0.1:{self._loop.serve(application)}"
        return self.url

    def stop(self) -> None:
        """Let go of the API server; the loop's `close` ends the listening side."""
        if self._session is not None:
            self._loop.run(self._session.close())
            self._session = None

    def add(self, rules: Sequence[Rule]) -> None:
        """In force for the next request, and at once for watches that are open already."""
        self._faults.add(rules)
        self._loop.run(self._strike_open_watches())

    def clear(self) -> None:
        """No rule is left; a watch that was silenced is dropped, so that its client may start again."""
        self._faults.clear()
        self._loop.run(self._end_silence())

    async def _open(self, ca: Path | None) -> None:
        connector = aiohttp.TCPConnector(
            limit=0, ssl=ssl.create_default_context(cafile=str(ca)) if ca else True, keepalive_timeout=60
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        )

    async def _strike_open_watches(self) -> None:
        for watch in self._watches:
            if not watch.verdict.done() and (rule := self._faults.take(watch.operation, _OPEN_WATCH_KINDS)):
                watch.verdict.set_result(rule.kind)

    async def _end_silence(self) -> None:
        for watch in self._watches:
            watch.over.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = operation(request.method, request.path, request.query)
        rule = self._faults.take(asked)
        if rule is None or asked is None:
            return await self._pass(request, asked)
        if rule.kind in ANSWERS:
            code, body = status(rule.kind, asked)
            headers = {"Retry-After": "1"} if rule.kind == "throttle" else {}
            return web.json_response(body, status=code, headers=headers)
        if rule.kind == "delay":
            await asyncio.sleep(rule.seconds)
            return await self._pass(request, asked)
        if rule.kind in WATCH_KINDS:
            return await self._spoiled_watch(request, Watch(asked), rule.kind)
        # An effect whose answer is lost: a watch has none, there it is a dropped connection.
        if rule.kind in ("lost", "crash-after") and asked.verb != "watch":
            async with self._send(request) as answer:
                await answer.read()
        if rule.kind.startswith("crash"):
            await asyncio.to_thread(self._on_crash)
        return _drop(request)

    async def _pass(self, request: web.Request, asked: Operation | None) -> web.StreamResponse:
        try:
            async with self._send(request) as answer:
                if asked is not None and asked.verb == "watch" and answer.status == 200:
                    return await self._pass_watch(request, answer, Watch(asked))
                response = web.StreamResponse(status=answer.status, headers=_without_hop(answer.headers))
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except aiohttp.ClientError:
            # The API server is not there (any more): its client sees what it would see without the proxy.
            return _drop(request)

    def _send(self, request: web.Request) -> _Sent:
        assert self._session is not None, "the proxy serves only between start and stop"
        return _Sent(self._session, self._upstream, request)

    async def _pass_watch(
        self, request: web.Request, answer: aiohttp.ClientResponse, watch: Watch
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_without_hop(answer.headers))
        await response.prepare(request)
        self._watches.append(watch)
        pump = asyncio.create_task(_pump(answer, response))
        try:
            first: set[asyncio.Future[Any]] = {pump, watch.verdict}
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if pump.done():
                failed = pump.exception()
                if failed is not None:
                    return _drop(request)
                await response.write_eof()
                return response
            answer.close()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._watches.remove(watch)
        return await self._spoiled_watch(request, watch, watch.verdict.result(), response)

    async def _spoiled_watch(
        self, request: web.Request, watch: Watch, kind: str, response: web.StreamResponse | None = None
    ) -> web.StreamResponse:
        if kind == _RESET:
            return _drop(request)
        if response is None:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
        if kind == "silent":
            self._watches.append(watch)
            try:
                await watch.over.wait()
            finally:
                self._watches.remove(watch)
            return _drop(request)
        if kind == "gone":
            await response.write(json.dumps(gone()).encode() + b"\n")
        await response.write_eof()
        return response


class _Sent:
    """The request on its way to the API server, as an asynchronous context that yields the answer."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str, request: web.Request) -> None:
        self._session, self._upstream, self._request = session, upstream, request
        self._answer: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> aiohttp.ClientResponse:
        body = await self._request.read() if self._request.can_read_body else None
        self._answer = await self._session.request(
            self._request.method,
            URL(self._upstream + self._request.raw_path, encoded=True),
            headers=_without_hop(self._request.headers),
            data=body,
            allow_redirects=False,
        )
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        if self._answer is not None:
            self._answer.release()


async def _pump(answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    async for lines in _whole_lines(answer.content.iter_any()):
        await response.write(lines)


async def _whole_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, cut only after line ends: a watch that is spoiled must not end in half an event."""
    rest = b""
    async for chunk in chunks:
        head, newline, tail = chunk.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        else:
            rest += tail
    if rest:
        yield rest


def _without_hop(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)


def _drop(request: web.Request) -> web.Response:
    """Cut the connection without another byte; the response that aiohttp wants goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
