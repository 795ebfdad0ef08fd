"""The operator as a process, and rules about its source that no checker knows."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NoReturn

import kopf
import pytest

from buildcache import handlers
from tests.fakes.builds import cache_body
from tests.fakes.kube import FakeKube

from .conftest import KUBECONFIG, Start

ROOT = Path(__file__).parents[2]


def test_the_source_root_is_no_package() -> None:
    """It would hide Python's own `operator` module."""
    assert not (ROOT / "operator/__init__.py").exists()


def test_every_handler_has_an_id_of_its_own() -> None:
    registry = kopf.get_default_registry()
    found = [*registry._watching.get_all_handlers(), *registry._activities.get_all_handlers()]
    ours = {str(each.id) for each in found if each.fn.__module__ == handlers.__name__}
    assert ours == {"cache-seen", "build-seen", "configure", "login"}


def test_kopf_is_never_asked_to_change_an_object() -> None:
    registry = kopf.get_default_registry()
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())
    assert not list(registry._indexing.get_all_handlers())
    assert not list(registry._webhooks.get_all_handlers())


async def test_p1_the_pods_user_needs_no_name(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int = 65532) -> NoReturn:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    async with start():
        pass  # the watches are open


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Process:
    """`python -m buildcache` with an environment of its own; `first` is Python that runs before it, in the same process."""

    def __init__(self, kubeconfig: Path, first: str = "", **settings: str) -> None:
        self.probe, self.metrics = free_port(), free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(kubeconfig.parent),
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(kubeconfig),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "canary-of-a-secret",
            "BUILDCACHE_CLUSTER_ID": "test",
            "BUILDCACHE_PROBE_PORT": str(self.probe),
            "BUILDCACHE_METRICS_PORT": str(self.metrics),
            **settings,
        }
        main = f"{first}\nimport sys\nfrom buildcache.__main__ import main\nsys.exit(main())"
        command = ["-c", main] if first else ["-m", "buildcache"]
        self.process = subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.PIPE, text=True)

    def until_it_says(self, *words: str) -> str:
        """Wait for a /readyz that is not ready and says this."""
        deadline = time.monotonic() + 60
        while True:
            status, text = ask(f"http://127.0.0.1:{self.probe}/readyz")
            if status == 503 and all(word in text for word in words):
                return text
            assert time.monotonic() < deadline, text
            assert self.process.poll() is None
            time.sleep(0.05)

    def until_alive(self) -> None:
        deadline = time.monotonic() + 30
        while ask(f"http://127.0.0.1:{self.probe}/healthz")[0] != 200:
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)

    def until_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while ask(f"http://127.0.0.1:{self.probe}/readyz")[0] != 200:
            assert time.monotonic() < deadline
            assert self.process.poll() is None
            time.sleep(0.05)

    def end(self, sent: int = signal.SIGTERM) -> tuple[int, float, str]:
        began = time.monotonic()
        self.process.send_signal(sent)
        _, log = self.process.communicate(timeout=30)
        return self.process.returncode, time.monotonic() - began, log


@pytest.fixture
def kubeconfig(kube: FakeKube, tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG.format(url=kube.url))
    return path


def test_it_starts_answers_and_ends_on_sigterm__F19(kube: FakeKube, kubeconfig: Path) -> None:
    operator = Process(kubeconfig)
    try:
        operator.until_ready()
        assert ask(f"http://127.0.0.1:{operator.probe}/healthz") == (200, "ok\n")
        assert ask(f"http://127.0.0.1:{operator.probe}/else")[0] == 404
        status, text = ask(f"http://127.0.0.1:{operator.metrics}/metrics")
        assert status == 200
        assert 'buildcache_queue_depth{kind="Build"} 0.0' in text
    finally:
        code, seconds, log = operator.end()
    assert code == 0
    assert seconds < 10
    assert all(line.startswith("{") for line in log.splitlines()), log
    assert "canary-of-a-secret" not in log
    assert "a-token-for-tests" not in log
    assert "Traceback" not in log


def test_a_call_that_hangs_does_not_keep_it_from_ending__F19(kube: FakeKube, kubeconfig: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        operator = Process(kubeconfig, AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}")
        try:
            operator.until_ready()
            kube.create("buildcaches", "shop", spec=cache_body()["spec"])
            silent.settimeout(10)
            connection, _ = silent.accept()
        finally:
            code, seconds, log = operator.end()
        connection.close()
    assert code == 0, log
    assert seconds < 10


def test_without_a_cluster_id_it_says_what_to_do(tmp_path: Path) -> None:
    operator = Process(tmp_path / "none", BUILDCACHE_CLUSTER_ID="")
    _, log = operator.process.communicate(timeout=30)
    assert operator.process.returncode == 2
    assert "BUILDCACHE_CLUSTER_ID is required" in log


def test_without_a_cluster_it_says_where_it_looked(tmp_path: Path) -> None:
    operator = Process(tmp_path / "none")
    _, log = operator.process.communicate(timeout=30)
    assert operator.process.returncode == 2
    assert "KUBECONFIG" in log
    assert "Traceback" not in log


def test_issue9_settings_that_are_wrong_in_a_pod_are_told_by_the_probe_until_sigterm(tmp_path: Path) -> None:
    operator = Process(tmp_path / "none", BUILDCACHE_CLUSTER_ID="", KUBERNETES_SERVICE_HOST="10.0.0.1")
    try:
        operator.until_it_says("BUILDCACHE_CLUSTER_ID is required")
        assert ask(f"http://127.0.0.1:{operator.probe}/healthz") == (200, "ok\n")
    finally:
        _, seconds, log = operator.end()
    assert seconds < 5
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["level"] for line in lines] == ["error"]
    assert "BUILDCACHE_CLUSTER_ID is required" in lines[0]["message"]


