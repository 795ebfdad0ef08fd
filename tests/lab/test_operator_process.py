"""The operator's process in the lab: what it is given, and how it is started, stopped, killed and found again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.operator import Operator, environment
from lab.process import Processes, sweep

# Stands in for the operator: answers its probe, says its pid, ends in order at SIGTERM.
STAND_IN = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
print("serving as", os.environ["WHO"], flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["BUILDCACHE_PROBE_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def changes() -> list[int | None]:
    return []


@pytest.fixture
def operator(tmp_path: Path, changes: list[int | None]) -> Iterator[Operator]:
    processes = Processes(tmp_path, tmp_path / "processes", tmp_path / "logs")
    running = Operator(
        processes,
        {**os.environ, "WHO": "operator"},
        command=(sys.executable, "-c", STAND_IN),
        on_change=lambda: changes.append(running.pid),
    )
    yield running
    running.kill()
    sweep(tmp_path, tmp_path / "processes", deadline=0)


def test_it_is_ready_when_its_probe_says_so_and_ends_in_order(operator: Operator, changes: list[int | None]) -> None:
    pid = operator.start()
    operator.wait_until_ready(10)
    assert operator.pid == pid
    assert operator.start() == pid, "one operator at a time"
    assert operator.stop() == (pid, 0)
    assert not operator.pid
    assert operator.stop() == (None, None)
    assert changes == [pid, None]


def test_a_killed_operator_starts_again_with_the_same_addresses_and_log(operator: Operator) -> None:
    first = operator.start()
    operator.wait_until_ready(10)
    metrics = operator.metrics
    assert operator.kill() == first
    assert operator.pid is None
    assert operator.kill() is None
    second = operator.start()
    operator.wait_until_ready(10)
    assert second != first
    assert operator.metrics == metrics
    assert operator.log.read_text() == "serving as operator\n" * 2


def test_an_operator_that_dies_by_itself_is_seen_as_gone(operator: Operator) -> None:
    pid = operator.start()
    operator.wait_until_ready(10)
    os.kill(pid, signal.SIGKILL)
    while operator.pid:
        time.sleep(0.01)
    assert operator.start() != pid


def test_an_operator_that_does_not_come_up_is_shown_with_the_end_of_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path, tmp_path / "processes", tmp_path / "logs")
    operator = Operator(
        processes, dict(os.environ), command=(sys.executable, "-c", "raise SystemExit('no cluster id')")
    )
    operator.start()
    with pytest.raises(LabError, match="no cluster id"):
        operator.wait_until_ready(10)


def test_it_is_given_the_labs_aws_and_nothing_of_the_users() -> None:
    users = {
        "PATH": "/bin",
        "AWS_PROFILE": "production",
        "AWS_SECRET_ACCESS_KEY": "real",
        "KUBECONFIG": "/home/me/.kube/config",
        "BUILDCACHE_LAB_DIR": "/elsewhere",
        "BUILDCACHE_NAMESPACES": "mine",
    }
    given = environment(
        kubeconfig=Path("/lab/operator.kubeconfig"),
        aws="http://127.0.0.1:1",
        region="us-east-1",
        runner_image="runner",
        inherited=users,
    )
    assert given["PATH"] == "/bin"
    assert given["KUBECONFIG"] == "/lab/operator.kubeconfig"
    assert given["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert "production" not in given.values()
    assert "real" not in given.values()
    # The operator refuses settings that it does not know.
    assert {name for name in given if name.startswith("BUILDCACHE_")} == {
        "BUILDCACHE_CLUSTER_ID",
        "BUILDCACHE_RUNNER_IMAGE",
        "BUILDCACHE_LOG_FORMAT",
    }
