"""The writes that a plan can ask for: one value for one AWS call, carried out by `aws/parts.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildcache.api.cache_status import Drift

from .names import GroupRole
from .observed import Rule
from .status import (
    BUILD_GROUP_PART,
    CACHE_GROUP_PART,
    FILE_SYSTEM_PART,
    LOG_GROUP_PART,
    REPOSITORY_PART,
    TASK_DEFINITIONS_PART,
    access_point_part,
    executor_part,
    mounts,
)
from .tasks import TaskDefinition

Direction = Literal["ingress", "egress"]
Tags = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CreateSecurityGroup:
    """A group without rules of ours yet: they need its id and come with the next pass."""

    role: GroupRole
    name: str
    description: str
    vpc_id: str
    tags: Tags


@dataclass(frozen=True, slots=True)
class AuthorizeRules:
    """Add rules to a group."""

    role: GroupRole
    group_id: str
    direction: Direction
    rules: frozenset[Rule]


@dataclass(frozen=True, slots=True)
class RevokeRules:
    """Take rules from a group."""

    role: GroupRole
    group_id: str
    direction: Direction
    rules: frozenset[Rule]


@dataclass(frozen=True, slots=True)
class DeleteSecurityGroup:
    """Remove a group that nothing refers to any more."""

    role: GroupRole
    group_id: str


@dataclass(frozen=True, slots=True)
class CreateFileSystem:
    """An encrypted file system; the token makes a repetition find the first one."""

    creation_token: str
    kms_key: str | None
    throughput_mode: str
    provisioned_mibps: int | None
    backup: bool
    tags: Tags


@dataclass(frozen=True, slots=True)
class UpdateThroughput:
    """Change the throughput; AWS allows a change of mode and a decrease once in 24 hours."""

    file_system_id: str
    throughput_mode: str
    provisioned_mibps: int | None


@dataclass(frozen=True, slots=True)
class PutTransitions:
    """Set the whole lifecycle configuration; an empty set clears it."""

    file_system_id: str
    transitions: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class PutBackup:
    """Switch automatic backups on or off."""

    file_system_id: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class DeleteFileSystem:
    """Remove a file system without mount targets, with all its files."""

    file_system_id: str


@dataclass(frozen=True, slots=True)
class CreateMountTarget:
    """One mount target for a zone."""

    file_system_id: str
    subnet_id: str
    zone: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetMountTargetGroups:
    """Replace the security groups of a mount target."""

    mount_target_id: str
    zone: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class DeleteMountTarget:
    """Remove a mount target."""

    mount_target_id: str
    zone: str


@dataclass(frozen=True, slots=True)
class CreateAccessPoint:
    """The access point of a scope, whose directory EFS makes at the first mount. Not idempotent: planned only when none was seen."""

    file_system_id: str
    client_token: str
    scope: str
    path: str
    tags: Tags


@dataclass(frozen=True, slots=True)
class DeleteAccessPoint:
    """Remove an access point; what is behind it stays on the file system."""

    access_point_id: str
    scope: str


@dataclass(frozen=True, slots=True)
class CreateRepository:
    """A repository with mutable tags: an engine writes its cache under the same tag again and again."""

    name: str
    kms_key: str | None
    tags: Tags


@dataclass(frozen=True, slots=True)
class MakeTagsMutable:
    """Allow tags to be written again."""

    name: str


@dataclass(frozen=True, slots=True)
class PutLifecyclePolicy:
    """Set the repository's only lifecycle policy."""

    name: str
    policy: str


@dataclass(frozen=True, slots=True)
class DeleteLifecyclePolicy:
    """Keep images for ever."""

    name: str


@dataclass(frozen=True, slots=True)
class DeleteRepository:
    """Remove a repository with all its images."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateLogGroup:
    """A log group; its retention is a call of its own."""

    name: str
    tags: Tags


@dataclass(frozen=True, slots=True)
class PutRetention:
    """Set how long log events are kept."""

    name: str
    days: int


@dataclass(frozen=True, slots=True)
class DeleteLogGroup:
    """Remove a log group with all its streams."""

    name: str


@dataclass(frozen=True, slots=True)
class RegisterTaskDefinition:
    """A new revision. Each call makes one, so it is planned only when no revision has this content."""

    executor: str
    definition: TaskDefinition
    tags: Tags


@dataclass(frozen=True, slots=True)
class DeregisterTaskDefinition:
    """Retire a revision that no Build uses."""

    arn: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A thing that carries tags, as the tag calls of its service name it: the id of EC2 and EFS, else the ARN."""

    service: Literal["ec2", "efs", "ecr", "logs", "ecs"]
    id: str


@dataclass(frozen=True, slots=True)
class TagResource:
    """Set tags; those of other keys stay."""

    part: str
    resource: Resource
    tags: Tags


@dataclass(frozen=True, slots=True)
class UntagResource:
    """Take tags away."""

    part: str
    resource: Resource
    keys: frozenset[str]


