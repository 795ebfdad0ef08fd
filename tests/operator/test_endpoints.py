"""The probes' listener: both address families where there are two."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from buildcache.controller import endpoints
from buildcache.controller.endpoints import TEXT, Endpoints


def answers(host: str, port: int) -> bool:
    with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=5) as answer:
        return bool(answer.read() == b"ok\n")


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_p2_probes_answer_on_ipv4_and_on_ipv6() -> None:
    endpoint = Endpoints(0, {"/healthz": lambda: (200, TEXT, b"ok\n")})
    endpoint.start()
    try:
        assert answers("127.0.0.1", endpoint.port)
        assert answers("[::1]", endpoint.port)
    finally:
        endpoint.stop()


def test_p2_probes_answer_on_a_machine_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(endpoints, "_DualStackServer", refused)
    endpoint = Endpoints(0, {"/healthz": lambda: (200, TEXT, b"ok\n")})
    endpoint.start()
    try:
        assert answers("127.0.0.1", endpoint.port)
    finally:
        endpoint.stop()
