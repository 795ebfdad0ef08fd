"""The demo's view of the lab: kubectl for what people would type, the API for polling, boto3 for AWS behind it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

from botocore.exceptions import ClientError
from kubernetes import client, config

from lab import outside
from lab.errors import LabError
from lab.lab import LabInfo
from lab.toolchain import ensure

GROUP, VERSION = "buildcache.dev", "v1alpha1"
NAMESPACE = "demo"


class Cluster:
    """A running lab."""

    def __init__(self, info: LabInfo, namespace: str = NAMESPACE) -> None:
        self.info = info
        self.namespace = namespace
        self._objects = client.CustomObjectsApi(config.new_client_from_config(info["kubeconfig"]))
        self._kubectl = ensure("kubectl", lambda _: None)
        self.aws = cache(partial(outside.aws, info))
        """A client of the lab's AWS, by the name of the service."""

    def kubectl(self, *arguments: str, stdin: Mapping[str, Any] | None = None) -> str:
        """What kubectl prints."""
        command = [
            str(self._kubectl),
            f"--kubeconfig={self.info['kubeconfig']}",
            f"--namespace={self.namespace}",
            *arguments,
        ]
        text = None if stdin is None else json.dumps(stdin)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            raise LabError(f"`kubectl {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def get(self, plural: str, name: str) -> dict[str, Any] | None:
        """An object; None when there is none."""
        try:
            body: dict[str, Any] = self._objects.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, plural, name
            )
        except client.ApiException as error:
            if error.status == 404:
                return None
            raise
        return body

    def create(self, plural: str, body: Mapping[str, Any]) -> None:
        """A new object."""
        self._objects.create_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, dict(body))

    def patch(self, plural: str, name: str, change: Mapping[str, Any]) -> None:
        """A merge patch by a user."""
        self._objects.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, plural, name, dict(change), _content_type="application/merge-patch+json"
        )

    def delete(self, plural: str, name: str) -> None:
        """Asks for the deletion; finalizers decide when."""
        self._objects.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, plural, name)

    def names(self, plural: str) -> list[str]:
        """The names of all objects of a kind in the demo's namespace."""
        listed = self._objects.list_namespaced_custom_object(GROUP, VERSION, self.namespace, plural)
        return [item["metadata"]["name"] for item in listed["items"]]

    def control(self, method: str, route: str, body: Any = None) -> Any:
        """The lab's control surface."""
        return outside.control(self.info, method, route, body)

    def last_log_line(self, group: str, streams: list[str]) -> str:
        """The newest line of the first stream that has one; empty when none has."""
        for stream in streams:
            try:
                events = self.aws("logs").get_log_events(logGroupName=group, logStreamName=stream, limit=20)["events"]
            except ClientError:
                continue
            lines = [event["message"].strip() for event in events if event["message"].strip()]
            if lines:
                return str(lines[-1])
        return ""

    def parts(self) -> dict[str, set[str]]:
        """Everything in AWS that a BuildCache makes, whoever made it, by kind. The VPC's default group is AWS's own."""
        efs, ecs = self.aws("efs"), self.aws("ecs")
        systems = _all(efs, "describe_file_systems", "FileSystems", "FileSystemId")
        targets = {
            target
            for system in systems
            for target in _all(efs, "describe_mount_targets", "MountTargets", "MountTargetId", FileSystemId=system)
        }
        groups = self.aws("ec2").describe_security_groups()["SecurityGroups"]
        running: set[str] = set()
        for cluster in _all(ecs, "list_clusters", "clusterArns"):
            running |= _all(ecs, "list_tasks", "taskArns", cluster=cluster)
        return {
            "file systems": systems,
            "mount targets": targets,
            "access points": _all(efs, "describe_access_points", "AccessPoints", "AccessPointId"),
            "security groups": {group["GroupId"] for group in groups if group["GroupName"] != "default"},
            "repositories": _all(self.aws("ecr"), "describe_repositories", "repositories", "repositoryName"),
            "task definitions": _all(ecs, "list_task_definitions", "taskDefinitionArns", status="ACTIVE"),
            "running tasks": running,
        }


def _all(api: Any, operation: str, key: str, name: str | None = None, **arguments: str) -> set[str]:
    """The ids of all pages."""
    return set(_ids(api, operation, key, name, arguments))


def _ids(api: Any, operation: str, key: str, name: str | None, arguments: Mapping[str, str]) -> Iterator[str]:
    for page in api.get_paginator(operation).paginate(**arguments):
        for item in page[key]:
            yield item[name] if name else item
