"""A BuildCache with every part: created, met by a Build that needs an access point, changed in everything that can change, deleted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lab.demo.cluster import GROUP, VERSION, Cluster
from lab.outside import condition

CACHES, BUILDS = "buildcaches", "builds"
ROLE = "arn:aws:iam::123456789012:role/build"
KANIKO = {
    "name": "kaniko",
    "engine": "Kaniko",
    "launchType": "Fargate",
    "cpu": 256,
    "memory": 1024,
    "taskRoleARN": ROLE,
    "executionRoleARN": ROLE,
}
PLAN = {"start": 0.1, "build": 0.1, "report": {"version": 1, "steps": {"total": 4, "cached": 3}}}
OWNER = "buildcache.dev/uid"
PERSONAL = ("Name", OWNER, "buildcache.dev/name", "buildcache.dev/content-hash")
"""Tags that differ between two caches with the same spec."""


def place(cluster: Cluster) -> dict[str, Any]:
    """Of a BuildCache's spec, where it is: region, ECS cluster, and two subnets of the default VPC."""
    ec2, info = cluster.aws("ec2"), cluster.info
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    return {
        "region": info["region"],
        "clusterARN": f"arn:aws:ecs:{info['region']}:{info['account']}:cluster/builds",
        "network": {"vpcID": vpc, "subnetIDs": sorted(subnet["SubnetId"] for subnet in subnets)[:2]},
    }


