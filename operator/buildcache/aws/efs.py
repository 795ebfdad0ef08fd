"""EFS: file systems, their settings, mount targets."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from buildcache.core.action import (
    CreateAccessPoint,
    CreateFileSystem,
    CreateMountTarget,
    DeleteAccessPoint,
    DeleteFileSystem,
    DeleteMountTarget,
    PutBackup,
    PutTransitions,
    SetMountTargetGroups,
    Tags,
    UpdateThroughput,
)
from buildcache.core.names import SCOPE_TAG
from buildcache.core.observed import AccessPoint, FileSystem, MountTarget

from .errors import Absent, translated
from .tags import is_owned, key_value

if TYPE_CHECKING:
    from types_boto3_efs import EFSClient
    from types_boto3_efs.type_defs import (
        AccessPointDescriptionTypeDef,
        FileSystemDescriptionTypeDef,
        MountTargetDescriptionTypeDef,
    )

_SETTLED = ("available", "updating")


def find_file_system(client: "EFSClient", creation_token: str, owner: Tags) -> FileSystem | None:
    """The file system made with that token, with its settings."""
    with translated("elasticfilesystem:DescribeFileSystems", creation_token):
        found = client.describe_file_systems(CreationToken=creation_token)["FileSystems"]
    return _with_settings(client, found[0], owner) if found else None


def observe_file_system(client: "EFSClient", file_system_id: str, owner: Tags) -> FileSystem | None:
    """The file system of that id, without its settings: it is only looked at."""
    try:
        with translated("elasticfilesystem:DescribeFileSystems", file_system_id):
            found = client.describe_file_systems(FileSystemId=file_system_id)["FileSystems"]
    except Absent:
        return None
    return _file_system(found[0], owner) if found else None


def observe_mount_targets(client: "EFSClient", file_system_id: str) -> Sequence["MountTargetDescriptionTypeDef"]:
    """All mount targets of a file system as AWS describes them; their groups are on their network interfaces."""
    found: list[MountTargetDescriptionTypeDef] = []
    try:
        with translated("elasticfilesystem:DescribeMountTargets", file_system_id):
            for page in client.get_paginator("describe_mount_targets").paginate(FileSystemId=file_system_id):
                found += page["MountTargets"]
    except Absent:
        return []
    return found


def mount_target(described: "MountTargetDescriptionTypeDef", groups: frozenset[str] | None) -> MountTarget:
    """A mount target with the groups of its interface; None where EC2 does not list the interface."""
    return MountTarget(
        id=described["MountTargetId"],
        subnet_id=described["SubnetId"],
        zone=described.get("AvailabilityZoneName", ""),
        state=described["LifeCycleState"],
        groups=groups,
    )


def create_file_system(client: "EFSClient", action: CreateFileSystem) -> None:
    """Make the file system; the token's second use answers that the first one is there."""
    request: Any = {
        "CreationToken": action.creation_token,
        "PerformanceMode": "generalPurpose",
        "Encrypted": True,
        "ThroughputMode": action.throughput_mode,
        "Backup": action.backup,
        "Tags": key_value(action.tags),
    }
    if action.kms_key is not None:
        request["KmsKeyId"] = action.kms_key
    if action.provisioned_mibps is not None:
        request["ProvisionedThroughputInMibps"] = action.provisioned_mibps
    with translated("elasticfilesystem:CreateFileSystem", action.creation_token):
        client.create_file_system(**request)


def update_throughput(client: "EFSClient", action: UpdateThroughput) -> None:
    """Change the throughput. Raises NotYet for a day after the last change."""
    request: Any = {"FileSystemId": action.file_system_id, "ThroughputMode": action.throughput_mode}
    if action.provisioned_mibps is not None:
        request["ProvisionedThroughputInMibps"] = action.provisioned_mibps
    with translated("elasticfilesystem:UpdateFileSystem", action.file_system_id):
        client.update_file_system(**request)


def put_transitions(client: "EFSClient", action: PutTransitions) -> None:
    """Set the lifecycle configuration: one transition for each element, none clears it."""
    policies: Any = [{key: value} for key, value in sorted(action.transitions)]
    with translated("elasticfilesystem:PutLifecycleConfiguration", action.file_system_id):
        client.put_lifecycle_configuration(FileSystemId=action.file_system_id, LifecyclePolicies=policies)


def put_backup(client: "EFSClient", action: PutBackup) -> None:
    """Switch automatic backups."""
    with translated("elasticfilesystem:PutBackupPolicy", action.file_system_id):
        client.put_backup_policy(
            FileSystemId=action.file_system_id,
            BackupPolicy={"Status": "ENABLED" if action.enabled else "DISABLED"},
        )


def delete_file_system(client: "EFSClient", action: DeleteFileSystem) -> None:
    """Remove the file system. Raises NotYet while a mount target is left."""
    try:
        with translated("elasticfilesystem:DeleteFileSystem", action.file_system_id):
            client.delete_file_system(FileSystemId=action.file_system_id)
    except Absent:
        return


