"""Ways between the lab's loopback and the network namespace of the sandbox: a socket belongs to the network it was made in.

`lab.py` opens one from the Pods to AWS and one from this machine to the cluster's API server.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.loop import Loop

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Network:
    """A network namespace in which sockets can be made; `HERE` is the lab's own."""

    make: Callable[[Callable[[], socket.socket]], socket.socket]


HERE = Network(lambda make: make())


class Inside:
    """Makes sockets in another network namespace, by a thread that has moved there for good."""

    def __init__(self, namespace: Path) -> None:
        self._thread = ThreadPoolExecutor(1, "lab-network", initializer=_enter, initargs=(namespace,))
        self.network = Network(lambda make: self._thread.submit(make).result())

    def close(self) -> None:
        """Give the thread up."""
        self._thread.shutdown()


class Gate:
    """Forwards connections; `close` ends those that are open too."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, listen: Network, address: tuple[str, int], to: Network, target: tuple[str, int]) -> int:
        """Forward what connects to `address` in one network to `target` in the other; answers the port."""
        listener = listen.make(lambda: socket.create_server(address))
        listener.setblocking(False)
        port: int = listener.getsockname()[1]
        self._loop.run(self._start(self._accept(listener, to, target), listener))
        return port

    def close(self) -> None:
        """Nothing listens any more and no connection is open."""
        self._loop.run(self._close())

    async def _start(self, work: Coroutine[Any, Any, None], *sockets: socket.socket) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            # Here, not in the task: one that is cancelled early has never run.
            for each in sockets:
                each.close()
            self._tasks.discard(task)

        task.add_done_callback(ended)

    async def _close(self) -> None:
        while tasks := [*self._tasks]:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket, to: Network, target: tuple[str, int]) -> None:
        while True:
            near, _ = await asyncio.get_running_loop().sock_accept(listener)
            far = to.make(socket.socket)
            await self._start(_forward(near, far, target), near, far)


async def _forward(near: socket.socket, far: socket.socket, target: tuple[str, int]) -> None:
    for end in (near, far):
        end.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(far, target)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(near, far))
            group.create_task(_pump(far, near))
    except* OSError:
        pass  # both ends close, which is all that can be said to them


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        await loop.sock_sendall(sink, data)
    sink.shutdown(socket.SHUT_WR)


def _enter(namespace: Path) -> None:
    """Move the calling thread. Python has os.setns only from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}", str(namespace))
    finally:
        os.close(handle)
