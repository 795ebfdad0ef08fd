"""The circuit breaker: what opens it, what closes it, and that botocore's clients ask it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from buildcache.aws.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker, CircuitOpen
from buildcache.aws.errors import translated
from buildcache.core.errors import Unavailable


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        breaker.before_send()
        breaker.unheard()
    return breaker


def test_c5_timeouts_in_a_row_open_it_and_one_call_at_a_time_is_the_trial() -> None:
    clock = Clock()
    breaker = opened(clock)
    with pytest.raises(CircuitOpen):
        breaker.before_send()
    clock.now += FIRST_PAUSE
    breaker.before_send()
    with pytest.raises(CircuitOpen):
        breaker.before_send()
    breaker.heard()
    for _ in range(100):
        breaker.before_send()


def test_c5_the_pause_grows_while_no_trial_is_answered() -> None:
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(8):
        began = clock.now
        while True:
            try:
                breaker.before_send()
                break
            except CircuitOpen:
                clock.now += 0.5
        pauses.append(clock.now - began)
        clock.now += 20
        breaker.unheard()
    assert pauses[:4] == [5, 10, 20, 40]
    assert set(pauses[4:]) == {LONGEST_PAUSE}


def test_c5_calls_that_were_under_way_when_it_opened_do_not_make_the_pause_longer() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(20):
        breaker.unheard()
    clock.now += FIRST_PAUSE
    breaker.before_send()


def test_c5_an_answer_between_timeouts_keeps_it_closed() -> None:
    breaker = Breaker(Clock())
    for _ in range(50):
        for _ in range(FAILURES - 1):
            breaker.unheard()
        breaker.heard()
        breaker.before_send()


@pytest.fixture
def silent() -> Iterator[str]:
    """An endpoint that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def client(url: str, breaker: Breaker) -> object:
    made = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x").client(
        "ecs",
        region_name="eu-west-1",
        endpoint_url=url,
        config=Config(retries={"mode": "standard", "total_max_attempts": 2}, read_timeout=0.2, connect_timeout=0.2),
    )
    breaker.attach(made)
    return made


def test_c5_a_client_asks_it_before_each_attempt_and_a_refusal_is_unavailable_at_once(silent: str) -> None:
    breaker = Breaker()
    ecs = client(silent, breaker)
    with pytest.raises(ReadTimeoutError):
        ecs.list_clusters()  # type: ignore[attr-defined]
    # The third attempt in a row opens it, so the fourth is not made.
    with pytest.raises(CircuitOpen):
        ecs.list_clusters()  # type: ignore[attr-defined]
    began = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"), translated("ecs:ListClusters", "builds"):
        ecs.list_clusters()  # type: ignore[attr-defined]
    assert time.monotonic() - began < 0.1
    ecs.close()  # type: ignore[attr-defined]


def test_c5_errors_that_are_answered_and_refused_connections_never_open_it() -> None:
    """They take nobody's time."""
    server = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.getsockname()[1]}"
    body = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'
    answer = b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    ecs = client(url, Breaker())
    for _ in range(FAILURES):
        with pytest.raises(ClientError):
            ecs.list_clusters()  # type: ignore[attr-defined]
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)
    for _ in range(2 * FAILURES):
        with pytest.raises(EndpointConnectionError):
            ecs.list_clusters()  # type: ignore[attr-defined]
    ecs.close()  # type: ignore[attr-defined]
