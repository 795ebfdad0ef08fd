"""AWS as far as a plan sees it: what each action does to an ObservedCache, what is refused for now, and what time changes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from buildcache.core import action as act
from buildcache.core.action import Action
from buildcache.core.names import CONTENT_HASH_TAG
from buildcache.core.observed import (
    AccessPoint,
    FileSystem,
    LogGroup,
    MountTarget,
    ObservedCache,
    Repository,
    Rule,
    SecurityGroup,
    TaskRevision,
)
from tests.strategies import ACCOUNT, BUILD_GROUP, CACHE_GROUP, FILE_SYSTEM, REGION, SUBNETS

EVERYTHING = Rule("-1", -1, -1, "0.0.0.0/0")


class ForeignTouchedError(AssertionError):
    """An action was about something without our tags."""


def pass_time(have: ObservedCache) -> ObservedCache:
    """All that AWS was making is made, all that it was removing is gone."""
    file_system = have.file_system
    if file_system is not None:
        file_system = None if file_system.state == "deleting" else replace(file_system, state="available")
    mounts = tuple(replace(mount, state="available") for mount in have.mounts if mount.state != "deleting")
    points = tuple(
        replace(point, state="available")
        for point in have.access_points
        if point.state != "deleting" and (file_system is not None or point.file_system_id != FILE_SYSTEM)
    )
    return replace(have, file_system=file_system, mounts=mounts if file_system else (), access_points=points)


def apply(have: ObservedCache, action: Action) -> ObservedCache:
    """The state after an action; unchanged where AWS refuses it for now."""
    match action:
        case act.CreateSecurityGroup():
            made = SecurityGroup(
                BUILD_GROUP if action.role == "build" else CACHE_GROUP,
                True,
                egress=frozenset({EVERYTHING}),
                tags=action.tags,
            )
            return replace(have, build_group=made) if action.role == "build" else replace(have, cache_group=made)
        case act.AuthorizeRules():
            return _rules(have, action, lambda before: before | action.rules)
        case act.RevokeRules():
            return _rules(have, action, lambda before: before - action.rules)
        case act.DeleteSecurityGroup():
            return _delete_group(have, action)
        case act.CreateFileSystem():
            made_fs = FileSystem(
                FILE_SYSTEM,
                True,
                "creating",
                action.throughput_mode,
                action.provisioned_mibps,
                action.kms_key,
                backup=action.backup,
                tags=action.tags,
            )
            return have if have.file_system else replace(have, file_system=made_fs)
        case act.UpdateThroughput():
            return _file_system(
                have,
                state="updating",
                throughput_mode=action.throughput_mode,
                provisioned_mibps=action.provisioned_mibps,
            )
        case act.PutTransitions():
            return _file_system(have, transitions=action.transitions)
        case act.PutBackup():
            return _file_system(have, backup=action.enabled)
        case act.DeleteFileSystem():
            _ours(have.file_system is not None and have.file_system.owned)
            return have if have.mounts else _file_system(have, state="deleting")
        case act.CreateMountTarget():
            taken = any(mount.zone == SUBNETS[action.subnet_id] for mount in have.mounts)
            available = have.file_system is not None and have.file_system.state == "available"
            zone = SUBNETS[action.subnet_id]
            made_mount = MountTarget(f"fsmt-{zone[-1]}", action.subnet_id, zone, "creating", action.groups)
            return have if taken or not available else replace(have, mounts=(*have.mounts, made_mount))
        case act.SetMountTargetGroups():
            return _mount(have, action.mount_target_id, groups=action.groups)
        case act.DeleteMountTarget():
            return _mount(have, action.mount_target_id, state="deleting")
        case act.CreateAccessPoint():
            made_point = AccessPoint(
                f"fsap-{len(have.access_points):08x}",
                action.file_system_id,
                "creating",
                action.scope,
                action.path,
                0,
                0,
                action.tags,
            )
            return replace(have, access_points=(*have.access_points, made_point))
        case act.DeleteAccessPoint():
            return _point(have, action.access_point_id, state="deleting")
        case act.CreateRepository():
            made_repository = Repository(
                action.name, "arn:repository", "uri", True, kms_key=action.kms_key, tags=action.tags
            )
            return have if have.repository else replace(have, repository=made_repository)
        case act.MakeTagsMutable():
            return _repository(have, mutability="MUTABLE")
        case act.PutLifecyclePolicy():
            return _repository(have, policy=action.policy)
        case act.DeleteLifecyclePolicy():
            return _repository(have, policy=None)
        case act.DeleteRepository():
            _ours(have.repository is not None and have.repository.owned)
            return replace(have, repository=None)
        case act.CreateLogGroup():
            return have if have.log_group else replace(have, log_group=LogGroup(action.name, True, tags=action.tags))
        case act.PutRetention():
            assert have.log_group is not None
            _ours(have.log_group.owned)
            return replace(have, log_group=replace(have.log_group, retention_days=action.days))
        case act.DeleteLogGroup():
            _ours(have.log_group is not None and have.log_group.owned)
            return replace(have, log_group=None)
        case act.RegisterTaskDefinition():
            return _register(have, action)
        case act.DeregisterTaskDefinition():
            _ours(all(revision.owned for revision in have.revisions if revision.arn == action.arn))
            return replace(have, revisions=tuple(each for each in have.revisions if each.arn != action.arn))
        case act.TagResource():
            return _tags(have, action.resource, lambda tags: {**tags, **action.tags})
        case act.UntagResource():
            return _tags(have, action.resource, lambda tags: {k: v for k, v in tags.items() if k not in action.keys})
        case _:
            assert_never(action)


def _ours(owned: bool) -> None:
    if not owned:
        raise ForeignTouchedError


def _rules(
    have: ObservedCache,
    action: act.AuthorizeRules | act.RevokeRules,
    change: Callable[[frozenset[Rule]], frozenset[Rule]],
) -> ObservedCache:
    group = have.build_group if action.role == "build" else have.cache_group
    assert group is not None
    assert group.id == action.group_id
    _ours(group.owned)
    changed = (
        replace(group, ingress=change(group.ingress))
        if action.direction == "ingress"
        else replace(group, egress=change(group.egress))
    )
    return replace(have, build_group=changed) if action.role == "build" else replace(have, cache_group=changed)


def _delete_group(have: ObservedCache, action: act.DeleteSecurityGroup) -> ObservedCache:
    group = have.build_group if action.role == "build" else have.cache_group
    other = have.cache_group if action.role == "build" else have.build_group
    assert group is not None
    _ours(group.owned)
    referred = other is not None and any(rule.peer == group.id for rule in other.ingress | other.egress)
    if referred or any(group.id in (mount.groups or ()) for mount in have.mounts):
        return have  # DependencyViolation
    return replace(have, build_group=None) if action.role == "build" else replace(have, cache_group=None)


def _file_system(have: ObservedCache, **changes: object) -> ObservedCache:
    assert have.file_system is not None
    _ours(have.file_system.owned)
    if have.file_system.state != "available":
        return have  # IncorrectFileSystemLifeCycleState
    return replace(have, file_system=replace(have.file_system, **changes))  # type: ignore[arg-type]


def _tags(
    have: ObservedCache, resource: act.Resource, change: Callable[[Mapping[str, str]], Mapping[str, str]]
) -> ObservedCache:
    match resource.service:
        case "ec2":
            role = "build_group" if have.build_group and have.build_group.id == resource.id else "cache_group"
            part = getattr(have, role)
        case "efs" if resource.id.startswith("fsap-"):
            point = next(point for point in have.access_points if point.id == resource.id)
            return _point(have, point.id, tags=change(point.tags))
        case "efs":
            role, part = "file_system", have.file_system
        case "ecr":
            role, part = "repository", have.repository
        case "logs":
            role, part = "log_group", have.log_group
        case "ecs":
            for each in have.revisions:
                _ours(each.owned or each.arn != resource.id)
            changed = tuple(
                replace(each, tags=change(each.tags)) if each.arn == resource.id else each for each in have.revisions
            )
            return replace(have, revisions=changed)
    assert part is not None
    _ours(part.owned)
    return replace(have, **{role: replace(part, tags=change(part.tags))})


def _mount(have: ObservedCache, mount_id: str, **changes: object) -> ObservedCache:
    _ours(have.file_system is not None and have.file_system.owned)
    mounts = tuple(
        replace(mount, **changes) if mount.id == mount_id else mount  # type: ignore[arg-type]
        for mount in have.mounts
    )
    return replace(have, mounts=mounts)


def _point(have: ObservedCache, point_id: str, **changes: object) -> ObservedCache:
    points = tuple(
        replace(point, **changes) if point.id == point_id else point  # type: ignore[arg-type]
        for point in have.access_points
    )
    return replace(have, access_points=points)


def _repository(have: ObservedCache, **changes: object) -> ObservedCache:
    assert have.repository is not None
    _ours(have.repository.owned)
    return replace(have, repository=replace(have.repository, **changes))  # type: ignore[arg-type]


def _register(have: ObservedCache, action: act.RegisterTaskDefinition) -> ObservedCache:
    assert CONTENT_HASH_TAG not in action.tags
    family = str(action.definition.request["family"])
    number = 1 + max((each.revision for each in have.revisions if each.family == family), default=0)
    arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:{number}"
    tags = {**action.tags, CONTENT_HASH_TAG: action.definition.content_hash}
    made = TaskRevision(arn, family, number, True, action.definition.content_hash, tags)
    return replace(have, revisions=(*have.revisions, made))
