"""Ways between the lab's loopback and the network namespace of the sandbox: a socket belongs to the network it was made in.

`lab.py` opens one from the Pods to AWS and one from this machine to the cluster's API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lab.loop import Loop

Made = TypeVar("Made")

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
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()

    def open(self, listen: Network, address: tuple[str, int], to: Network, target: tuple[str, int]) -> int:
        """Forward what connects to `address` in one network to `target` in the other; answers the port."""
        listener = listen.make(lambda: socket.create_server(address))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                await self._forward(reader, writer, to, target)
            finally:
                self._connections.discard(task)

        async def start() -> asyncio.Server:
            return await asyncio.start_server(serve, sock=listener)

        self._servers.append(self._loop.run(start()))
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Nothing listens any more and no connection is open."""
        self._loop.run(self._close())

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for task in [*self._connections]:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: Network, target: tuple[str, int]
    ) -> None:
        try:
            connection = await asyncio.to_thread(to.make, lambda: socket.create_connection(target, timeout=10))
            connection.setblocking(False)
            far_reader, far_writer = await asyncio.open_connection(sock=connection)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        sink.write_eof()


def _enter(namespace: Path) -> None:
    """Move the calling thread. Python has os.setns only from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(handle, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}", str(namespace))
    finally:
        os.close(handle)