def create_mount_target(client: "EFSClient", action: CreateMountTarget) -> None:
    """Make a mount target; one that took the zone meanwhile is seen by the next pass."""
    with translated("elasticfilesystem:CreateMountTarget", f"{action.file_system_id} in {action.subnet_id}"):
        client.create_mount_target(
            FileSystemId=action.file_system_id, SubnetId=action.subnet_id, SecurityGroups=sorted(action.groups)
        )


def set_mount_target_groups(client: "EFSClient", action: SetMountTargetGroups) -> None:
    """Replace the groups of a mount target."""
    with translated("elasticfilesystem:ModifyMountTargetSecurityGroups", action.mount_target_id):
        client.modify_mount_target_security_groups(
            MountTargetId=action.mount_target_id, SecurityGroups=sorted(action.groups)
        )


def delete_mount_target(client: "EFSClient", action: DeleteMountTarget) -> None:
    """Remove a mount target."""
    try:
        with translated("elasticfilesystem:DeleteMountTarget", action.mount_target_id):
            client.delete_mount_target(MountTargetId=action.mount_target_id)
    except Absent:
        return


def observe_access_points(client: "EFSClient", owner: Tags, file_system_id: str | None = None) -> Sequence[AccessPoint]:
    """Access points with our owner tags: of a file system, or of all that there are in the region."""
    found: list[AccessPoint] = []
    scope: Any = {} if file_system_id is None else {"FileSystemId": file_system_id}
    try:
        with translated("elasticfilesystem:DescribeAccessPoints", file_system_id or ""):
            for page in client.get_paginator("describe_access_points").paginate(**scope):
                found += [_access_point(each) for each in page["AccessPoints"]]
    except Absent:
        return []
    return [point for point in found if is_owned(point.tags, owner)]


def create_access_point(client: "EFSClient", action: CreateAccessPoint) -> None:
    """Make the access point, for root: its requests are made as root whatever the task runs as."""
    with translated("elasticfilesystem:CreateAccessPoint", f"{action.file_system_id}{action.path}"):
        client.create_access_point(
            ClientToken=action.client_token,
            FileSystemId=action.file_system_id,
            PosixUser={"Uid": 0, "Gid": 0},
            RootDirectory={
                "Path": action.path,
                "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0, "Permissions": "0755"},
            },
            Tags=key_value(action.tags),
        )


def delete_access_point(client: "EFSClient", action: DeleteAccessPoint) -> None:
    """Remove the access point; the directory behind it stays."""
    try:
        with translated("elasticfilesystem:DeleteAccessPoint", action.access_point_id):
            client.delete_access_point(AccessPointId=action.access_point_id)
    except Absent:
        return


def _access_point(described: "AccessPointDescriptionTypeDef") -> AccessPoint:
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    user: Any = described.get("PosixUser") or {}
    # A secondary group would be one more right; ours have none.
    plain = not user.get("SecondaryGids")
    return AccessPoint(
        id=described["AccessPointId"],
        file_system_id=described["FileSystemId"],
        state=described["LifeCycleState"],
        scope=tags.get(SCOPE_TAG, ""),
        path=described.get("RootDirectory", {}).get("Path", "/"),
        uid=user.get("Uid") if plain else None,
        gid=user.get("Gid") if plain else None,
        tags=tags,
    )


def _with_settings(client: "EFSClient", described: "FileSystemDescriptionTypeDef", owner: Tags) -> FileSystem:
    if described["LifeCycleState"] not in _SETTLED:
        return _file_system(described, owner)
    file_system_id = described["FileSystemId"]
    try:
        with translated("elasticfilesystem:DescribeLifecycleConfiguration", file_system_id):
            policies = client.describe_lifecycle_configuration(FileSystemId=file_system_id)["LifecyclePolicies"]
        backup = _backup(client, file_system_id)
    except Absent:
        return _file_system(described, owner)
    transitions = frozenset((key, str(value)) for policy in policies for key, value in policy.items())
    return _file_system(described, owner, transitions, backup)


def _backup(client: "EFSClient", file_system_id: str) -> bool:
    try:
        with translated("elasticfilesystem:DescribeBackupPolicy", file_system_id):
            policy = client.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"]
    except Absent:
        return False
    return policy["Status"] in ("ENABLED", "ENABLING")


def _file_system(
    described: "FileSystemDescriptionTypeDef",
    owner: Tags,
    transitions: frozenset[tuple[str, str]] = frozenset(),
    backup: bool = False,
) -> FileSystem:
    mibps = described.get("ProvisionedThroughputInMibps")
    tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
    return FileSystem(
        id=described["FileSystemId"],
        owned=is_owned(tags, owner),
        state=described["LifeCycleState"],
        throughput_mode=described.get("ThroughputMode", "bursting"),
        provisioned_mibps=None if mibps is None else int(mibps),
        kms_key=described.get("KmsKeyId"),
        transitions=transitions,
        backup=backup,
        tags=tags,
    )