Action = (
    CreateSecurityGroup
    | AuthorizeRules
    | RevokeRules
    | DeleteSecurityGroup
    | CreateFileSystem
    | UpdateThroughput
    | PutTransitions
    | PutBackup
    | DeleteFileSystem
    | CreateMountTarget
    | SetMountTargetGroups
    | DeleteMountTarget
    | CreateAccessPoint
    | DeleteAccessPoint
    | CreateRepository
    | MakeTagsMutable
    | PutLifecyclePolicy
    | DeleteLifecyclePolicy
    | DeleteRepository
    | CreateLogGroup
    | PutRetention
    | DeleteLogGroup
    | RegisterTaskDefinition
    | DeregisterTaskDefinition
    | TagResource
    | UntagResource
)


def is_for_a_build(action: Action) -> bool:
    """Tell whether an action only makes what a Build needs first: no difference between the spec and AWS."""
    if isinstance(action, RegisterTaskDefinition):
        return mounts(executor_part(action.executor))
    return isinstance(action, CreateAccessPoint)


def mount_target_part(zone: str) -> str:
    """Name of the row of `status.parts` of a mount target."""
    return f"mount-target/{zone}"


def difference(action: Action) -> Drift:
    """The difference between spec and AWS that an action removes: what `reconcilePolicy: Report` lists instead of acting."""
    match action:
        case CreateSecurityGroup():
            return Drift(part=_group_part(action.role), field="exists", want="true", have="false")
        case AuthorizeRules():
            return Drift(part=_group_part(action.role), field=action.direction, want=_text(action.rules))
        case RevokeRules():
            return Drift(part=_group_part(action.role), field=action.direction, have=_text(action.rules))
        case DeleteSecurityGroup():
            return Drift(part=_group_part(action.role), field="exists", want="false", have="true")
        case CreateFileSystem():
            return Drift(part=FILE_SYSTEM_PART, field="exists", want="true", have="false")
        case UpdateThroughput():
            mibps = "" if action.provisioned_mibps is None else f" {action.provisioned_mibps} MiB/s"
            return Drift(part=FILE_SYSTEM_PART, field="throughput", want=action.throughput_mode + mibps)
        case PutTransitions():
            want = ", ".join(f"{key}={value}" for key, value in sorted(action.transitions))
            return Drift(part=FILE_SYSTEM_PART, field="lifecycle", want=want or "none")
        case PutBackup():
            return Drift(part=FILE_SYSTEM_PART, field="backup", want=str(action.enabled).lower())
        case DeleteFileSystem():
            return Drift(part=FILE_SYSTEM_PART, field="exists", want="false", have="true")
        case CreateMountTarget():
            return Drift(part=mount_target_part(action.zone), field="exists", want="true", have="false")
        case SetMountTargetGroups():
            want = ", ".join(sorted(action.groups))
            return Drift(part=mount_target_part(action.zone), field="securityGroups", want=want)
        case DeleteMountTarget():
            return Drift(part=mount_target_part(action.zone), field="exists", want="false", have="true")
        case CreateAccessPoint():
            return Drift(part=access_point_part(action.scope), field="exists", want="true", have="false")
        case DeleteAccessPoint():
            return Drift(part=access_point_part(action.scope), field="exists", want="false", have="true")
        case CreateRepository():
            return Drift(part=REPOSITORY_PART, field="exists", want="true", have="false")
        case MakeTagsMutable():
            return Drift(part=REPOSITORY_PART, field="tagMutability", want="MUTABLE")
        case PutLifecyclePolicy():
            return Drift(part=REPOSITORY_PART, field="lifecyclePolicy", want=action.policy[:512])
        case DeleteLifecyclePolicy():
            return Drift(part=REPOSITORY_PART, field="lifecyclePolicy", want="none")
        case DeleteRepository():
            return Drift(part=REPOSITORY_PART, field="exists", want="false", have="true")
        case CreateLogGroup():
            return Drift(part=LOG_GROUP_PART, field="exists", want="true", have="false")
        case PutRetention():
            return Drift(part=LOG_GROUP_PART, field="retentionDays", want=str(action.days))
        case DeleteLogGroup():
            return Drift(part=LOG_GROUP_PART, field="exists", want="false", have="true")
        case RegisterTaskDefinition():
            part = executor_part(action.executor)
            return Drift(part=part, field="contentHash", want=action.definition.content_hash)
        case DeregisterTaskDefinition():
            return Drift(part=TASK_DEFINITIONS_PART, field="revision", want="inactive", have=action.arn)
        case TagResource():
            tags = ", ".join(f"{key}={value}" for key, value in sorted(action.tags.items()))
            return Drift(part=action.part, field="tags", want=tags[:512])
        case UntagResource():
            return Drift(part=action.part, field="tags", want="none", have=", ".join(sorted(action.keys))[:512])


def _group_part(role: GroupRole) -> str:
    return BUILD_GROUP_PART if role == "build" else CACHE_GROUP_PART


def _text(rules: frozenset[Rule]) -> str:
    lines = [f"{rule.protocol}:{rule.from_port}-{rule.to_port} {rule.peer}" for rule in sorted(rules)]
    return ", ".join(lines)[:512]
