"""Conditions and their reasons: the part of `status` that people and tools decide by.

Both passes build their status with these pure functions. The reasons are part of the API: the sets are closed, and
a test holds every condition to its set. kstatus: `Reconciling` while work is in progress, `Stalled` when a person must act, never both.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from buildcache.api.meta import Condition

MESSAGE_LIMIT = 1024  # of one condition: a status is read by people and stored in etcd with every change

BUILD_GROUP_PART = "build-security-group"
"""Row of `status.parts` whose id is the security group of the build tasks, when the operator made it."""
CACHE_GROUP_PART = "cache-security-group"
FILE_SYSTEM_PART = "file-system"
REPOSITORY_PART = "repository"
LOG_GROUP_PART = "log-group"
TASK_DEFINITIONS_PART = "task-definitions"
"""Not a row: the revisions of all executors, where a message speaks of one."""


def executor_part(executor: str) -> str:
    """Name of the row of `status.parts` whose id is the task definition ARN of an executor."""
    return f"executor/{executor}"


def access_point_part(scope: str) -> str:
    """Name of the row of `status.parts` whose id is the access point of a scope."""
    return f"access-point/{scope}"


def mounting_executor(executor: str, scope: str) -> str:
    """Name of an executor that mounts a scope: its row is `executor/<executor>/<scope>`, and no executor can be called so."""
    return f"{executor}/{scope}"


def mounts(executor_row: str) -> bool:
    """Tell whether a task definition's row is one that mounts a scope."""
    return executor_row.count("/") > 1


class ConditionType(StrEnum):
    """Types of both kinds, in the order in which they are shown."""

    # Before Ready: the printer column STATUS shows the reason of the first condition.
    SUSPENDED = "Suspended"
    READY = "Ready"
    SUCCEEDED = "Succeeded"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    NETWORK_READY = "NetworkReady"
    FILE_SYSTEM_READY = "FileSystemReady"
    REGISTRY_READY = "RegistryReady"
    EXECUTORS_READY = "ExecutorsReady"
    DRIFTED = "Drifted"
    DELETION_BLOCKED = "DeletionBlocked"
    CACHE_USED = "CacheUsed"


class Reason(StrEnum):
    """Every reason of every condition."""

    # BuildCache: progress and state
    AVAILABLE = "Available"
    PROVISIONING = "Provisioning"
    DISABLED = "Disabled"
    SUSPENDED_BY_SPEC = "SuspendedBySpec"
    DELETING = "Deleting"
    UPDATING = "Updating"
    CORRECTING = "Correcting"
    CREATING = "Creating"
    NOT_CONFIGURED = "NotConfigured"
    IN_SYNC = "InSync"
    CORRECTED = "Corrected"
    DRIFT_FOUND = "DriftFound"
    CORRECTION_FAILED = "CorrectionFailed"
    # trouble
    AWS_UNAVAILABLE = "AwsUnavailable"
    INVALID_SPEC = "InvalidSpec"
    ACCESS_DENIED = "AccessDenied"
    QUOTA_EXCEEDED = "QuotaExceeded"
    NOT_FOUND = "NotFound"
    FOREIGN_RESOURCE = "ForeignResource"
    IMMUTABLE_FIELD = "ImmutableField"
    CLUSTER_NOT_FOUND = "ClusterNotFound"
    INTERNAL_ERROR = "InternalError"
    # BuildCache: why a deletion does not go on
    BUILDS_RUNNING = "BuildsRunning"
    MOUNT_TARGETS_DELETING = "MountTargetsDeleting"
    SECURITY_GROUP_IN_USE = "SecurityGroupInUse"
    # Build: on its way
    ACCEPTED = "Accepted"
    WAITING_FOR_CACHE = "WaitingForCache"
    QUEUED = "Queued"
    THROTTLED = "Throttled"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    RUNNING = "Running"
    RETRYING = "Retrying"
    CANCELLING = "Cancelling"
    # Build: ended
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    # Build: the user's to mend
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_AUTH_FAILED = "SourceAuthFailed"
    DOCKERFILE_NOT_FOUND = "DockerfileNotFound"
    BUILD_STEP_FAILED = "BuildStepFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_DISK = "OutOfDisk"
    PUSH_DENIED = "PushDenied"
    RUN_TIMEOUT = "RunTimeout"
    # Build: a rule said no
    CACHE_NOT_FOUND = "CacheNotFound"
    QUEUE_FULL = "QueueFull"
    LIMIT_EXCEEDED = "LimitExceeded"
    # Build: the infrastructure failed
    QUEUE_TIMEOUT = "QueueTimeout"
    START_TIMEOUT = "StartTimeout"
    CAPACITY_UNAVAILABLE = "CapacityUnavailable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CACHE_MOUNT_FAILED = "CacheMountFailed"
    INTERRUPTED = "Interrupted"
    TASK_FAILED_TO_START = "TaskFailedToStart"
    TASK_RECORD_EXPIRED = "TaskRecordExpired"
    # Build: what became of the cache
    HIT = "Hit"
    PARTIAL_HIT = "PartialHit"
    COLD = "Cold"
    NOTHING_TO_CACHE = "NothingToCache"
    NOT_READY = "NotReady"
    NOT_REQUESTED = "NotRequested"
    IMPORT_FAILED = "ImportFailed"
    EXPORT_FAILED = "ExportFailed"


