"""What ministack does unlike AWS, on the operations that the operator uses: one entry each, with the evidence.

An entry without a shim is harmless to the walk, or it is wanted: it shows the operator an AWS that is allowed to differ. A shim works on
the clients of the operator alone, by botocore's events. Every entry has a probe; when a newer ministack behaves as AWS does, the probe
fails the tests and the entry goes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from tests.ministack.account import Account

API = "https://docs.aws.amazon.com"
Shim = Callable[[Account], Mapping[str, Callable[..., Any]]]
"""Makes the handlers of an account, by botocore event."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One behaviour that is not AWS's."""

    operation: str
    ministack: str
    aws: str
    evidence: str
    is_there: Callable[[Account], bool]
    """Asks an account of the emulator whether it still behaves so."""
    shim: Shim | None = None


# --- probes


def _hostnames_are_off(account: Account) -> bool:
    ec2 = account.client("ec2")
    found = ec2.describe_vpc_attribute(VpcId=account.vpc_id, Attribute="enableDnsHostnames")
    return bool(found["EnableDnsHostnames"] == {"Value": False})


def _interface_is_not_listed(account: Account) -> bool:
    _, mount = _mounted(account, "interface")
    listed = account.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    return mount["NetworkInterfaceId"] not in {each["NetworkInterfaceId"] for each in listed}


