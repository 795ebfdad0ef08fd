"""The plan of a deletion: the same difference towards nothing, in the order in which AWS lets go.

Task definitions, access points, mount targets, file system, the cache's security group before the builds' (it refers to it),
repository, log group.
What is absent counts as deleted, what is not ours is left alone, and what the policy retains stays as it is.
"""

from . import action as act
from .cache import refers_to
from .cache_file_system import remove_access_points, remove_file_system
from .desired import DesiredCache
from .observed import AVAILABLE, AccessPoint, LogGroup, ObservedCache
from .plan import Blocked, Plan
from .status import (
    BUILD_GROUP_PART,
    CACHE_GROUP_PART,
    FILE_SYSTEM_PART,
    LOG_GROUP_PART,
    REPOSITORY_PART,
    TASK_DEFINITIONS_PART,
    Reason,
    access_point_part,
)
from .tagging import policy_tag


def plan_teardown(want: DesiredCache, have: ObservedCache, *, running: int) -> Plan:
    """What can be removed now. Empty: everything of ours is gone (or retained), and the finalizer may go too."""
    if want.retain:
        return Plan()
    if running:
        message = f"{running} running build(s) use the cache: it is removed when they have ended"
        return Plan(waiting=(message,), blocked=Blocked(Reason.BUILDS_RUNNING, message))
    revisions = sorted((each for each in have.revisions if each.owned), key=lambda each: (each.family, each.revision))
    result = Plan(tuple(act.DeregisterTaskDefinition(each.arn) for each in revisions))
    result += remove_access_points(_elsewhere(have))
    file_system = have.file_system if have.file_system is not None and have.file_system.owned else None
    if file_system is not None:
        result += remove_file_system(want, have, file_system)
    result += _groups(have, mounted=file_system is not None and bool(have.mounts))
    if have.repository is not None and have.repository.owned and want.repository_managed:
        result += Plan((act.DeleteRepository(have.repository.name),))
    # Last: a task that started in this very moment still holds the builds' group, and its report is a line in the log.
    if not result.actions and not result.waiting:
        result += Plan(tuple(act.DeleteLogGroup(group.name) for group in _log_groups(have)))
    return result


def plan_marks(want: DesiredCache, have: ObservedCache) -> Plan:
    """What a deletion with policy Retain writes: the mark on each part of ours that it was left on purpose."""
    mark = policy_tag(retain=True)
    ours: list[tuple[str, act.Resource, act.Tags]] = []
    for part, group in ((BUILD_GROUP_PART, have.build_group), (CACHE_GROUP_PART, have.cache_group)):
        if group is not None and group.owned:
            ours.append((part, act.Resource("ec2", group.id), group.tags))
    if (system := have.file_system) is not None and system.owned and system.state == AVAILABLE:
        ours.append((FILE_SYSTEM_PART, act.Resource("efs", system.id), system.tags))
    ours += [
        (access_point_part(point.scope), act.Resource("efs", point.id), point.tags)
        for point in have.access_points
        if point.state == AVAILABLE
    ]
    if (repository := have.repository) is not None and repository.owned and want.repository_managed:
        ours.append((REPOSITORY_PART, act.Resource("ecr", repository.arn), repository.tags))
    ours += [(LOG_GROUP_PART, act.Resource("logs", group.arn), group.tags) for group in _log_groups(have)]
    ours += [(TASK_DEFINITIONS_PART, act.Resource("ecs", each.arn), each.tags) for each in have.revisions if each.owned]
    unmarked = [each for each in ours if not mark.items() <= each[2].items()]
    return Plan(tuple(act.TagResource(part, resource, mark) for part, resource, _ in unmarked))


def _log_groups(have: ObservedCache) -> tuple[LogGroup, ...]:
    """The log group, and the one that an earlier release made under another name."""
    return tuple(group for group in (have.log_group, have.former_log_group) if group is not None and group.owned)


def _elsewhere(have: ObservedCache) -> tuple[AccessPoint, ...]:
    """Our access points on a file system that is not ours, which stays."""
    ours = have.file_system.id if have.file_system is not None and have.file_system.owned else None
    return tuple(point for point in have.access_points if point.file_system_id != ours)


def _groups(have: ObservedCache, *, mounted: bool) -> Plan:
    cache_group = have.cache_group if have.cache_group is not None and have.cache_group.owned else None
    build_group = have.build_group if have.build_group is not None and have.build_group.owned else None
    if cache_group is not None:
        # The builds' group waits for the next pass: deleting it while a rule names it is refused.
        if mounted:
            return Plan(waiting=(f"security group {cache_group.id} is used by mount targets",))
        return Plan((act.DeleteSecurityGroup("cache", cache_group.id),))
    if build_group is None:
        return Plan()
    if refers_to(have.cache_group, build_group):
        message = f"a rule of {have.cache_group.id if have.cache_group else ''} names security group {build_group.id}"
        return Plan(waiting=(message,), blocked=Blocked(Reason.SECURITY_GROUP_IN_USE, message))
    return Plan((act.DeleteSecurityGroup("build", build_group.id),))
