"""What tasks need of the rest of the account: clusters, task definitions, networks, log groups. Reads and writes moto's backends."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from moto.ec2.models import ec2_backends
from moto.ecs.exceptions import ECSException
from moto.ecs.models import ecs_backends
from moto.efs.models import efs_backends
from moto.logs.models import logs_backends

from lab.ecs.refusals import Refused, client, invalid


class Account:
    """One account and region of moto. Backends are looked up on each use: a reset replaces them."""

    def __init__(self, region: str, account: str) -> None:
        self.region = region
        self.account = account
        self._log_lock = threading.Lock()
        self._launched = 0

    def cluster_arn(self, cluster: str | None) -> str:
        """Return the ARN of an ACTIVE cluster given by name or ARN; none means `default`."""
        return str(self._cluster(cluster).arn)

    def capacity_providers(self, cluster: str | None) -> list[str]:
        """Return the providers associated with a cluster."""
        return list(self._cluster(cluster).capacity_providers or ())

    def task_definition(self, name: str) -> Mapping[str, Any]:
        """Return a task definition by family, family:revision or ARN, in the shape it was registered in."""
        try:
            found = ecs_backends[self.account][self.region].describe_task_definition(name)
        except (ECSException, ValueError) as problem:
            raise client("TaskDefinition not found.") from problem
        return {
            "taskDefinitionArn": found.arn,
            "family": found.family,
            "revision": found.revision,
            "status": found.status,
            "containerDefinitions": found.container_definitions,
            "volumes": found.volumes,
            "networkMode": found.network_mode,
            "compatibilities": found.compatibilities,
            "cpu": found.cpu,
            "memory": found.memory,
            "ephemeralStorage": found.ephemeral_storage,
            "runtimePlatform": found.runtime_platform,
            "taskRoleArn": getattr(found, "task_role_arn", None),
            "executionRoleArn": getattr(found, "execution_role_arn", None),
            "tags": found.tags,
        }

    def check_network(self, network: Mapping[str, Any]) -> None:
        """Refuse subnets and security groups that do not exist or do not belong together."""
        ec2 = ec2_backends[self.account][self.region]
        known = {subnet_id: subnet for zone in ec2.subnets.values() for subnet_id, subnet in zone.items()}
        for subnet_id in network["subnets"]:
            if subnet_id not in known:
                raise invalid(f"The subnet ID '{subnet_id}' does not exist")
        vpcs = {known[subnet_id].vpc_id for subnet_id in network["subnets"]}
        if len(vpcs) > 1:
            raise invalid("All subnets must be in the same VPC.")
        for group_id in network.get("securityGroups") or ():
            group = ec2.get_security_group_from_id(group_id)
            if group is None:
                raise invalid(f"The security group '{group_id}' does not exist")
            if group.vpc_id not in vpcs:
                raise invalid(f"Security group '{group_id}' does not belong to the VPC of the subnets.")

    def attach_interface(self, network: Mapping[str, Any]) -> tuple[dict[str, str], str]:
        """Make the network interface of a task, spread over its subnets; return it and its zone."""
        ec2 = ec2_backends[self.account][self.region]
        subnets = network["subnets"]
        subnet = ec2.get_subnet(subnets[self._launched % len(subnets)])
        self._launched += 1
        attachment = str(uuid4())
        interface = ec2.create_network_interface(
            subnet,
            None,
            group_ids=network.get("securityGroups") or None,
            description=f"arn:aws:ecs:{self.region}:{self.account}:attachment/{attachment}",
        )
        interface.requester_managed = True
        interface.status = "in-use"
        return {
            "id": attachment,
            "subnetId": subnet.id,
            "networkInterfaceId": interface.id,
            "macAddress": interface.mac_address,
            "privateIPv4Address": interface.private_ip_address,
        }, str(subnet.availability_zone)

    def release_interface(self, interface_id: str) -> None:
        """Remove the network interface of a task that has ended."""
        ec2_backends[self.account][self.region].enis.pop(interface_id, None)

    def missing_log_group(self, definition: Mapping[str, Any]) -> str | None:
        """Return a log group that the containers write to and that does not exist; those to be created are created."""
        logs = logs_backends[self.account][self.region]
        for container in definition["containerDefinitions"]:
            configuration = container.get("logConfiguration") or {}
            if configuration.get("logDriver") != "awslogs":
                continue
            options = configuration.get("options") or {}
            group = options.get("awslogs-group", "")
            if group in logs.groups:
                continue
            if options.get("awslogs-create-group") != "true":
                return str(group)
            logs.create_log_group(group, {})
        return None

    def unmountable(self, definition: Mapping[str, Any]) -> str | None:
        """Say of the first EFS volume that no task could mount what the mount helper says: the things behind it must be there."""
        efs = efs_backends[self.account][self.region]
        for volume in definition.get("volumes") or ():
            configuration = volume.get("efsVolumeConfiguration")
            if not configuration:
                continue
            system = configuration["fileSystemId"]
            targets = [each for each in efs.mount_targets_by_id.values() if each.file_system_id == system]
            if not any(target.life_cycle_state == "available" for target in targets):
                return f'Failed to resolve "{system}.efs.{self.region}.amazonaws.com"'
            wanted = (configuration.get("authorizationConfig") or {}).get("accessPointId")
            if wanted:
                point = efs.access_points.get(wanted)
                if point is None or point.file_system_id != system or point._state != "available":
                    return f"b'mount.nfs4: access denied by server while mounting 127.0.0.1:/' ({wanted})"
        return None

    def write_log(self, group: str, stream: str, line: str) -> None:
        """Append one line; when the group has been deleted meanwhile, the line is lost, as it would be in AWS."""
        with self._log_lock:
            found = logs_backends[self.account][self.region].groups.get(group)
            if found is None:
                return
            if stream not in found.streams:
                found.create_log_stream(stream)
            found.put_log_events(stream, [{"timestamp": int(time.time() * 1000), "message": line}])

    def _cluster(self, cluster: str | None) -> Any:
        name = (cluster or "default").rpartition("/")[2]
        found = ecs_backends[self.account][self.region].clusters.get(name)
        wrong_place = re.match(r"arn:[^:]+:ecs:([^:]+):([^:]+):", cluster or "")
        if (
            found is None
            or found.status != "ACTIVE"
            or (wrong_place is not None and wrong_place.groups() != (self.region, self.account))
        ):
            raise Refused("ClusterNotFoundException", "Cluster not found.")
        return found
