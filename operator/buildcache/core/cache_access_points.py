"""The access points' share of a BuildCache's plan: one for each scope that a Build needs, on whatever file system the cache has.

They stay when no Build needs them, for what is behind them is the cache; so one that is not needed now is no surplus.
"""

from . import action as act
from . import names
from .cache_file_system import GOING, remove_access_points
from .desired import DesiredCache, DesiredExecutor, DesiredScope
from .flags import Scope
from .observed import AVAILABLE, AccessPoint, FileSystem, ObservedCache
from .plan import Conflict, Plan, Use
from .status import FILE_SYSTEM_PART, Reason, access_point_part, mounting_executor
from .tagging import plan_tags
from .tasks import mounting

OWNER = (0, 0)
"""Uid and gid of every request through an access point. Kaniko restores owners, which only root may."""


def plan_access_points(want: DesiredCache, have: ObservedCache, use: Use) -> Plan:
    """All that is different of access points; those of a file system that the spec no longer has go."""
    system = wanted_system(want, have)
    result = Plan()
    gone = tuple(point for point in have.access_points if system is None or point.file_system_id != system.id)
    if gone and not want.retain and not _is_removed_with_its_file_system(want, have):
        if use.mounting:
            result += Plan(waiting=(f"{use.mounting} running build(s) may mount {gone[0].file_system_id}",))
        else:
            result += remove_access_points(gone)
    if have.unseen_access_points and want.scopes:
        return result + Plan(conflicts=(Conflict(FILE_SYSTEM_PART, Reason.ACCESS_DENIED, have.unseen_access_points),))
    if system is None:
        return result
    for point in have.access_points:
        if point not in gone and point.state == AVAILABLE:
            tags = point_tags(want, point.scope)
            result += plan_tags(access_point_part(point.scope), act.Resource("efs", point.id), tags, point.tags)
    for scope in want.scopes:
        result += _scope(want, have, system, scope)
    return result


def wanted_system(want: DesiredCache, have: ObservedCache) -> FileSystem | None:
    """The file system that Builds mount, once it can have access points."""
    system = have.file_system if want.file_system is not None else have.given_file_system
    if system is None or (want.file_system is not None and not system.owned):
        return None
    return system


def point_tags(want: DesiredCache, scope: str) -> act.Tags:
    """The tags of an access point: those of every part, and which scope it is for."""
    return {**want.tags, names.SCOPE_TAG: scope}


def usable_point(want: DesiredCache, have: ObservedCache, scope: DesiredScope) -> AccessPoint | None:
    """Our access point of a scope, if it is as it must be; of two, always the same one."""
    usable = [point for point in _points(want, have, scope) if _is_right(point, scope)]
    return min(usable, key=lambda point: (point.state != AVAILABLE, point.id), default=None)


def unusable_point(want: DesiredCache, have: ObservedCache, scope: DesiredScope) -> AccessPoint | None:
    """One of ours for the scope that is not as it must be, where there is no other."""
    if usable_point(want, have, scope) is not None:
        return None
    return min(_points(want, have, scope), key=lambda point: point.id, default=None)


def mounting_executors(want: DesiredCache, have: ObservedCache) -> tuple[DesiredExecutor, ...]:
    """For each scope with an access point, the executors that mount it: the plain ones' task definitions with the volume added."""
    plain = {executor.name: executor for executor in want.executors}
    found = []
    for scope in want.scopes:
        point = usable_point(want, have, scope)
        if point is None:
            continue
        for name in scope.executors:
            family = names.scope_family(want.identity, name, point.id)
            definition = mounting(plain[name].definition, family, Scope(point.file_system_id, point.id))
            found.append(DesiredExecutor(mounting_executor(name, scope.name), family, definition))
    return tuple(found)


def living_families(want: DesiredCache, have: ObservedCache) -> frozenset[str]:
    """The families of mounting task definitions that somebody may need again: of executors and access points that there are."""
    system = wanted_system(want, have)
    points = [point.id for point in have.access_points if system is not None and point.file_system_id == system.id]
    return frozenset(names.scope_family(want.identity, each.name, point) for each in want.executors for point in points)


def _points(want: DesiredCache, have: ObservedCache, scope: DesiredScope) -> list[AccessPoint]:
    system = wanted_system(want, have)
    return [
        point
        for point in have.access_points
        if system is not None
        and point.file_system_id == system.id
        and point.scope == scope.name
        and point.state not in GOING
    ]


def _is_right(point: AccessPoint, scope: DesiredScope) -> bool:
    return (point.uid, point.gid) == OWNER and point.path == scope.path and point.state != "error"


def _scope(want: DesiredCache, have: ObservedCache, system: FileSystem, scope: DesiredScope) -> Plan:
    part = access_point_part(scope.name)
    point = usable_point(want, have, scope)
    if point is not None:
        return Plan() if point.state == AVAILABLE else Plan(coming=(f"access point {point.id} is {point.state}",))
    if (wrong := unusable_point(want, have, scope)) is not None:
        message = (
            f"access point {wrong.id} for scope {scope.name} is not as it must be and cannot be changed: uid {wrong.uid}, gid {wrong.gid}, "
            f"path {wrong.path}, {wrong.state}, instead of 0, 0, {scope.path}; builds do without it; delete it, and it is made again"
        )
        return Plan(conflicts=(Conflict(part, Reason.IMMUTABLE_FIELD, message),))
    if system.state != AVAILABLE:
        return Plan(coming=(f"file system {system.id} is {system.state}",))
    token = names.access_point_token(want.identity, system.id, scope.name)
    create = act.CreateAccessPoint(system.id, token, scope.name, scope.path, point_tags(want, scope.name))
    return Plan((create,))


def _is_removed_with_its_file_system(want: DesiredCache, have: ObservedCache) -> bool:
    """A managed file system that goes takes its access points along, in its own order."""
    return want.file_system is None and have.file_system is not None and have.file_system.owned
