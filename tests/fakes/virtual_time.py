"""An event loop whose clock jumps to the next timer, and whose thread pool is the loop itself: hours of an operator in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Ended(BaseException):
    """The process is killed: no `except` of the operator may see it."""


class _Jumping(selectors.DefaultSelector):
    """Never waits: where nothing is to be read, the loop's clock moves on instead."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self._jump(timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at `start`. After `Ended` has come out of a call in a thread, no other call is made."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self.killed = False
        super().__init__(_Jumping(self._advance))

    def time(self) -> float:
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        if self.killed:
            return future
        try:
            future.set_result(func(*args))
        except Ended:
            self.killed = True
        except Exception as error:
            future.set_exception(error)
        return future

    def _advance(self, seconds: float) -> None:
        self._now += seconds
