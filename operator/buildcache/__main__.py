"""Composition root of the operator: settings, clients, passes, shell, and kopf until a signal. `python -m buildcache`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import NoReturn

from buildcache import __version__, handlers
from buildcache.aws.clients import Session
from buildcache.controller import logs
from buildcache.controller.clock import Clock
from buildcache.controller.endpoints import METRICS, TEXT, Answer, Endpoints
from buildcache.controller.health import Health
from buildcache.controller.shell import Shell, threads
from buildcache.controller.store import Store
from buildcache.controller.watches import Watches, watch_paths
from buildcache.controller.writer import NoCluster, Writer, connect
from buildcache.core.build import finished
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.cache import CacheReconciler
from buildcache.reconcile.executor import EcsExecutor
from buildcache.settings import Settings, SettingsError, probe_port, read

logger = logging.getLogger("buildcache")

POLLS = 2
"""Connections to a region beside those of its passes: for its poll, and what that reads of the logs."""

BEAT = 1.0
BEATLESS = 30.0
"""Seconds without a turn of the event loop after which the process is not alive any more."""

LEAVE_AFTER = 9.0
"""Seconds after SIGTERM in which the process ends at the latest: users count on ten (F19)."""


def main() -> int:
    """Run until SIGTERM; the exit code says whether that was all that ended it."""
    try:
        settings = read(os.environ, terminal=sys.stderr.isatty())
    except SettingsError as error:
        if not _in_a_pod():
            sys.stderr.write(f"buildcache: {error}\n")
            return 2
        logs.configure("json")
        return explain(str(error), probe_port(os.environ))
    logs.configure(settings.log_format, settings.log_level)
    try:
        asyncio.run(serve(settings))
    except NoCluster as error:
        if not _in_a_pod():
            logger.error("no Kubernetes cluster to talk to", extra={"error": str(error)})
            return 2
        return explain(f"no Kubernetes cluster to talk to: {error}", settings.probe_port)


def _in_a_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def explain(problem: str, port: int) -> int:
    """In a Pod whose settings are wrong, answer probes with what to do until SIGTERM.

    A process that ends would leave a CrashLoopBackOff, which names no cause, and no probe to ask.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health()
    health.report("settings", problem)
    endpoint = Endpoints(port, {"/healthz": lambda: (200, TEXT, b"ok\n"), "/readyz": lambda: _not_ready(health)})
    endpoint.start()
    stop.wait()
    endpoint.stop()
    return 2


async def serve(settings: Settings) -> NoReturn:
    """Compose the operator, run it, end the process."""
    shell = compose(settings)
    stop = asyncio.Event()
    alive = Pulse()
    endpoints = [
        Endpoints(
            settings.probe_port, {"/healthz": lambda: _liveness(alive, shell), "/readyz": lambda: _readiness(shell)}
        ),
        Endpoints(settings.metrics_port, {"/metrics": lambda: (200, METRICS, shell.metrics.text())}),
    ]
    for endpoint in endpoints:
        endpoint.start()
    logger.info(
        "starting",
        extra={
            "version": __version__,
            "cluster": settings.cluster_id,
            "namespaces": list(settings.namespaces) or "all",
            "workers": settings.workers,
        },
    )
    # Tasks must be there before kopf starts: it cancels those that are born while it runs.
    tasks = [asyncio.create_task(alive.beat(), name="pulse"), asyncio.create_task(_hasten(stop), name="hasten")]
    code = 0

    def give_up() -> None:
        nonlocal code
        code = 1
        stop.set()

    shell.start(give_up)
    unwatched = False
    try:
        unwatched = await handlers.watch(shell, settings.namespaces, stop)
    finally:
        ended = await shell.stop() and unwatched
        for task in tasks:
            task.cancel()
        for endpoint in endpoints:
            endpoint.stop()
        logger.info("stopped", extra={"in_order": ended})
    # Threads cannot be cancelled, and Python would wait for them: a call to AWS may take longer than kubelet waits.
    # What they do is as safe as under kill -9.
    _leave(code)


async def _hasten(stop: asyncio.Event) -> None:
    """Leave some seconds after a signal, whatever still hangs then."""
    await stop.wait()
    deadline = threading.Timer(LEAVE_AFTER, _leave, (0,))
    deadline.daemon = True
    deadline.start()


def compose(settings: Settings) -> Shell:
    """Put the parts together. The one place that knows all of them."""
    clock = Clock()
    store = Store(finished)
    session = Session(settings.workers + POLLS)
    executor = EcsExecutor(session)
    caches = CacheReconciler(session, store, cluster_id=settings.cluster_id, runner_image=settings.runner_image)
    return Shell(
        store=store,
        writer=Writer(connect(threads(settings.workers)), user_agent=handlers.USER_AGENT),
        watches=Watches(watch_paths(settings.namespaces), time.monotonic, clock.told),
        caches=caches,
        builds=BuildReconciler(store, executor, cluster_id=settings.cluster_id, doubt=caches.doubt),
        poller=executor.poller,
        capacity=executor.capacity,
        namespaces=settings.namespaces,
        workers=settings.workers,
        now=clock.now,
        credentials=session.credentials_problem,
    )


class Pulse:
    """Event-loop heartbeat, read by the liveness probe."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def beat(self) -> None:
        """Note every second that the loop has had a turn."""
        while True:
            self._last = time.monotonic()
            await asyncio.sleep(BEAT)

    def is_beating(self) -> bool:
        """Tell whether the loop has turned lately."""
        return time.monotonic() - self._last < BEATLESS


def _liveness(alive: Pulse, shell: Shell) -> Answer:
    problems = [*([] if alive.is_beating() else ["the event loop is stuck"]), *shell.problems()]
    return (503, TEXT, _lines(problems)) if problems else (200, TEXT, b"ok\n")


def _not_ready(health: Health) -> Answer:
    return 503, TEXT, _lines(health.problems())


def _lines(problems: list[str]) -> bytes:
    return "".join(f"{problem}\n" for problem in problems).encode()


def _readiness(shell: Shell) -> Answer:
    if shell.health.problems():
        return _not_ready(shell.health)
    ready, unwatched = shell.watches.readiness()
    remarks = _lines(shell.health.remarks())
    return (200 if ready else 503), TEXT, f"{'ok' if ready else 'not ready'}\n{unwatched}".encode() + remarks


def _leave(code: int) -> NoReturn:
    logging.shutdown()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
