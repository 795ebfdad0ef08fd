"""What the scenarios do to the operator in a real cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import urllib3
from kubernetes import client

from lab.demo.cluster import Cluster
from lab.errors import LabError
from lab.kind.cluster import KindCluster
from lab.kind.deployment import NAMESPACE, Deployment
from tests.lab.world import World, wait_for

PROBES = 8080


class KindWorld(World):
    """The lab with kind, seen from outside."""

    def __init__(self, info: Mapping[str, Any], cluster: KindCluster, operator: Deployment, ready_after: float) -> None:
        super().__init__(info, containers=False)
        self.cluster = cluster
        self.operator = operator
        self.ready_after = ready_after
        self._parts = Cluster(info)  # type: ignore[arg-type]
        self._before = self._parts.parts()

    def left_in_aws(self) -> set[str]:
        """What is in AWS and was not there when the lab began."""
        found = self._parts.parts()
        return {item for kind, items in found.items() for item in items - self._before[kind]}

    def pod(self) -> dict[str, Any]:
        """The operator's one Pod; none of those that are about to end."""
        (pod,) = (pod for pod in self.operator.pods() if "deletionTimestamp" not in pod["metadata"])
        return pod

    def readyz(self) -> tuple[int, str]:
        """What the Pod's probe answers, asked through the API server as no kubelet is asked to repeat it."""
        return self.probe("readyz")

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text of one of the probe's paths; (0, "") while no Pod answers."""
        try:
            name = f"{self.pod()['metadata']['name']}:{PROBES}"
            text = self.core.connect_get_namespaced_pod_proxy_with_path(name, NAMESPACE, path)
        except client.ApiException as error:
            return error.status, str(error.body)
        except ValueError:
            return 0, ""
        return 200, str(text)

    def unready_with(self, *words: str, timeout: float = 30) -> str:
        """Waits until the probe says 503 with all these words; its text then."""
        seen = [(0, "")]

        def look() -> str | None:
            seen[0] = status, text = self.readyz()
            return text if status == 503 and all(word in text for word in words) else None

        try:
            return wait_for(f"/readyz says 503 with {words}", look, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {seen[0]}; the log is\n{self.operator.log()[-3000:]}") from None

    def logged(self, *words: str, timeout: float = 10) -> str:
        """Waits until one line of the operator's log has all these words."""

        def look() -> str | None:
            lines = self.operator.log().splitlines()
            return next((line for line in lines if all(word in line for word in words)), None)

        return wait_for(f"a log line with {words}", look, timeout)

    def until_api_answers(self, timeout: float = 90) -> None:
        """After the node was restarted."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.cluster.kubectl("get", "--raw", "/readyz")
                return
            except (LabError, urllib3.exceptions.HTTPError):
                assert time.monotonic() < deadline, "the API server does not answer"
                time.sleep(0.3)
