"""What AWS should have: a pure function of the spec and the identity of a BuildCache."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from buildcache.api.cache import BuildCacheSpec
from buildcache.api.stores import FileSystem

from . import names
from .observed import Rule
from .tagging import wanted_tags
from .tasks import TaskDefinition, task_definition

NFS = 2049
ANYWHERE = frozenset({Rule("-1", -1, -1, "0.0.0.0/0"), Rule("-1", -1, -1, "::/0")})
"""Egress of the build group. Both families: a group made before its VPC got IPv6 would lack the second one."""


@dataclass(frozen=True, slots=True)
class DesiredFileSystem:
    """The managed file system, while the spec wants one."""

    throughput_mode: str
    provisioned_mibps: int | None
    kms_key: str | None
    transitions: frozenset[tuple[str, str]]
    backup: bool


@dataclass(frozen=True, slots=True)
class DesiredRepository:
    """The layer cache. `policy` is normalised JSON, None: no lifecycle policy."""

    name: str
    managed: bool
    kms_key: str | None
    policy: str | None


@dataclass(frozen=True, slots=True)
class DesiredExecutor:
    """One executor and the content of its task definition."""

    name: str
    family: str
    definition: TaskDefinition


@dataclass(frozen=True, slots=True)
class DesiredScope:
    """A scope that a Build needs, and the executors that are to mount it."""

    name: str
    path: str
    executors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DesiredCache:
    """All parts of one cache. Names are there also for parts that are not wanted: what is to go must be found first."""

    identity: names.Identity
    region: str
    cluster_arn: str
    vpc_id: str
    subnet_ids: tuple[str, ...]
    tags: Mapping[str, str]
    given_groups: tuple[str, ...]
    build_group_name: str
    cache_group_name: str
    creation_token: str
    file_system: DesiredFileSystem | None
    given_file_system: str | None
    repository_name: str
    repository: DesiredRepository | None
    repository_managed: bool
    log_group: str
    former_log_group: str
    log_retention_days: int
    executors: tuple[DesiredExecutor, ...]
    retain: bool
    scopes: tuple[DesiredScope, ...] = ()


def desired(
    spec: BuildCacheSpec,
    identity: names.Identity,
    *,
    runner_image: str,
    scopes: Mapping[str, tuple[str, ...]] | None = None,
) -> DesiredCache:
    """Every wanted part with its name, tags and content. `scopes`: those that Builds need now, with their executors."""
    stores = spec.enabled
    given = spec.file_system.id if stores and spec.file_system is not None else None
    repository_name = spec.registry.repository_name or names.repository_name(identity)
    managed = spec.registry.management == "Managed"
    return DesiredCache(
        identity=identity,
        region=spec.region,
        cluster_arn=spec.cluster_arn,
        vpc_id=spec.network.vpc_id,
        subnet_ids=spec.network.subnet_ids,
        tags=wanted_tags(spec.tags, identity, retain=spec.deletion_policy == "Retain"),
        given_groups=spec.network.security_group_ids,
        build_group_name=names.security_group_name(identity, "build"),
        cache_group_name=names.security_group_name(identity, "cache"),
        creation_token=names.creation_token(identity),
        file_system=_file_system(spec.file_system) if stores and spec.file_system is not None and not given else None,
        given_file_system=given,
        repository_name=repository_name,
        repository=DesiredRepository(
            name=repository_name,
            managed=managed,
            kms_key=spec.registry.kms_key_arn,
            policy=None if spec.registry.retention_days is None else lifecycle_policy(spec.registry.retention_days),
        )
        if stores
        else None,
        repository_managed=managed,
        log_group=names.log_group_name(identity),
        former_log_group=names.former_log_group_name(identity),
        log_retention_days=spec.log_retention_days,
        executors=tuple(
            DesiredExecutor(
                name=executor.name,
                family=names.family(identity, executor.name),
                definition=task_definition(identity, spec, executor, runner_image=runner_image),
            )
            for executor in spec.executors
        ),
        retain=spec.deletion_policy == "Retain",
        scopes=tuple(
            DesiredScope(scope, names.scope_path(identity, scope), executors)
            for scope, executors in (scopes or {}).items()
        ),
    )


def lifecycle_policy(retention_days: int) -> str:
    """The one rule of the repository, as normalised JSON. The text must have at least 100 characters, says ECR's model."""
    rule = {
        "rulePriority": 1,
        "description": f"buildcache-operator: expire cached layers {retention_days} days after their push",
        "selection": {
            "tagStatus": "any",
            "countType": "sinceImagePushed",
            "countUnit": "days",
            "countNumber": retention_days,
        },
        "action": {"type": "expire"},
    }
    return normalised(json.dumps({"rules": [rule]}))


def normalised(policy: str) -> str:
    """A JSON document in one spelling, so that only a change of meaning is a difference; text that is not JSON stays as it is."""
    try:
        return json.dumps(json.loads(policy), sort_keys=True, separators=(",", ":"))
    except ValueError:
        return policy


def _file_system(spec: FileSystem) -> DesiredFileSystem:
    transition = spec.transition_to_ia
    return DesiredFileSystem(
        throughput_mode=spec.throughput_mode,
        provisioned_mibps=spec.provisioned_mibps,
        kms_key=spec.kms_key_arn,
        transitions=frozenset() if transition is None else frozenset({("TransitionToIA", transition)}),
        backup=spec.backup,
    )
