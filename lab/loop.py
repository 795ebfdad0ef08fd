"""One asyncio loop in a thread of its own, for the lab's small HTTP servers (control surface and API proxy)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from aiohttp import web

Result = TypeVar("Result")


class Loop:
    """Runs coroutines for callers in other threads; `close` ends the servers first, then the loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result; call it from another thread than the loop's."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def serve(self, application: web.Application) -> int:
        """Serve on a free loopback port; answers the port."""
        return self.run(self._serve(application))

    async def _serve(self, application: web.Application) -> int:
        # A handler is cancelled when its client goes away: else a watch would live on after a kill -9 of the operator.
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._runners.append(runner)
        port: int = runner.addresses[0][1]
        return port

    def close(self) -> None:
        """Servers down, loop ended, thread joined; nothing happens when it is closed already."""
        if self._loop.is_closed():
            return
        for runner in self._runners:
            self.run(runner.cleanup())
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
