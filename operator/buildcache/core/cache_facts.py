"""The facts of a BuildCache's status: ids, rows and zones as AWS answered them, never composed."""

from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import (
    BuildCacheStatus,
    Efficiency,
    FileSystemStatus,
    Part,
    QueueStatus,
    RegistryStatus,
)
from buildcache.api.meta import RECONCILE_ANNOTATION

from .action import mount_target_part
from .cache import executor_parts
from .desired import DesiredCache
from .observed import ACTIVE, AVAILABLE, ObservedCache
from .status import BUILD_GROUP_PART, CACHE_GROUP_PART, FILE_SYSTEM_PART, LOG_GROUP_PART, REPOSITORY_PART, executor_part

PARTS_LIMIT = 64
TASK_DEFINITION = "ecs/TaskDefinition"


def facts(
    cache: BuildCache, want: DesiredCache, have: ObservedCache | None, queue: QueueStatus, worth: Efficiency
) -> BuildCacheStatus:
    """The status with everything but conditions and drift. `have` None: the look at AWS failed, its facts stay as they were."""
    update: dict[str, object] = {
        "observed_generation": cache.metadata.generation,
        "last_handled_reconcile_at": cache.metadata.annotations.get(RECONCILE_ANNOTATION),
        "account": want.cluster_arn.split(":")[4],
        "queue": queue,
        "efficiency": worth,
    }
    if have is not None:
        update |= {
            "registry": _registry(want, have),
            "file_system": _file_system(want, have),
            "parts": _rows(cache, want, have),
        }
    return cache.status.model_copy(update=update)


def _registry(want: DesiredCache, have: ObservedCache) -> RegistryStatus | None:
    if want.repository is None or have.repository is None or (want.repository.managed and not have.repository.owned):
        return None
    return RegistryStatus(repository_uri=have.repository.uri)


def _file_system(want: DesiredCache, have: ObservedCache) -> FileSystemStatus | None:
    used = have.file_system if want.file_system is not None else have.given_file_system
    if used is None or (want.file_system is not None and not used.owned):
        return None
    zones = {mount.zone for mount in have.mounts if mount.state == AVAILABLE}
    return FileSystemStatus(id=used.id, zones=tuple(sorted(zones)))


def _rows(cache: BuildCache, want: DesiredCache, have: ObservedCache) -> tuple[Part, ...]:
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
    return tuple(rows[:PARTS_LIMIT])


def _executor_rows(cache: BuildCache, want: DesiredCache, have: ObservedCache) -> list[Part]:
    kind = TASK_DEFINITION
    used = executor_parts(want, have)
    rows = [Part(name=name, kind=kind, id=found.arn, state=ACTIVE) for name, found in used.items()]
    # Executors that are no longer wanted keep their row until their revisions are gone: the row is how they are found.
    wanted = {executor_part(executor.name) for executor in want.executors}
    remaining = {revision.arn for revision in have.revisions if revision.owned}
    rows += [
        row.model_copy(update={"state": "retiring"})
        for row in cache.status.parts
        if row.kind == kind and row.name not in wanted and row.id in remaining
    ]
    return sorted(rows, key=lambda row: row.name)