class CacheLife:
    """Implements Subject."""

    title = "BuildCache"
    resource = CACHES
    phases: Sequence[str] = ("create", "need", "update", "delete")
    is_chain = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1)
        self._name = ""
        self._uid = ""
        self._place = place(cluster)
        # Where the spec names a group, the operator's own goes: a change that moves rules from one group to another.
        self._given = cluster.aws("ec2").create_security_group(
            GroupName=f"chaos-{cluster.namespace}", Description="given", VpcId=self._place["network"]["vpcID"]
        )["GroupId"]

    def close(self) -> None:
        """What the scenario itself made is gone."""
        self._cluster.aws("ec2").delete_security_group(GroupId=self._given)

    def hits(self, phase: str, operation: str) -> bool:
        """Every write for the BuildCache; the Build's own are another life's."""
        return operation != "RunTask"

    def begin(self) -> None:
        """A name that no other life had."""
        self._name, self._uid = f"life-{next(self._numbers)}", ""

    def prepare(self, phase: str) -> None:
        """What the phase before has left."""

    def act(self, phase: str) -> None:
        """Apply, patch or delete."""
        match phase:
            case "create":
                self._create(CACHES, "BuildCache", self._spec())
                self._uid = (self._cluster.get(CACHES, self._name) or {})["metadata"]["uid"]
            case "need":
                self._cluster.control("POST", "/ecs/runtime", {"runtime": "simulated", "plan": PLAN})
                self._create(BUILDS, "Build", self._build())
            case "update":
                self._cluster.patch(CACHES, self._name, {"spec": self._changes()})
            case _:
                self._cluster.delete(BUILDS, self._name)
                self._cluster.delete(CACHES, self._name)

    def is_done(self, phase: str) -> bool:
        """Ready for this generation and nothing in progress, and the Build built; or gone."""
        body = self._cluster.get(CACHES, self._name)
        if phase == "delete" or body is None:
            return phase == "delete" and body is None
        seen = body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"]
        working = any(condition(body, kind).get("status") == "True" for kind in ("Reconciling", "Stalled"))
        ready = seen and not working and condition(body, "Ready").get("status") == "True"
        return ready and (phase != "need" or self._is_built())

    def broken(self) -> str | None:
        """What is there at the end of a phase says it all."""
        return None

    def explain(self) -> str:
        """Its conditions, and its Build's."""
        bodies = [self._cluster.get(plural, self._name) or {} for plural in (CACHES, BUILDS)]
        conditions = [body.get("status", {}).get("conditions", []) for body in bodies]
        return json.dumps(
            [{each["type"]: f"{each['reason']}: {each['message']}" for each in own} for own in conditions]
        )

    def picture(self) -> object:
        """Every part with the tag of this object, and all its settings."""
        return {
            "security groups": self._groups(),
            "file systems": self._file_systems(),
            "access points": self._access_points(),
            "repositories": self._repositories(),
            "log groups": self._log_groups(),
            "task definitions": self._definitions(),
        }

    def _is_built(self) -> bool:
        body = self._cluster.get(BUILDS, self._name) or {}
        return condition(body, "Succeeded").get("status") == "True"

    def _create(self, plural: str, kind: str, spec: Mapping[str, Any]) -> None:
        head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": self._name}}
        self._cluster.create(plural, {**head, "spec": spec})

    # --- specs

    def _spec(self) -> dict[str, Any]:
        return {
            **self._place,
            "registry": {"retentionDays": 30},
            "fileSystem": {},
            "executors": [self._executor(2048), KANIKO],
            "tags": {"team": "a", "stage": "one"},
        }

    def _changes(self) -> dict[str, Any]:
        return {
            "network": {"securityGroupIDs": [self._given]},
            "registry": {"retentionDays": None},
            "fileSystem": {"throughputMode": "bursting", "transitionToIA": "AFTER_7_DAYS", "backup": True},
            "executors": [self._executor(4096), KANIKO],
            "logRetentionDays": 7,
            "tags": {"team": "b", "stage": None},
        }

    def _build(self) -> dict[str, Any]:
        return {
            "cacheRef": {"name": self._name},
            "service": "web",
            "executor": KANIKO["name"],
            "source": {"inline": {"dockerfile": "FROM scratch"}},
            "output": {"push": False},
        }

    @staticmethod
    def _executor(memory: int) -> dict[str, Any]:
        engine = {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "cpu": 256, "memory": memory}
        return {**engine, "taskRoleARN": ROLE, "executionRoleARN": ROLE}

    # --- what AWS has

    def _groups(self) -> list[Any]:
        found = self._cluster.aws("ec2").describe_security_groups()["SecurityGroups"]
        names = {group["GroupId"]: "-".join(group["GroupName"].split("-")[:2]) for group in found}
        return sorted(
            [
                names[group["GroupId"]],
                *(_rules(group[side], names) for side in ("IpPermissions", "IpPermissionsEgress")),
                _tags(group["Tags"]),
            ]
            for group in found
            if self._owns(group.get("Tags", ()))
        )

    def _file_systems(self) -> list[Any]:
        efs = self._cluster.aws("efs")
        found = []
        for system in efs.describe_file_systems()["FileSystems"]:
            if not self._owns(system["Tags"]):
                continue
            asked = {"FileSystemId": system["FileSystemId"]}
            try:
                backup = efs.describe_backup_policy(**asked)["BackupPolicy"]["Status"].startswith("ENABL")
            except efs.exceptions.PolicyNotFound:
                backup = False
            transitions = efs.describe_lifecycle_configuration(**asked)["LifecyclePolicies"]
            mounts = sorted(mount["SubnetId"] for mount in efs.describe_mount_targets(**asked)["MountTargets"])
            found.append([system["ThroughputMode"], backup, transitions, mounts, _tags(system["Tags"])])
        return found

    def _access_points(self) -> list[Any]:
        found = self._cluster.aws("efs").describe_access_points()["AccessPoints"]
        return sorted(
            [point["PosixUser"]["Uid"], point["RootDirectory"]["Path"].replace(self._uid, ""), _tags(point["Tags"])]
            for point in found
            if self._owns(point["Tags"])
        )

    def _repositories(self) -> list[Any]:
        ecr = self._cluster.aws("ecr")
        found = []
        for repository in ecr.describe_repositories()["repositories"]:
            tags = ecr.list_tags_for_resource(resourceArn=repository["repositoryArn"])["tags"]
            if not self._owns(tags):
                continue
            try:
                policy = ecr.get_lifecycle_policy(repositoryName=repository["repositoryName"])["lifecyclePolicyText"]
            except ecr.exceptions.LifecyclePolicyNotFoundException:
                policy = ""
            found.append([repository["imageTagMutability"], policy, _tags(tags)])
        return found

    def _log_groups(self) -> list[Any]:
        logs = self._cluster.aws("logs")
        found = []
        for group in logs.describe_log_groups()["logGroups"]:
            tags = logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]
            if tags.get(OWNER) == self._uid:
                found.append([group.get("retentionInDays"), _personless(tags)])
        return found

    def _definitions(self) -> list[Any]:
        ecs = self._cluster.aws("ecs")
        found = []
        for arn in ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]:
            answer = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
            if self._owns(answer["tags"]):
                definition = answer["taskDefinition"]
                mounted = any("efsVolumeConfiguration" in volume for volume in definition["volumes"])
                found.append([definition["memory"], mounted, _tags(answer["tags"])])
        return sorted(found)

    def _owns(self, tags: Sequence[Mapping[str, str]]) -> bool:
        return any((tag.get("Key") or tag.get("key")) == OWNER and self._uid in tag.values() for tag in tags)


def _tags(tags: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return _personless({tag.get("Key") or tag["key"]: tag.get("Value") or tag.get("value") or "" for tag in tags})


def _personless(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted((key, value) for key, value in tags.items() if key not in PERSONAL)


def _rules(permissions: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[Any]:
    return sorted(
        [
            rule["IpProtocol"],
            str(rule.get("FromPort")),
            *sorted(names.get(pair["GroupId"], "gone") for pair in rule["UserIdGroupPairs"]),
            *sorted(block["CidrIp"] for block in rule["IpRanges"]),
            *sorted(block["CidrIpv6"] for block in rule.get("Ipv6Ranges", ())),
        ]
        for rule in permissions
    )
