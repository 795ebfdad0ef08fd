"""Connections through the gate carry bytes both ways and end with it."""

import socket
import threading
from collections.abc import Iterator

import pytest

from lab.kind.gate import HERE, Gate
from lab.loop import Loop


@pytest.fixture
def gate() -> Iterator[Gate]:
    loop = Loop("test")
    gate = Gate(loop)
    yield gate
    gate.close()
    loop.close()


@pytest.fixture
def echo() -> Iterator[int]:
    """Answers all it gets, once the other side has ended its half."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                got = b""
                while data := connection.recv(1 << 16):
                    got += data
                connection.sendall(got)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while part := connection.recv(1 << 16):
            got += part
        return got


def test_bytes_and_half_closes_pass(gate: Gate, echo: int) -> None:
    port = gate.open(HERE, ("127.0.0.1", 0), HERE, ("127.0.0.1", echo))
    for size in (1, 3_000_000):
        data = bytes(range(256)) * (size // 256 + 1)
        assert _ask(port, data) == data


def test_nobody_behind_it_is_a_closed_connection(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        target = gone.getsockname()[1]
    port = gate.open(HERE, ("127.0.0.1", 0), HERE, ("127.0.0.1", target))
    assert _ask(port, b"") == b""


def test_closing_it_ends_open_connections(gate: Gate) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = gate.open(HERE, ("127.0.0.1", 0), HERE, ("127.0.0.1", server.getsockname()[1]))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as near:
            near.sendall(b"x")
            with server.accept()[0] as far:
                assert far.recv(1) == b"x"
                gate.close()
                assert far.recv(1) == b""
            assert near.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