def _interface_filters_are_ignored(account: Account) -> bool:
    ec2 = account.client("ec2")
    ec2.create_network_interface(SubnetId=next(iter(account.subnets.values())))
    filters = [{"Name": "network-interface-id", "Values": ["eni-00000000000000000"]}]
    return bool(ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"])


def _group_in_use_is_deleted(account: Account) -> bool:
    group = _group(account, "used")
    _mounted(account, "used", SecurityGroups=[group])
    return not _code(account.client("ec2").delete_security_group, GroupId=group)


def _rule_is_authorized_twice(account: Account) -> bool:
    group, ec2 = _group(account, "twice"), account.client("ec2")
    rule = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return not _code(ec2.authorize_security_group_ingress, GroupId=group, IpPermissions=[rule])


def _creation_token_is_taken_twice(account: Account) -> bool:
    create = account.client("efs").create_file_system
    create(CreationToken="twice")
    return not _code(create, CreationToken="twice")


def _backup_is_not_enabled(account: Account) -> bool:
    efs = account.client("efs")
    system = efs.create_file_system(CreationToken="backup", Backup=True)["FileSystemId"]
    return bool(efs.describe_backup_policy(FileSystemId=system)["BackupPolicy"]["Status"] == "DISABLED")


def _mount_is_there_at_once(account: Account) -> bool:
    _, mount = _mounted(account, "at-once")
    return bool(mount["LifeCycleState"] == "available")


def _mounts_of_nothing_are_none(account: Account) -> bool:
    describe = account.client("efs").describe_mount_targets
    return not _code(describe, FileSystemId="fs-00000000000000000")


def _only_one_tag_is_taken_away(account: Account) -> bool:
    efs = account.client("efs")
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    system = efs.create_file_system(CreationToken="tags", Tags=tags)["FileSystemId"]
    efs.untag_resource(ResourceId=system, TagKeys=["a", "b"])
    return bool(efs.list_tags_for_resource(ResourceId=system)["Tags"])


def _token_starts_two_tasks(account: Account) -> bool:
    definition = _definition(account, "token")
    tasks = {_run(account, definition, clientToken="token")["taskArn"] for _ in range(2)}
    return len(tasks) == 2


def _inactive_definition_runs(account: Account) -> bool:
    definition = _definition(account, "inactive")
    account.client("ecs").deregister_task_definition(taskDefinition=definition)
    return not _code(account.client("ecs").run_task, taskDefinition=definition, cluster=account.cluster_arn)


def _cluster_appears(account: Account) -> bool:
    definition = _definition(account, "no-cluster")
    return not _code(account.client("ecs").run_task, taskDefinition=definition, cluster="no-such-cluster")


def _task_runs_at_once(account: Account) -> bool:
    return bool(_run(account, _definition(account, "at-once"))["lastStatus"] == "RUNNING")


def _task_stops_at_once(account: Account) -> bool:
    task = _run(account, _definition(account, "stopped"))["taskArn"]
    answer = account.client("ecs").stop_task(cluster=account.cluster_arn, task=task)["task"]
    return bool(answer["lastStatus"] == "STOPPED" and {each["exitCode"] for each in answer["containers"]} == {0})


def _started_by_goes_with_family(account: Account) -> bool:
    listing = {"cluster": account.cluster_arn, "startedBy": "somebody", "family": "some"}
    return not _code(account.client("ecs").list_tasks, **listing)


def _nothing_can_be_described(account: Account) -> bool:
    return not _code(account.client("ecs").describe_tasks, cluster=account.cluster_arn, tasks=[])


def _family_finds_an_inactive_revision(account: Account) -> bool:
    active, newer = _definition(account, "revisions"), _definition(account, "revisions")
    account.client("ecs").deregister_task_definition(taskDefinition=newer)
    found = account.client("ecs").describe_task_definition(taskDefinition="revisions")["taskDefinition"]
    return bool(found["taskDefinitionArn"] != active)


def _family_lists_longer_names(account: Account) -> bool:
    _definition(account, "family")
    longer = _definition(account, "family-longer")
    listed = account.client("ecs").list_task_definitions(familyPrefix="family")["taskDefinitionArns"]
    return longer in listed


def _group(account: Account, name: str) -> str:
    made = account.client("ec2").create_security_group(GroupName=name, Description=name, VpcId=account.vpc_id)
    return str(made["GroupId"])


def _mounted(account: Account, name: str, **more: Any) -> tuple[str, Mapping[str, Any]]:
    efs = account.client("efs")
    system = efs.create_file_system(CreationToken=name)["FileSystemId"]
    subnet = next(iter(account.subnets.values()))
    return system, efs.create_mount_target(FileSystemId=system, SubnetId=subnet, **more)


def _definition(account: Account, family: str) -> str:
    containers = [{"name": "build", "image": "busybox", "memory": 64}]
    made = account.client("ecs").register_task_definition(family=family, containerDefinitions=containers)
    return str(made["taskDefinition"]["taskDefinitionArn"])


def _run(account: Account, definition: str, **more: Any) -> Mapping[str, Any]:
    answer = account.client("ecs").run_task(taskDefinition=definition, cluster=account.cluster_arn, **more)
    (task,) = answer["tasks"]
    found: Mapping[str, Any] = task
    return found


def _code(call: Callable[..., Any], **parameters: Any) -> str:
    """The error code of a call, empty when it succeeds."""
    try:
        call(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


# --- shims


def _give_hostnames(account: Account) -> Mapping[str, Callable[..., Any]]:
    account.client("ec2").modify_vpc_attribute(VpcId=account.vpc_id, EnableDnsHostnames={"Value": True})
    return {}


def _list_interfaces(account: Account) -> Mapping[str, Callable[..., Any]]:
    efs = account.client("efs")

    def note(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["filters"] = {each["Name"]: set(each["Values"]) for each in params.get("Filters", ())}

    def answer(parsed: dict[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        wanted = context["filters"]["network-interface-id"]
        parsed["NetworkInterfaces"] = [
            {"NetworkInterfaceId": mount["NetworkInterfaceId"], "Groups": [{"GroupId": each} for each in groups(mount)]}
            for system in efs.describe_file_systems()["FileSystems"]
            for mount in efs.describe_mount_targets(FileSystemId=system["FileSystemId"])["MountTargets"]
            if mount["NetworkInterfaceId"] in wanted
        ]

    def groups(mount: Mapping[str, Any]) -> list[str]:
        found = efs.describe_mount_target_security_groups(MountTargetId=mount["MountTargetId"])
        return list(found["SecurityGroups"])

    return {
        "provide-client-params.ec2.DescribeNetworkInterfaces": note,
        "after-call.ec2.DescribeNetworkInterfaces": answer,
    }


def _keep_tokens(account: Account) -> Mapping[str, Callable[..., Any]]:
    ecs = account.client("ecs")
    used: dict[str, tuple[Mapping[str, Any], list[str]]] = {}

    def note(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = copy.deepcopy(params)

    def replay(context: Mapping[str, Any], **_: Any) -> Any:
        asked = context["asked"]
        if asked["clientToken"] not in used:
            return None
        before, arns = used[asked["clientToken"]]
        if before != asked:
            return _refused("ConflictException", "The token is in use with other parameters.", resourceIds=arns)
        tasks = ecs.describe_tasks(cluster=asked["cluster"], tasks=arns)["tasks"]
        return SimpleNamespace(status_code=200), {"tasks": [_replayed(task) for task in tasks], "failures": []}

    def remember(parsed: Mapping[str, Any], context: Mapping[str, Any], **_: Any) -> None:
        if parsed.get("tasks"):
            used.setdefault(
                context["asked"]["clientToken"], (context["asked"], [task["taskArn"] for task in parsed["tasks"]])
            )

    return {
        "provide-client-params.ecs.RunTask": note,
        "before-call.ecs.RunTask": replay,
        "after-call.ecs.RunTask": remember,
    }


def _replayed(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """A task that has stopped meanwhile is answered with little more than its ARN."""
    if task["lastStatus"] != "STOPPED":
        return task
    return {key: task[key] for key in ("taskArn", "lastStatus", "desiredStatus")}


def _refuse_inactive(account: Account) -> Mapping[str, Callable[..., Any]]:
    ecs = account.client("ecs")

    def note(params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["definition"] = params["taskDefinition"]

    def refuse(context: Mapping[str, Any], **_: Any) -> Any:
        found = ecs.describe_task_definition(taskDefinition=context["definition"])["taskDefinition"]
        if found["status"] == "ACTIVE":
            return None
        return _refused("InvalidParameterException", "TaskDefinition is inactive")

    return {"provide-client-params.ecs.RunTask": note, "before-call.ecs.RunTask": refuse}


def _refused(code: str, message: str, **members: Any) -> Any:
    return SimpleNamespace(status_code=400), {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **members,
    }


# --- the list

DIFFERENCES = (
    Difference(
        "ec2:DescribeVpcAttribute",
        "the default VPC has enableDnsHostnames off",
        "it is on in a default VPC",
        f"{API}/vpc/latest/userguide/AmazonDNS-concepts.html",
        _hostnames_are_off,
        _give_hostnames,
    ),
    Difference(
        "ec2:DescribeNetworkInterfaces",
        "the interface of a mount target is not among them",
        "CreateMountTarget makes a network interface in the subnet; its security groups are the mount target's",
        f"{API}/efs/latest/ug/API_CreateMountTarget.html",
        _interface_is_not_listed,
        _list_interfaces,
    ),
    Difference(
        "ec2:DescribeNetworkInterfaces",
        "filters are ignored",
        "network-interface-id and group-id filter",
        f"{API}/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html",
        _interface_filters_are_ignored,
        # The shim above answers for the one filter that is asked for.
    ),
    Difference(
        "ec2:DeleteSecurityGroup",
        "a group that an interface or a rule uses is deleted",
        "DependencyViolation",
        f"{API}/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html",
        _group_in_use_is_deleted,
    ),
    Difference(
        "ec2:AuthorizeSecurityGroupIngress",
        "a rule that is there is taken again",
        "InvalidPermission.Duplicate",
        f"{API}/AWSEC2/latest/APIReference/errors-overview.html",
        _rule_is_authorized_twice,
    ),
    Difference(
        "elasticfilesystem:CreateFileSystem",
        "a creation token that was used is answered with its file system",
        "FileSystemAlreadyExists, 409, with the id",
        f"{API}/efs/latest/ug/API_CreateFileSystem.html",
        _creation_token_is_taken_twice,
    ),
    Difference(
        "elasticfilesystem:CreateFileSystem",
        "Backup is ignored",
        "automatic backups are on",
        f"{API}/efs/latest/ug/API_CreateFileSystem.html",
        _backup_is_not_enabled,
    ),
    Difference(
        "elasticfilesystem:CreateMountTarget",
        "everything is available at once, and gone at once when it is deleted",
        "it is creating and deleting for a minute or more",
        f"{API}/efs/latest/ug/API_CreateMountTarget.html",
        _mount_is_there_at_once,
    ),
    Difference(
        "elasticfilesystem:DescribeMountTargets",
        "a file system that is not there has none",
        "FileSystemNotFound, 404",
        f"{API}/efs/latest/ug/API_DescribeMountTargets.html",
        _mounts_of_nothing_are_none,
    ),
    Difference(
        "elasticfilesystem:UntagResource",
        "of several keys only the first is taken away",
        "all of them are",
        f"{API}/efs/latest/ug/API_UntagResource.html",
        _only_one_tag_is_taken_away,
    ),
    Difference(
        "ecs:RunTask",
        "clientToken is ignored",
        "the same request again is answered with the first one's tasks; another request with the token is a ConflictException",
        f"{API}/AmazonECS/latest/APIReference/ECS_Idempotency.html",
        _token_starts_two_tasks,
        _keep_tokens,
    ),
    Difference(
        "ecs:RunTask",
        "an inactive task definition runs",
        "InvalidParameterException: TaskDefinition is inactive",
        "https://github.com/DefangLabs/defang/pull/775",
        _inactive_definition_runs,
        _refuse_inactive,
    ),
    Difference(
        "ecs:RunTask",
        "a cluster that is not there is made",
        "ClusterNotFoundException",
        f"{API}/AmazonECS/latest/APIReference/API_RunTask.html",
        _cluster_appears,
    ),
    Difference(
        "ecs:RunTask",
        "its answer says RUNNING (without a container engine)",
        "PROVISIONING; RUNNING only when the request is repeated",
        f"{API}/AmazonECS/latest/developerguide/task-lifecycle-explanation.html",
        _task_runs_at_once,
        # Wanted: it is what a crash after RunTask leads to, and the rule that M1 is about.
    ),
    Difference(
        "ecs:StopTask",
        "its answer says STOPPED, every exit code is 0",
        "the desired status is STOPPED, containers get SIGTERM and end with their own code or 137",
        f"{API}/AmazonECS/latest/APIReference/API_StopTask.html",
        _task_stops_at_once,
        # Wanted: a task that was not running yet may be answered so.
    ),
    Difference(
        "ecs:ListTasks",
        "startedBy goes with other filters",
        "it must be the only filter",
        f"{API}/AmazonECS/latest/APIReference/API_ListTasks.html",
        _started_by_goes_with_family,
    ),
    Difference(
        "ecs:DescribeTasks",
        "no task described is an answer",
        "InvalidParameterException: Tasks cannot be empty.",
        "https://github.com/sil-org/ecs-deploy/issues/63",
        _nothing_can_be_described,
    ),
    Difference(
        "ecs:DescribeTaskDefinition",
        "a family is its newest revision, active or not",
        "its newest active one",
        f"{API}/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html",
        _family_finds_an_inactive_revision,
    ),
    Difference(
        "ecs:ListTaskDefinitions",
        "familyPrefix finds longer names too",
        "it is the full name of a family",
        f"{API}/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html",
        _family_lists_longer_names,
    ),
)
