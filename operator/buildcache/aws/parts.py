"""All AWS parts of a BuildCache: one look at everything, and one write for each action of a plan."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from buildcache.core import action as act
from buildcache.core import names
from buildcache.core.action import Action
from buildcache.core.cache_access_points import living_families, mounting_executors
from buildcache.core.desired import DesiredCache
from buildcache.core.errors import Denied
from buildcache.core.observed import ObservedCache, Subnet, TaskRevision

from . import ec2, ecr, ecs, efs, logs, tagging
from .clients import Clients
from .errors import Absent, Exists, NotYet

_LOOK_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class Wait:
    """AWS wants something else to end before it does what was asked."""

    message: str
    seconds: float


def observe(
    clients: Clients,
    want: DesiredCache,
    old_families: Iterable[str],
    settled: ObservedCache | None = None,
    former_file_system: str | None = None,
) -> ObservedCache:
    """What AWS has of a cache. `old_families`: of executors that the spec no longer names; `former_file_system`: one that it named.

    `settled`: what an earlier look of this spec has found when nothing was to be done. What cannot change in place is then not read
    again: the content of task definition revisions, and the cluster, which no cache owns.
    """
    found = _with_access_points(clients, want, _observe(clients, want), former_file_system)
    families = [executor.family for executor in (*want.executors, *mounting_executors(want, found))]
    families += [family for family in old_families if family not in families]
    if settled is None and (found.access_points or want.scopes):
        families += _stale_families(clients, want, found)
    return replace(
        found,
        cluster_state=settled.cluster_state if settled else ecs.observe_cluster(clients.ecs, want.cluster_arn),
        dns=settled.dns if settled else _dns(clients, want),
        given_groups=settled.given_groups if settled else _given_groups(clients, want),
        subnets={**found.subnets, **_unknown_subnets(clients, want, found)},
        revisions=_revisions(clients, want, families, settled.revisions if settled else ()),
    )


def observe_for_teardown(clients: Clients, want: DesiredCache) -> ObservedCache:
    """What AWS has of a cache that goes: every family by its prefix, and nothing of what is not ours to delete."""
    families = ecs.find_families(clients.ecs, names.family_prefix(want.identity))
    owner = names.owner_tags(want.identity)
    return replace(
        _observe(clients, want),
        former_log_group=logs.observe_log_group(clients.logs, want.former_log_group, owner),
        # Of whatever file system: one that was only observed may have left the spec long ago.
        access_points=tuple(efs.observe_access_points(clients.efs, owner)),
        revisions=tuple(ecs.observe_revisions(clients.ecs, families, owner)),
    )


def apply(clients: Clients, action: Action) -> Wait | None:
    """Carry out one action; each is safe to repeat. A Wait when AWS is not ready for it, or knows more than the look before it."""
    try:
        _apply(clients, action)
    except NotYet as wait:
        return Wait(wait.message, wait.seconds)
    except (Exists, Absent) as seen:
        # Made by a pass whose answer was lost, or not visible everywhere yet: the next look decides.
        return Wait(str(seen), _LOOK_AGAIN)
    return None


def _observe(clients: Clients, want: DesiredCache) -> ObservedCache:
    owner = names.owner_tags(want.identity)
    groups = ec2.observe_security_groups(
        clients.ec2, want.vpc_id, (want.build_group_name, want.cache_group_name), owner
    )
    file_system = efs.find_file_system(clients.efs, want.creation_token, owner)
    given = None
    if want.given_file_system is not None:
        given = efs.observe_file_system(clients.efs, want.given_file_system, owner)
    mounted = file_system or given
    described = efs.observe_mount_targets(clients.efs, mounted.id) if mounted is not None else []
    interfaces = [mount["NetworkInterfaceId"] for mount in described if "NetworkInterfaceId" in mount]
    interface_groups = ec2.observe_interface_groups(clients.ec2, interfaces) if interfaces else {}
    mounts = tuple(
        efs.mount_target(mount, interface_groups.get(mount.get("NetworkInterfaceId", ""))) for mount in described
    )
    return ObservedCache(
        build_group=groups.get(want.build_group_name),
        cache_group=groups.get(want.cache_group_name),
        # A mount target tells zone and VPC of its subnet.
        subnets={
            mount["SubnetId"]: Subnet(mount["SubnetId"], mount["AvailabilityZoneName"], mount["VpcId"])
            for mount in described
            if "AvailabilityZoneName" in mount and "VpcId" in mount
        },
        file_system=file_system,
        given_file_system=given,
        mounts=mounts,
        repository=ecr.observe_repository(clients.ecr, want.repository_name, owner),
        log_group=logs.observe_log_group(clients.logs, want.log_group, owner),
    )


def _with_access_points(
    clients: Clients, want: DesiredCache, found: ObservedCache, former: str | None
) -> ObservedCache:
    """Looked at only where a Build needs one, or where they are to go: a settled cache costs no more for them."""
    used = found.file_system if want.file_system is not None else found.given_file_system
    systems = [used.id] if used is not None and want.scopes else []
    if not want.retain:
        if want.file_system is None and found.file_system is not None and found.file_system.owned:
            systems.append(found.file_system.id)
        if former is not None and (used is None or used.id != former) and former not in systems:
            systems.append(former)
    owner = names.owner_tags(want.identity)
    try:
        points = [point for system in systems for point in efs.observe_access_points(clients.efs, owner, system)]
    except Denied as denied:
        return replace(found, unseen_access_points=str(denied))
    return replace(found, access_points=tuple(points))


def _stale_families(clients: Clients, want: DesiredCache, found: ObservedCache) -> list[str]:
    """Families that mount an access point which is gone, or belong to an executor which is."""
    listed = ecs.find_families(clients.ecs, names.family_prefix(want.identity))
    living = living_families(want, found)
    return [family for family in listed if names.mounted_by(family) is not None and family not in living]


def _given_groups(clients: Clients, want: DesiredCache) -> Mapping[str, str] | None:
    return ec2.observe_given_groups(clients.ec2, want.given_groups) if want.given_groups else None


def _dns(clients: Clients, want: DesiredCache) -> bool:
    mounting = want.file_system is not None or want.given_file_system is not None
    return ec2.observe_dns(clients.ec2, want.vpc_id) if mounting else True


def _unknown_subnets(clients: Clients, want: DesiredCache, found: ObservedCache) -> Mapping[str, Subnet]:
    unknown = [subnet_id for subnet_id in want.subnet_ids if subnet_id not in found.subnets]
    return ec2.observe_subnets(clients.ec2, unknown) if unknown else {}


def _revisions(
    clients: Clients, want: DesiredCache, families: Sequence[str], settled: Sequence[TaskRevision]
) -> tuple[TaskRevision, ...]:
    """The revisions of the families. Where each family had exactly one, one read says for all which of them still have it."""
    owner = names.owner_tags(want.identity)
    counts = Counter(revision.family for revision in settled)
    known = {revision.family: revision for revision in settled if counts[revision.family] == 1}
    if len(families) == 1 or not set(families) <= known.keys():
        alone = {revision.arn for revision in known.values()}
        return tuple(ecs.observe_revisions(clients.ecs, families, owner, alone))
    active = set(ecs.find_families(clients.ecs, names.family_prefix(want.identity)))
    return tuple(known[family] for family in families if family in active)


def _apply(clients: Clients, action: Action) -> None:
    match action:
        case act.CreateSecurityGroup():
            ec2.create_security_group(clients.ec2, action)
        case act.AuthorizeRules():
            ec2.authorize_rules(clients.ec2, action)
        case act.RevokeRules():
            ec2.revoke_rules(clients.ec2, action)
        case act.DeleteSecurityGroup():
            ec2.delete_security_group(clients.ec2, action)
        case act.CreateFileSystem():
            efs.create_file_system(clients.efs, action)
        case act.UpdateThroughput():
            efs.update_throughput(clients.efs, action)
        case act.PutTransitions():
            efs.put_transitions(clients.efs, action)
        case act.PutBackup():
            efs.put_backup(clients.efs, action)
        case act.DeleteFileSystem():
            efs.delete_file_system(clients.efs, action)
        case act.CreateMountTarget():
            efs.create_mount_target(clients.efs, action)
        case act.SetMountTargetGroups():
            efs.set_mount_target_groups(clients.efs, action)
        case act.DeleteMountTarget():
            efs.delete_mount_target(clients.efs, action)
        case act.CreateAccessPoint():
            efs.create_access_point(clients.efs, action)
        case act.DeleteAccessPoint():
            efs.delete_access_point(clients.efs, action)
        case act.CreateRepository():
            ecr.create_repository(clients.ecr, action)
        case act.MakeTagsMutable():
            ecr.make_tags_mutable(clients.ecr, action)
        case act.PutLifecyclePolicy():
            ecr.put_lifecycle_policy(clients.ecr, action)
        case act.DeleteLifecyclePolicy():
            ecr.delete_lifecycle_policy(clients.ecr, action)
        case act.DeleteRepository():
            ecr.delete_repository(clients.ecr, action)
        case act.CreateLogGroup():
            logs.create_log_group(clients.logs, action)
        case act.PutRetention():
            logs.put_retention(clients.logs, action)
        case act.DeleteLogGroup():
            logs.delete_log_group(clients.logs, action)
        case act.RegisterTaskDefinition():
            clients.definitions.take()
            ecs.register_task_definition(clients.ecs, action)
        case act.DeregisterTaskDefinition():
            clients.definitions.take()
            ecs.deregister_task_definition(clients.ecs, action)
        case act.TagResource():
            tagging.tag_resource(clients, action)
        case act.UntagResource():
            tagging.untag_resource(clients, action)
        case _:
            assert_never(action)