STALLED_CACHE = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.ACCESS_DENIED,
        Reason.QUOTA_EXCEEDED,
        Reason.NOT_FOUND,
        Reason.FOREIGN_RESOURCE,
        Reason.IMMUTABLE_FIELD,
        Reason.CLUSTER_NOT_FOUND,
    }
)
_PART = frozenset({Reason.AVAILABLE, Reason.CREATING, Reason.NOT_CONFIGURED}) | STALLED_CACHE

CACHE_REASONS: Mapping[ConditionType, frozenset[Reason]] = {
    ConditionType.SUSPENDED: frozenset({Reason.SUSPENDED_BY_SPEC}),
    ConditionType.READY: frozenset(
        {
            Reason.AVAILABLE,
            Reason.PROVISIONING,
            Reason.DISABLED,
            Reason.DELETING,
            Reason.INTERNAL_ERROR,
            Reason.AWS_UNAVAILABLE,
        }
    )
    | _PART,
    ConditionType.RECONCILING: frozenset(
        {Reason.PROVISIONING, Reason.UPDATING, Reason.CORRECTING, Reason.AWS_UNAVAILABLE, Reason.DELETING}
    ),
    ConditionType.STALLED: STALLED_CACHE,
    ConditionType.NETWORK_READY: _PART,
    ConditionType.FILE_SYSTEM_READY: _PART,
    ConditionType.REGISTRY_READY: _PART,
    ConditionType.EXECUTORS_READY: _PART,
    ConditionType.DRIFTED: frozenset({Reason.IN_SYNC, Reason.CORRECTED, Reason.DRIFT_FOUND, Reason.CORRECTION_FAILED}),
    ConditionType.DELETION_BLOCKED: frozenset(
        {Reason.BUILDS_RUNNING, Reason.MOUNT_TARGETS_DELETING, Reason.SECURITY_GROUP_IN_USE}
    ),
}
"""What a BuildCache's conditions may say."""

USER_REASONS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.SOURCE_NOT_FOUND,
        Reason.SOURCE_AUTH_FAILED,
        Reason.DOCKERFILE_NOT_FOUND,
        Reason.BUILD_STEP_FAILED,
        Reason.OUT_OF_MEMORY,
        Reason.OUT_OF_DISK,
        Reason.PUSH_DENIED,
        Reason.RUN_TIMEOUT,
    }
)
POLICY_REASONS = frozenset({Reason.CACHE_NOT_FOUND, Reason.QUEUE_FULL, Reason.LIMIT_EXCEEDED})
INFRASTRUCTURE_REASONS = frozenset(
    {
        Reason.QUEUE_TIMEOUT,
        Reason.START_TIMEOUT,
        Reason.CAPACITY_UNAVAILABLE,
        Reason.IMAGE_PULL_FAILED,
        Reason.CACHE_MOUNT_FAILED,
        Reason.INTERRUPTED,
        Reason.TASK_FAILED_TO_START,
        Reason.TASK_RECORD_EXPIRED,
        Reason.ACCESS_DENIED,
    }
)
_PENDING = frozenset(
    {
        Reason.ACCEPTED,
        Reason.WAITING_FOR_CACHE,
        Reason.QUEUED,
        Reason.THROTTLED,
        Reason.WAITING_FOR_CAPACITY,
        Reason.PROVISIONING,
        Reason.RUNNING,
        Reason.RETRYING,
        Reason.CANCELLING,
        Reason.INTERNAL_ERROR,
    }
)
_FAILED = USER_REASONS | POLICY_REASONS | INFRASTRUCTURE_REASONS

