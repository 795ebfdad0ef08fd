"""What kopf calls: each handler tells the shell and does nothing else. The only importer of kopf besides `__main__`.

kopf is the watch layer only. It connects, lists, watches and reconnects; no handler here makes it write to an object, as
a write of kopf's that fails ends its care for that object (a refused patch is dropped, and the object is not looked at again).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Collection, Coroutine
from typing import Any, Self

import aiohttp
import kopf

from buildcache import __version__
from buildcache.api.meta import FINISHED_LABEL, GROUP, VERSION
from buildcache.controller.objects import PLURALS
from buildcache.controller.patience import Patience
from buildcache.controller.shell import Shell

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
CRD_PAUSE = 3.0
"""Seconds between looks for CRDs that are missing."""

KOPF_PATIENCE = 2.5
"""Seconds that kopf has to end. With `shell.EXIT_PATIENCE` for the passes it stays below ten (F19)."""

USER_AGENT = f"buildcache-operator/{__version__}"

IDENTITY = "buildcache-operator"

CACHES = (GROUP, VERSION, PLURALS["BuildCache"])
BUILDS = (GROUP, VERSION, PLURALS["Build"])


class Memo:
    """What one run of kopf hands to the handlers."""

    def __init__(self, shell: Shell, patience: Patience, logins: Logins) -> None:
        self.shell = shell
        self._patience = patience
        self._logins = logins
        self._session: tuple[kopf.ConnectionInfo, kopf.AiohttpSession] | None = None

    def __copy__(self) -> Self:
        """Return itself: kopf copies its memo for every object, and all of them share this one."""
        return self

    async def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """Return a session for these credentials: the same one for the same credentials.

        kopf asks again when the API server has rejected the session's credentials, and gives up when it gets the same session:
        else rejected credentials would be tried as fast as the API server answers.
        """
        await self._logins.pace()
        if self._session is None or self._session[0] != info:
            self._session = info, new_session(info, self._patience)
        return self._session[1]


class Logins:
    """Spaces logins that follow upon each other: credentials that are new each time and rejected each time."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._pause = 0.0

    async def pace(self) -> None:
        """Wait when the last login was a moment ago; longer each time, up to LONGEST_PAUSE."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._last > LONGEST_PAUSE * 2:
            self._pause = 0.0
        await asyncio.sleep(self._pause)
        self._pause = min(LONGEST_PAUSE, max(FIRST_PAUSE / 2, self._pause * 2))
        self._last = loop.time()


@kopf.on.event(*CACHES, id="cache-seen")
async def cache_seen(memo: Memo, event: kopf.RawEvent, **_: Any) -> None:
    """Tell the shell of a BuildCache."""
    memo.shell.seen("BuildCache", event["type"], event["object"])


@kopf.on.event(*BUILDS, id="build-seen")
async def build_seen(memo: Memo, event: kopf.RawEvent, **_: Any) -> None:
    """Tell the shell of a Build."""
    memo.shell.seen("Build", event["type"], event["object"])


@kopf.on.startup(id="configure")
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Keep kopf to watching."""
    settings.posting.enabled = False
    settings.scanning.disabled = True
    # Never on any object. Not ours: kopf would take it off, as no handler of its own asks for it.
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.watching.label_selectors[BUILDS] = f"!{FINISHED_LABEL}"
    # Until then kopf holds on to each object's last event, of whatever was moved in these seconds; nothing here is worth that.
    settings.queueing.idle_timeout = 0.2
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 600  # these three: a stream that has gone silent is left
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 60
    # Short and few: `__main__` starts kopf again, and a refused watch must show in the log, not hang for a minute.
    settings.networking.error_backoffs = (1, 2, 3)
    # kopf would kill the process ten minutes after a watch failed, although it has been started again by then.
    settings.process.ultimate_exiting_timeout = None


@kopf.on.login(id="login")
async def login(memo: Memo, settings: kopf.OperatorSettings, **_: Any) -> kopf.AiohttpSession | None:
    """Log in as kopf would, with a session whose requests the shell hears of."""
    # In a thread: a kubeconfig may name a program that fetches the token.
    info = await asyncio.to_thread(kopf.login_via_client, logger=logger, settings=settings)
    return None if info is None else await memo.session(info)


