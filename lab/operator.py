"""The operator as a process of the lab: started, stopped, killed and crashed from outside, as a kubelet would.

It gets what its Deployment would give it (environment variables and the service account's kubeconfig) and nothing of the
user's own: no AWS profile, no kubeconfig, no settings.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.files import PROJECT
from lab.process import Child, Processes
from lab.server import answers, free_port

COMMAND = (sys.executable, "-m", "buildcache")
CLUSTER_ID = "lab"
STOP_DEADLINE = 15.0  # it should need less than 10 s (F19); the rest is this machine's


class Operator:
    """One operator at a time; every method is safe from any thread. `on_change` hears of every new or ended process."""

    def __init__(
        self,
        processes: Processes,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = COMMAND,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._processes = processes
        self._command = command
        self._on_change = on_change
        self._probe, self._metrics = free_port(), free_port()
        self._environment = {
            **environment,
            "BUILDCACHE_PROBE_PORT": str(self._probe),
            "BUILDCACHE_METRICS_PORT": str(self._metrics),
        }
        self._lock = threading.Lock()
        self._child: Child | None = None

    @property
    def pid(self) -> int | None:
        """None while none runs."""
        child = self._child
        return child.pid if child is not None and child.exit_code is None else None

    @property
    def log(self) -> Path:
        """Appended to over restarts."""
        return self._processes.log("operator")

    @property
    def metrics(self) -> str:
        """The same over restarts."""
        return f"http://127.0.0.1:{self._metrics}/metrics"

    def start(self) -> int:
        """The pid of the operator, started now unless it runs."""
        with self._lock:
            if (pid := self.pid) is not None:
                return pid
            self._child = self._processes.start("operator", self._command, env=self._environment)
            self._on_change()
            return self._child.pid

    def stop(self) -> tuple[int | None, int | None]:
        """SIGTERM and wait; its pid and exit code, or twice None when none ran."""
        with self._lock:
            pid = self.pid
            if self._child is None or pid is None:
                return None, None
            self._child.stop(STOP_DEADLINE)
            self._on_change()
            return pid, self._child.exit_code

    def kill(self) -> int | None:
        """Kill -9; the pid it had, None when none ran."""
        with self._lock:
            pid = self.pid
            if self._child is not None:
                self._child.kill()
                self._on_change()
            return pid

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Return when its probe answers; LabError with the end of its log when it does not come up."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if self.pid is None:
                tail = self._child.tail() if self._child else ""
                raise LabError(f"the operator ended while it started; the end of {self.log}:\n{tail}")
            if answers(f"http://127.0.0.1:{self._probe}/readyz"):
                return
            time.sleep(0.05)
        raise LabError(f"the operator's probe did not answer within {timeout:.0f} s; its log is {self.log}")


def environment(
    *, kubeconfig: Path, aws: str, region: str, runner_image: str, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What the operator sees; of the caller's environment only what has nothing to do with AWS, Kubernetes or us."""
    inherited = os.environ if inherited is None else inherited
    ours = ("AWS_", "KUBE", "BUILDCACHE_", "PYTHON")
    return {
        **{name: value for name, value in inherited.items() if not name.startswith(ours)},
        "PYTHONPATH": str(PROJECT / "operator"),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",  # as in our Dockerfile
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "KUBECONFIG": str(kubeconfig),
        "AWS_ENDPOINT_URL": aws,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BUILDCACHE_CLUSTER_ID": CLUSTER_ID,
        "BUILDCACHE_RUNNER_IMAGE": runner_image,
        "BUILDCACHE_LOG_FORMAT": "json",
    }
