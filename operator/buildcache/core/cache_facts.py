"""The facts of a BuildCache's status: ids, rows and zones as AWS answered them, never composed."""

import hashlib
from collections.abc import Collection, Container

from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import (
    BuildCacheStatus,
    Efficiency,
    FileSystemStatus,
    Part,
    QueueStatus,
    RegistryStatus,
)
from buildcache.api.meta import RECONCILE_ANNOTATION, Metadata

from .action import mount_target_part
from .cache import executor_parts
from .cache_access_points import unusable_point, usable_point
from .desired import DesiredCache
from .observed import ACTIVE, AVAILABLE, ObservedCache
from .scope import ABSENT, ACCESS_POINT, REFUSED, UNUSABLE
from .status import (
    BUILD_GROUP_PART,
    CACHE_GROUP_PART,
    FILE_SYSTEM_PART,
    LOG_GROUP_PART,
    REPOSITORY_PART,
    access_point_part,
    executor_part,
    mounting_executor,
    mounts,
)

PARTS_LIMIT = 128
TASK_DEFINITION = "ecs/TaskDefinition"

_REQUEST_LIMIT = 256


def requested(metadata: Metadata) -> str | None:
    """Return the value of `reconcile-requested-at` as the status echoes it: one that is too long is cut and hashed."""
    value = metadata.annotations.get(RECONCILE_ANNOTATION)
    if value is None or len(value) <= _REQUEST_LIMIT:
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:16]
    return f"{value[: _REQUEST_LIMIT - len(digest) - 1]}…{digest}"


def facts(
    cache: BuildCache,
    want: DesiredCache,
    have: ObservedCache | None,
    queue: QueueStatus,
    worth: Efficiency,
    refused: Container[str] = (),
) -> BuildCacheStatus:
    """The status with everything but conditions and drift. `have` None: the look at AWS failed, its facts stay as they were.

    `refused`: parts that AWS did not make although it was asked to.
    """
    update: dict[str, object] = {
        "observed_generation": cache.metadata.generation,
        "last_handled_reconcile_at": requested(cache.metadata),
        # Without one only in a teardown of what the models refuse.
        "account": want.cluster_arn.split(":")[4] if want.cluster_arn else cache.status.account,
        "queue": queue,
        "efficiency": worth,
    }
    if have is not None:
        update |= {
            "registry": _registry(want, have),
            "file_system": _file_system(cache, want, have),
            "parts": _rows(cache, want, have, refused),
        }
    return cache.status.model_copy(update=update)


def _registry(want: DesiredCache, have: ObservedCache) -> RegistryStatus | None:
    if want.repository is None or have.repository is None or (want.repository.managed and not have.repository.owned):
        return None
    return RegistryStatus(repository_uri=have.repository.uri)


def _file_system(cache: BuildCache, want: DesiredCache, have: ObservedCache) -> FileSystemStatus | None:
    if want.file_system is None and want.given_file_system is None and have.access_points:
        return cache.status.file_system  # by its id the access points are found that are still to go
    used = have.file_system if want.file_system is not None else have.given_file_system
    if used is None or (want.file_system is not None and not used.owned):
        return None
    zones = {mount.zone for mount in have.mounts if mount.state == AVAILABLE}
    return FileSystemStatus(id=used.id, zones=tuple(sorted(zones)))


def _rows(cache: BuildCache, want: DesiredCache, have: ObservedCache, refused: Container[str]) -> tuple[Part, ...]:
    rows = []
    for name, group in ((BUILD_GROUP_PART, have.build_group), (CACHE_GROUP_PART, have.cache_group)):
        if group is not None and group.owned:
            rows.append(Part(name=name, kind="ec2/SecurityGroup", id=group.id, state=AVAILABLE))
    if have.file_system is not None and have.file_system.owned:
        state = have.file_system.state
        rows.append(Part(name=FILE_SYSTEM_PART, kind="efs/FileSystem", id=have.file_system.id, state=state))
        rows += [
            Part(name=mount_target_part(mount.zone), kind="efs/MountTarget", id=mount.id, state=mount.state)
            for mount in sorted(have.mounts, key=lambda mount: mount.zone)
        ]
    elif (given := have.given_file_system) is not None:
        rows.append(
            Part(name=FILE_SYSTEM_PART, kind="efs/FileSystem", id=given.id, state=given.state, management="Observed")
        )
    if (repository := have.repository) is not None and (repository.owned or not want.repository_managed):
        management = "Managed" if want.repository_managed else "Observed"
        rows.append(
            Part(name=REPOSITORY_PART, kind="ecr/Repository", id=repository.arn, state=AVAILABLE, management=management)
        )
    if have.log_group is not None and have.log_group.owned:
        rows.append(Part(name=LOG_GROUP_PART, kind="logs/LogGroup", id=have.log_group.name, state=AVAILABLE))
    rows += _executor_rows(cache, want, have)
    rows += _scope_rows(cache, want, have, refused, {row.name for row in rows})
    return tuple(rows[:PARTS_LIMIT])


def _executor_rows(cache: BuildCache, want: DesiredCache, have: ObservedCache) -> list[Part]:
    kind = TASK_DEFINITION
    used = executor_parts(want, have)
    rows = [Part(name=name, kind=kind, id=found.arn, state=ACTIVE) for name, found in used.items()]
    # Plain executors that are no longer wanted keep their row until their revisions are gone: the row is how they are found.
    wanted = {executor_part(executor.name) for executor in want.executors}
    remaining = {revision.arn for revision in have.revisions if revision.owned}
    rows += [
        row.model_copy(update={"state": "retiring"})
        for row in cache.status.parts
        if row.kind == kind and row.name not in wanted and row.id in remaining and not mounts(row.name)
    ]
    return sorted(rows, key=lambda row: row.name)


def _scope_rows(
    cache: BuildCache, want: DesiredCache, have: ObservedCache, refused: Container[str], others: Collection[str]
) -> list[Part]:
    """A row for each scope that a Build needs, also where there is no access point to wait for: that is what the Build reads."""
    rows = []
    made = cache.spec.reconcile_policy != "Report"
    for scope in want.scopes:
        name = access_point_part(scope.name)
        if (point := usable_point(want, have, scope)) is not None:
            rows.append(Part(name=name, kind=ACCESS_POINT, id=point.id, state=point.state))
        elif (wrong := unusable_point(want, have, scope)) is not None:
            rows.append(Part(name=name, kind=ACCESS_POINT, id=wrong.id, state=UNUSABLE))
        elif name in refused or have.unseen_access_points:
            rows.append(Part(name=name, kind=ACCESS_POINT, state=REFUSED))
        elif not made:
            rows.append(Part(name=name, kind=ACCESS_POINT, state=ABSENT))
        definitions = (executor_part(mounting_executor(executor, scope.name)) for executor in scope.executors)
        rows += [
            Part(name=each, kind=TASK_DEFINITION, state=REFUSED if each in refused else ABSENT)
            for each in definitions
            if (each in refused or not made) and each not in others
        ]
    return rows