BUILD_REASONS: Mapping[ConditionType, frozenset[Reason]] = {
    ConditionType.SUCCEEDED: _PENDING | _FAILED | {Reason.COMPLETED, Reason.CANCELLED},
    ConditionType.CACHE_USED: frozenset(
        {
            Reason.HIT,
            Reason.PARTIAL_HIT,
            Reason.COLD,
            Reason.NOTHING_TO_CACHE,
            Reason.DISABLED,
            Reason.NOT_READY,
            Reason.NOT_REQUESTED,
            Reason.IMPORT_FAILED,
            Reason.EXPORT_FAILED,
        }
    ),
    ConditionType.RECONCILING: _PENDING | {Reason.AWS_UNAVAILABLE},
    ConditionType.STALLED: _FAILED,
}
"""What a Build's conditions may say."""

_ORDER = {kind.value: position for position, kind in enumerate(ConditionType)}

ConditionStatus = Literal["True", "False", "Unknown"]


def timestamp(now: datetime) -> str:
    """A moment as the API server writes it: UTC, whole seconds, Z."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_condition(conditions: Sequence[Condition], kind: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == kind), None)


def is_true(conditions: Sequence[Condition], kind: str) -> bool:
    """Whether the condition of that type is there and True."""
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"


def set_condition(
    conditions: Sequence[Condition],
    kind: ConditionType,
    status: ConditionStatus | bool,
    reason: Reason,
    message: str = "",
    *,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """All conditions with this one added or changed, in the fixed order; its time moves only when its status does."""
    value: ConditionStatus = status if isinstance(status, str) else ("True" if status else "False")
    before = find_condition(conditions, kind)
    since = before.last_transition_time if before is not None and before.status == value else timestamp(now)
    after = Condition(
        type=kind.value,
        status=value,
        reason=reason.value,
        message=_cut(message),
        last_transition_time=since,
        observed_generation=generation,
    )
    return _sorted((*remove_condition(conditions, kind), after))


def remove_condition(conditions: Sequence[Condition], kind: ConditionType) -> tuple[Condition, ...]:
    """All conditions but the one of that type."""
    return _sorted(condition for condition in conditions if condition.type != kind)


def set_reconciling(
    conditions: Sequence[Condition], reason: Reason, message: str = "", *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """kstatus: work is in progress, so nobody has to act."""
    return set_condition(
        remove_condition(conditions, ConditionType.STALLED),
        ConditionType.RECONCILING,
        True,
        reason,
        message,
        generation=generation,
        now=now,
    )


def set_stalled(
    conditions: Sequence[Condition], reason: Reason, message: str = "", *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """kstatus: a person must act, so nothing is in progress."""
    return set_condition(
        remove_condition(conditions, ConditionType.RECONCILING),
        ConditionType.STALLED,
        True,
        reason,
        message,
        generation=generation,
        now=now,
    )


def set_settled(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """kstatus: neither work in progress nor anything for a person to do."""
    return remove_condition(remove_condition(conditions, ConditionType.RECONCILING), ConditionType.STALLED)


def _sorted(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    # Types that this version does not know keep a place of their own behind the known ones.
    return tuple(sorted(conditions, key=lambda each: (_ORDER.get(each.type, len(_ORDER)), each.type)))


def _cut(message: str) -> str:
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
