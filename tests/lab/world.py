"""What the tests of the whole do to a running lab: objects through the API server, AWS through boto3, the control surface over HTTP."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client, config

from lab import outside
from lab.outside import condition

GROUP, VERSION = "buildcache.dev", "v1alpha1"
OPERATOR = "system:serviceaccount:buildcache-system:buildcache-operator"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
Value = TypeVar("Value")
ROLE = "arn:aws:iam::123456789012:role/build"


def wait_for(what: str, look: Callable[[], Value | None], timeout: float = 60) -> Value:
    """The first thing that `look` finds; fails with what was seen last after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s: {what}")
        time.sleep(0.1)


class World:
    """One lab, seen from outside."""

    def __init__(
        self,
        info: Mapping[str, Any],
        *,
        containers: bool,
        registry_down: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.info = info
        self.containers = containers
        self.registry_down = registry_down
        """While it lasts, the registry answers nobody. Only with containers."""
        api = config.new_client_from_config(info["kubeconfig"])
        self.objects = client.CustomObjectsApi(api)
        self.core = client.CoreV1Api(api)

    # ---- Kubernetes

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        self.core.create_namespace({"metadata": {"name": name}})
        yield name
        for plural in ("builds", "buildcaches"):
            for body in self.list_all(name, plural):
                self.delete(name, plural, body["metadata"]["name"])
        for plural in ("builds", "buildcaches"):
            wait_for(f"no {plural} in {name}", lambda plural=plural: not self.list_all(name, plural))  # type: ignore[misc]
        self.core.delete_namespace(name)

    def create(self, namespace: str, plural: str, body: Mapping[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.objects.create_namespaced_custom_object(
            GROUP, VERSION, namespace, plural, dict(body)
        )
        return made

    def get(self, namespace: str, plural: str, name: str) -> dict[str, Any]:
        body: dict[str, Any] = self.objects.get_namespaced_custom_object(GROUP, VERSION, namespace, plural, name)
        return body

    def list_all(self, namespace: str, plural: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.objects.list_namespaced_custom_object(GROUP, VERSION, namespace, plural)[
            "items"
        ]
        return items

    def delete(self, namespace: str, plural: str, name: str) -> None:
        self.objects.delete_namespaced_custom_object(GROUP, VERSION, namespace, plural, name)

    def patch(self, namespace: str, plural: str, name: str, change: Mapping[str, Any]) -> None:
        self.objects.patch_namespaced_custom_object(
            GROUP, VERSION, namespace, plural, name, dict(change), _content_type="application/merge-patch+json"
        )

    def gone(self, namespace: str, plural: str, name: str, timeout: float = 60) -> None:
        """Waits until the object has left the API server."""
        wait_for(
            f"{plural} {name} is gone",
            lambda: all(body["metadata"]["name"] != name for body in self.list_all(namespace, plural)),
            timeout,
        )

    def reaches(
        self,
        namespace: str,
        plural: str,
        name: str,
        kind: str,
        status: str,
        reason: str | None = None,
        timeout: float = 60,
    ) -> dict[str, Any]:
        """Waits until the condition has the status (and reason); the object then."""

        def look() -> dict[str, Any] | None:
            seen.append(body := self.get(namespace, plural, name))
            del seen[:-1]
            found = condition(body, kind)
            right = found.get("status") == status and (reason is None or found.get("reason") == reason)
            return body if right else None

        seen: list[dict[str, Any]] = []
        try:
            return wait_for(f"{plural} {name} {kind}={status} {reason or ''}", look, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status is {json.dumps(seen[-1].get('status', {}), indent=1)}") from None

    def ready(self, namespace: str, name: str = "shop", **spec: Any) -> dict[str, Any]:
        """Creates a BuildCache and waits until it is Ready."""
        self.create(namespace, "buildcaches", self.cache(name, **spec))
        return self.reaches(namespace, "buildcaches", name, "Ready", "True")

    def ended(self, namespace: str, name: str, timeout: float = 60) -> dict[str, Any]:
        """Waits until a Build has an end, good or bad."""

        def look() -> dict[str, Any] | None:
            body = self.get(namespace, "builds", name)
            return body if condition(body, "Succeeded").get("status") in ("True", "False") else None

        return wait_for(f"builds {name} has ended", look, timeout)

    # ---- objects

    def cache(self, name: str = "shop", **spec: Any) -> dict[str, Any]:
        """A BuildCache in the lab's VPC and cluster with a BuildKit executor."""
        network = self.aws("ec2")
        vpc = network.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
        subnets = network.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "BuildCache",
            "metadata": {"name": name},
            "spec": {
                "region": self.info["region"],
                "clusterARN": f"arn:aws:ecs:{self.info['region']}:{self.info['account']}:cluster/builds",
                "network": {"vpcID": vpc, "subnetIDs": sorted(subnet["SubnetId"] for subnet in subnets)[:3]},
                "executors": [
                    {
                        "name": "ec2",
                        "engine": "BuildKit",
                        "launchType": "EC2",
                        "cpu": 256,
                        "memory": 2048,
                        "taskRoleARN": ROLE,
                        "executionRoleARN": ROLE,
                    }
                ],
                **spec,
            },
        }

    def build(self, name: str, cache: str = "shop", **spec: Any) -> dict[str, Any]:
        """A Build of an inline Dockerfile for the cache."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Build",
            "metadata": {"name": name},
            "spec": {
                "cacheRef": {"name": cache},
                "service": "web",
                "source": {"inline": {"dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}},
                "output": {"images": [f"{self.info['registry']}/team/web:{name}"]},
                **spec,
            },
        }

    # ---- AWS and the lab

    def aws(self, service: str) -> Any:
        return outside.aws(self.info, service)

    def control(self, method: str, route: str, body: Any = None) -> Any:
        return outside.control(self.info, method, route, body)

    def simulate(self, **plan: Any) -> None:
        """Tasks from now on follow a plan; without one they succeed at once with a warm report."""
        report = {
            "version": 1,
            "digest": f"sha256:{'7' * 64}",
            "steps": {"total": 4, "cached": 3},
            "exported": True,
            "imported": True,
        }
        self.control(
            "POST",
            "/ecs/runtime",
            {"runtime": "simulated", "plan": {"start": 0.1, "build": 0.2, "report": report, **plan}},
        )

    def tasks(self, build: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The ECS tasks that were started for a Build."""
        return [task for task in self.control("GET", "/tasks") if task["startedBy"] == build["metadata"]["uid"]]

    def calls(self, since: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control("GET", f"/calls?since={since}")["calls"]
        return found

    def calls_now(self) -> int:
        """The number after the last AWS call."""
        number: int = self.control("GET", "/calls?since=999999999")["next"]
        return number

    def audit(self, offset: int = 0) -> list[dict[str, Any]]:
        """The operator's requests in the audit log from a byte offset on."""
        with Path(self.info["audit"]).open("rb") as log:
            log.seek(offset)
            entries = [json.loads(line) for line in log.read().splitlines() if line.endswith(b"}")]
        return [entry for entry in entries if entry["user"]["username"] == OPERATOR]

    def audit_size(self) -> int:
        return Path(self.info["audit"]).stat().st_size

    def operator_log(self) -> str:
        return Path(self.info["operator"]["log"]).read_text()
