"""The operator in the cluster, installed as users do it: `kubectl apply -k`. Stands in for the lab's operator process.

Composed by `lab.py`; the tests use it too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Protocol

from lab.errors import LabError
from lab.files import PROJECT

NAMESPACE = "buildcache-system"
NAME = "buildcache-operator"
SELECTOR = f"app.kubernetes.io/name={NAME}"
SETTINGS = "buildcache-aws"
MANIFESTS = PROJECT / "manifests"
OVERLAY = MANIFESTS / "overlays" / "kind"
READY_WITHIN = 120


class Kubectl(Protocol):
    """Runs kubectl on the cluster as its administrator."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What it prints."""


class Deployment:
    """One operator; every method is safe from any thread."""

    def __init__(self, kubectl: Kubectl, *, aws: str, region: str, runner_image: str) -> None:
        self._kubectl = kubectl
        self._settings = {
            "AWS_ENDPOINT_URL": aws,
            "AWS_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "BUILDCACHE_RUNNER_IMAGE": runner_image,
        }

    def install(self) -> float:
        """Apply namespace, settings and overlay; answers the seconds from the last of it to a Pod that is Ready."""
        self._kubectl("apply", "-f", str(MANIFESTS / "base" / "namespace.yaml"))
        self.apply_settings()
        self.apply_credentials()
        began = time.monotonic()
        self.apply()
        self.wait_until_ready()
        return time.monotonic() - began

    def apply_settings(self) -> None:
        """Where AWS is."""
        self._apply("ConfigMap", {"data": self._settings})

    def apply_credentials(self) -> None:
        """Who the operator is there."""
        self._apply("Secret", {"stringData": {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "lab"}})

    def apply(self) -> None:
        """The overlay, and with it the base and the CRDs."""
        self._kubectl("apply", "-k", str(OVERLAY))

    def wait_until_ready(self) -> None:
        """Return when the rollout is complete; LabError with what the Pods say when it is not in time."""
        try:
            self._kubectl("rollout", "status", f"deployment/{NAME}", *_in_namespace(), f"--timeout={READY_WITHIN}s")
        except LabError as error:
            said = self._kubectl("describe", "pods", f"--selector={SELECTOR}", *_in_namespace())
            raise LabError(f"{error}\n{said[-2000:]}\n{self.log()[-2000:]}") from error

    def log(self, *arguments: str) -> str:
        """What the operator's Pods have logged."""
        return self._kubectl(
            "logs", f"--selector={SELECTOR}", "--tail=-1", "--ignore-errors", *_in_namespace(), *arguments
        )

    def pods(self) -> list[dict[str, Any]]:
        """The operator's Pods, those that end among them."""
        answer = self._kubectl("get", "pods", f"--selector={SELECTOR}", *_in_namespace(), "--output=json")
        pods: list[dict[str, Any]] = json.loads(answer)["items"]
        return pods

    # ---- what the control surface asks of the lab's operator

    @property
    def pid(self) -> int | None:
        """None: it is in the node's process namespace, where its number means nothing here."""
        return None

    def start(self) -> int:
        """One replica, and Ready."""
        self._kubectl("scale", f"deployment/{NAME}", "--replicas=1", *_in_namespace())
        self.wait_until_ready()
        return 0

    def stop(self) -> tuple[int | None, int | None]:
        """No replica, and no Pod any more."""
        self._kubectl("scale", f"deployment/{NAME}", "--replicas=0", *_in_namespace())
        self._kubectl("wait", "--for=delete", "pod", f"--selector={SELECTOR}", *_in_namespace(), "--timeout=60s")
        return None, None

    def kill(self) -> int | None:
        """Its Pod is deleted without a moment to end; the Deployment makes a new one."""
        self._kubectl("delete", "pod", f"--selector={SELECTOR}", *_in_namespace(), "--grace-period=0", "--force")
        return None

    def _apply(self, kind: str, content: Mapping[str, Any]) -> None:
        metadata = {"name": SETTINGS, "namespace": NAMESPACE}
        body = {"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}
        self._kubectl("apply", "-f", "-", stdin=json.dumps(body))


def _in_namespace() -> tuple[str, ...]:
    return (f"--namespace={NAMESPACE}",)