def test_issue9_a_pod_without_a_service_account_is_told_by_the_probe(tmp_path: Path) -> None:
    operator = Process(tmp_path / "none", KUBERNETES_SERVICE_HOST="10.0.0.1", KUBERNETES_SERVICE_PORT="443")
    try:
        operator.until_it_says("no Kubernetes cluster to talk to", "service account")
    finally:
        operator.end()


def test_p5_crds_that_appear_after_the_start_are_watched_within_ten_seconds(kube: FakeKube, kubeconfig: Path) -> None:
    kube.has_crds = False
    operator = Process(kubeconfig)
    try:
        operator.until_it_says("buildcaches.buildcache.dev", "builds.buildcache.dev", "kubectl apply")
        assert ask(f"http://127.0.0.1:{operator.probe}/healthz") == (200, "ok\n")
        kube.has_crds = True
        operator.until_ready(seconds=10)
        assert kube.watching("buildcaches") == kube.watching("builds") == 1
        # Deleted and applied again: the watches must not be gone for good.
        kube.has_crds = False
        for plural in ("buildcaches", "builds"):
            kube.send(plural, None)
        operator.until_it_says("buildcaches.buildcache.dev")
        kube.has_crds = True
        operator.until_ready(seconds=10)
    finally:
        code, _, log = operator.end()
    assert code == 0
    told = [json.loads(line)["message"] for line in log.splitlines()]
    assert sum("are not installed" in message for message in told) == 2, told


def test_issue9_missing_aws_credentials_are_told_and_found_when_they_come(
    kube: FakeKube, kubeconfig: Path, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    operator = Process(
        kubeconfig,
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_SHARED_CREDENTIALS_FILE=str(file),
    )
    try:
        operator.until_it_says("no AWS credentials", "service account")
        file.write_text("[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n")
        operator.until_ready(seconds=15)
    finally:
        operator.end()


HANGS = {
    "list": "from buildcache.controller.writer import Writer; Writer.pages = lambda *_, **__: time.sleep(100)",
    "poll": "from buildcache.reconcile.poller import Poller; Poller.next_in = lambda *_: 0.01; Poller.poll = lambda *_: time.sleep(100)",
    "credentials": "from buildcache.aws.clients import Session; Session.credentials_problem = lambda *_: time.sleep(100)",
    "login": "import kopf; kopf.login_via_client = lambda **_: time.sleep(100)",
    "event loop's end": "from buildcache import handlers; handlers._end = lambda *_: asyncio.sleep(100)",
}


@pytest.mark.parametrize("what", HANGS)
def test_p3_sigterm_ends_it_within_ten_seconds_whatever_hangs(kube: FakeKube, kubeconfig: Path, what: str) -> None:
    operator = Process(kubeconfig, first=f"import asyncio, time; {HANGS[what]}")
    try:
        operator.until_alive()
        time.sleep(1.0)
    finally:
        code, seconds, log = operator.end()
    assert code == 0, log
    assert seconds < 10


HASTE = """
from buildcache import handlers
from buildcache.controller import shell, watches
handlers.FIRST_PAUSE = handlers.LONGEST_PAUSE = 0.5
shell.ANSWERS_FOR = 6.0
watches.UNREADY_AFTER, watches.BLIND_AFTER, watches.GIVE_UP_AFTER, shell.GUARD_LOOK = 1.0, 0.5, 3.0, 0.2
"""


def test_p6_an_api_server_that_is_away_for_minutes_is_waited_for(kube: FakeKube, kubeconfig: Path) -> None:
    operator = Process(kubeconfig, first=HASTE)
    try:
        operator.until_ready()
        kube.leave()
        operator.until_it_says("builds of all namespaces not watched", "no answer from the API server")
        time.sleep(6)
        assert ask(f"http://127.0.0.1:{operator.probe}/healthz") == (200, "ok\n")
        assert operator.process.poll() is None
        kube.is_away = False
        operator.until_ready(seconds=60)
    finally:
        code, _, log = operator.end()
    assert code == 0, log


def test_p6_an_api_server_that_answers_while_watches_stay_closed_is_left_to_a_new_process(
    kube: FakeKube, kubeconfig: Path
) -> None:
    operator = Process(kubeconfig, first=HASTE)
    try:
        operator.until_ready()
        kube.keeps_watches_waiting = True
        for plural in ("buildcaches", "builds"):
            kube.send(plural, None)
        assert operator.process.wait(60) == 1
    finally:
        kube.keeps_watches_waiting = False
        _, _, log = operator.end()
    assert "the API server answers, but a watch stays closed" in log


def test_c22_a_cluster_that_is_too_old_is_named_in_log_and_readiness(kube: FakeKube, kubeconfig: Path) -> None:
    kube.answers["/version"] = {"major": "1", "minor": "29+"}
    operator = Process(kubeconfig)
    try:
        operator.until_ready()
        deadline = time.monotonic() + 30
        while "Kubernetes 1.29 is older than" not in (said := ask(f"http://127.0.0.1:{operator.probe}/readyz"))[1]:
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        assert said[0] == 200, "it works all the same"
        assert said[1].startswith("ok\n")
    finally:
        _, _, log = operator.end()
    (told,) = (line for line in log.splitlines() if "is older than" in line)
    assert json.loads(told)["level"].lower() == "warning"
