"""A day in a second: an event loop whose clock stands still while anything runs and jumps to the next timer when nothing does.

Worker threads take part. What `run_in_executor` is given runs in a real thread, but only one of all threads runs at any moment; it lasts
Worker threads take part. What `run_in_executor` is given runs in a real thread, but only one of all runs at any moment, and it lasts
"""

from __future__ import annotations

import asyncio
import math
import selectors
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

_here = threading.local()


class Stuck(Exception):
    """Nothing is left that could ever happen."""


class _Over(BaseException):
    """The simulation has ended while this thread slept."""


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, sets the clock forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck
            # A bit further each time: a sum of fractions may stop short of the timer that it is for.
            self.now = math.nextafter(self.now + max(0.0, timeout), math.inf)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above. `end` lets the threads go that still sleep."""

    def __init__(self) -> None:
        self._selector_clock = _Selector()
        super().__init__(self._selector_clock)
        self._clock_resolution = 0.0  # else a timer that is an instant away is run before its time has come
        self._asleep: set[_Hop] = set()

    def time(self) -> float:
        return self._selector_clock.now

    def now(self) -> datetime:
        """The wall clock of the simulated world."""
        return START + timedelta(seconds=self.time())

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        future: asyncio.Future[T] = self.create_future()
        _Hop(self, lambda: func(*args), future).resume()
        return future

    def end(self) -> None:
        for hop in list(self._asleep):
            hop.over = True
            hop.resume()


class _Hop:
    """One function in a thread, which has the baton or waits for it."""

    def __init__(self, loop: VirtualLoop, function: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.over = False
        self._loop = loop
        self._function = function
        self._future = future
        self._go, self._paused = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def resume(self) -> None:
        """Give it the baton, and take it back when it sleeps or has ended."""
        self._go.release()
        self._paused.acquire()

    def sleep(self, seconds: float) -> None:
        self._loop._asleep.add(self)
        self._loop.call_later(seconds, self.resume)
        self._paused.release()
        self._go.acquire()
        self._loop._asleep.discard(self)
        if self.over:
            raise _Over

    def _run(self) -> None:
        self._go.acquire()
        _here.hop = self
        try:
            result = self._function()
        except _Over:
            pass
        except BaseException as error:
            self._loop.call_soon(self._fail, error)
        else:
            self._loop.call_soon(self._succeed, result)
        self._paused.release()

    def _succeed(self, result: Any) -> None:
        if not self._future.done():
            self._future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def sleep(seconds: float) -> None:
    """What a call to somebody else lasts, in a worker thread of the simulation."""
    _here.hop.sleep(seconds)


def simulate(scenario: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a scenario to its end on a loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(scenario(loop))
    finally:
        loop.end()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()
