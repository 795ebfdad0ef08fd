"""One account of the second emulator: its clients without shims, and what it starts with."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import boto3

from lab.aws import World

REGION = "us-east-1"
CLUSTER = "builds"
# An access key of twelve digits is the account's number to the emulator, so accounts cost nothing and share nothing.
_numbers = itertools.count(300_000_000_000)
_session = boto3.Session(region_name=REGION)


class Account:
    """A fresh account; `client` asks the emulator as it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.id = str(next(_numbers))
        self._clients: dict[str, Any] = {}

    def client(self, service: Any) -> Any:
        """A client that no shim touches: what a person would do by hand, and what the probes ask."""
        if service not in self._clients:
            self._clients[service] = _session.client(
                service, endpoint_url=self.url, aws_access_key_id=self.id, aws_secret_access_key="test"
            )
        return self._clients[service]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    @cached_property
    def vpc_id(self) -> str:
        (vpc,) = self.client("ec2").describe_vpcs()["Vpcs"]
        return str(vpc["VpcId"])

    @cached_property
    def subnets(self) -> dict[str, str]:
        """The subnet of each zone."""
        found = self.client("ec2").describe_subnets()["Subnets"]
        return {each["AvailabilityZone"]: each["SubnetId"] for each in found}

    @cached_property
    def cluster_arn(self) -> str:
        return str(self.client("ecs").create_cluster(clusterName=CLUSTER)["cluster"]["clusterArn"])

    @property
    def world(self) -> World:
        """Where a BuildCache can be: the lab's own record of such a place."""
        return World(
            vpc_id=self.vpc_id,
            subnet_ids=tuple(subnet for _, subnet in sorted(self.subnets.items())),
            zones=tuple(sorted(self.subnets)),
            cluster_arn=self.cluster_arn,
            bucket="",
        )

    def left_over(self) -> dict[str, list[str]]:
        """Everything of the kinds that a BuildCache makes, without what an account has from the start."""
        ec2, efs, ecr, logs, ecs = (self.client(name) for name in ("ec2", "efs", "ecr", "logs", "ecs"))
        groups = [each["GroupName"] for each in ec2.describe_security_groups()["SecurityGroups"]]
        found = {
            "security groups": [name for name in groups if name != "default"],
            "file systems": [each["FileSystemId"] for each in efs.describe_file_systems()["FileSystems"]],
            "access points": [each["AccessPointId"] for each in efs.describe_access_points()["AccessPoints"]],
            "repositories": [each["repositoryName"] for each in ecr.describe_repositories()["repositories"]],
            "log groups": [each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]],
            "task definitions": ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"],
        }
        return {kind: things for kind, things in found.items() if things}
