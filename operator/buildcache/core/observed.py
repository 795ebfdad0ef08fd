"""What AWS has: values that the drivers make and the plans read. `None` is absence; what lacks our tags is there but not `owned`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ACTIVE = "ACTIVE"
AVAILABLE = "available"


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One direction's permission with exactly one other side, so that sets of rules can be subtracted.

    Ports are -1 for all; `peer` is a group id, a CIDR block or a prefix list id.
    """

    protocol: str
    from_port: int
    to_port: int
    peer: str


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A security group of one of our names."""

    id: str
    owned: bool
    ingress: frozenset[Rule] = frozenset()
    egress: frozenset[Rule] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subnet:
    """A subnet of the spec: its zone decides whether it gets a mount target."""

    id: str
    zone: str
    vpc_id: str


@dataclass(frozen=True, slots=True)
class FileSystem:
    """An EFS file system: ours by creation token, or the one that the spec names."""

    id: str
    owned: bool
    state: str
    throughput_mode: str = "elastic"
    provisioned_mibps: int | None = None
    kms_key: str | None = None
    transitions: frozenset[tuple[str, str]] = frozenset()
    backup: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MountTarget:
    """A mount target. It cannot carry tags: its file system and its groups say whose it is.

    `groups` is None when EC2 does not list its network interface: unknown, which is not the same as no groups.
    """

    id: str
    subnet_id: str
    zone: str
    state: str
    groups: frozenset[str] | None = frozenset()


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """An EFS access point with our owner tags: no other is of interest. Without a user of its own, `uid` and `gid` are None."""

    id: str
    file_system_id: str
    state: str
    scope: str
    path: str
    uid: int | None
    gid: int | None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repository:
    """An ECR repository of the wanted name. `policy` is the lifecycle policy as normalised JSON."""

    name: str
    arn: str
    uri: str
    owned: bool
    mutability: str = "MUTABLE"
    kms_key: str | None = None
    policy: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A CloudWatch log group of the wanted name; no retention means for ever."""

    name: str
    owned: bool
    retention_days: int | None = None
    arn: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TaskRevision:
    """An active revision of a task definition in one of our families."""

    arn: str
    family: str
    revision: int
    owned: bool
    content_hash: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    log_group: str = ""
    """Where its tasks write. Empty: not known."""


@dataclass(frozen=True, slots=True)
class ObservedCache:
    """All that AWS has of one cache at one moment."""

    build_group: SecurityGroup | None = None
    cache_group: SecurityGroup | None = None
    given_groups: Mapping[str, str] | None = None
    """VPC of each existing group that the spec names. None: not read."""
    subnets: Mapping[str, Subnet] = field(default_factory=dict)
    file_system: FileSystem | None = None
    """The managed one, found by its creation token, also when the spec no longer wants it."""
    given_file_system: FileSystem | None = None
    """The one that the spec names (management Observed)."""
    mounts: tuple[MountTarget, ...] = ()
    """Of the managed file system if there is one, else of the given one."""
    access_points: tuple[AccessPoint, ...] = ()
    """Ours, on whatever file system. Looked for only when a Build needs one, or when they are to go."""
    unseen_access_points: str = ""
    """Why they could not be looked for, when that is not allowed: the other parts need not wait for it."""
    repository: Repository | None = None
    log_group: LogGroup | None = None
    former_log_group: LogGroup | None = None
    """Ours, under the name that earlier releases gave it. Read only for a deletion."""
    cluster_state: str | None = None
    dns: bool = True
    """Whether the VPC gives out the names by which file systems are mounted."""
    revisions: tuple[TaskRevision, ...] = ()