def new_session(info: kopf.ConnectionInfo, patience: Patience) -> kopf.AiohttpSession:
    """Return the session that kopf would make, but a patient one."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers={**info.as_http_headers(), "User-Agent": USER_AGENT},
        proxy=info.proxy_url,
        trust_env=info.trust_env,
        middlewares=(patience,),
    )
    return kopf.AiohttpSession(server=info.server, aiohttp_session=session, default_namespace=info.default_namespace)


async def watch(shell: Shell, namespaces: tuple[str, ...], stop: asyncio.Event) -> bool:
    """Run kopf until `stop` is set. When it ends before, start it again: the store, the queue and the passes live on.

    kopf gives up on an ERROR event other than 410, a broken line, a missing CRD and rejected credentials.
    Tells whether kopf has ended in time; when not, the process has to be left by force.
    """
    pause = FIRST_PAUSE
    loop = asyncio.get_running_loop()
    patience, logins = Patience(shell.watches), Logins()
    stopping = asyncio.create_task(stop.wait(), name="stopping")
    _take_signals(stop)
    while not stop.is_set():
        if not await _unless(stopping, shell.has_kinds()):
            # kopf would find nothing to watch and never look again.
            await asyncio.wait({stopping}, timeout=CRD_PAUSE)
            continue
        began = loop.time()
        running = asyncio.create_task(_run_kopf(Memo(shell, patience, logins), namespaces, stop), name="kopf")
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set() and not await _end(running):
                return False
        except asyncio.CancelledError:
            running.cancel()
            raise
        if not running.cancelled() and (error := running.exception()) is not None:
            # Whatever ended it: what was missed meanwhile is in its next list.
            logger.error("the watches ended; they are opened again", extra={"error": repr(error), "seconds": pause})
        shell.watches.close_all()
        if loop.time() - began > LONGEST_PAUSE:
            pause = FIRST_PAUSE
        await asyncio.wait({stopping}, timeout=pause)
        pause = min(LONGEST_PAUSE, pause * 2)
    return True


async def _unless(stopping: asyncio.Task[Any], question: Coroutine[Any, Any, bool]) -> bool:
    """Return the answer to a question, or no when the process is to stop before there is one."""
    asked = asyncio.create_task(question, name="question")
    await asyncio.wait({asked, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if asked.done():
        return asked.result()
    asked.cancel()
    return False


async def _end(running: asyncio.Task[None]) -> bool:
    """Wait for kopf, but not for ever: it can wait for its own tasks without end when streams fail at that moment."""
    await asyncio.wait({running}, timeout=KOPF_PATIENCE)
    if not running.done():
        running.cancel()
        await asyncio.wait({running}, timeout=0.5)
    return running.done()


def _take_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not in tests, which run it beside others or outside of the main thread.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _run_kopf(memo: Memo, namespaces: tuple[str, ...], stop: asyncio.Event) -> None:
    others = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        memo=memo,
        # Only peering would read it. Left to itself, kopf asks for the user's name, and our image's user need not have one (P1).
        identity=IDENTITY,  # type: ignore[arg-type] # a string with a private name
        standalone=True,  # no peering object can pause this operator
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
    # kopf has just taken the signals for a flag that ends with it; they are ours for as long as the process lives.
    _take_signals(stop)
    hurry = asyncio.create_task(_hurry(tasks, others, stop), name="hurry")
    try:
        await kopf.run_tasks(tasks, ignored=others | {hurry})
    finally:
        hurry.cancel()


async def _hurry(
    tasks: Collection[asyncio.Task[Any]], others: Collection[asyncio.Task[Any]], stop: asyncio.Event
) -> None:
    """Cancel the other watches once one has failed: kopf would wait five seconds for them and for a flag to be set.

    Nothing else of kopf's is touched, and nothing when it was asked to end: it waits for its own helpers then.
    """
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in asyncio.all_tasks() - {*others} if not stop.is_set() else ():
        if task.get_name().startswith(("watcher for ", "stop-flag waiter")):
            task.cancel()
