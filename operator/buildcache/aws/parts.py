"""All AWS parts of a BuildCache: one look at everything, and one write for each action of a plan."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from buildcache.core import action as act
from buildcache.core import names
from buildcache.core.action import Action
from buildcache.core.desired import DesiredCache
from buildcache.core.observed import ObservedCache, Subnet

from . import ec2, ecr, ecs, efs, logs
from .clients import Clients
from .errors import Absent, Exists, NotYet

_LOOK_AGAIN = 2.0


@dataclass(frozen=True, slots=True)
class Wait:
    """AWS wants something else to end before it does what was asked."""

    message: str
    seconds: float


def observe(clients: Clients, want: DesiredCache, old_families: Iterable[str]) -> ObservedCache:
    """What AWS has of a cache. `old_families`: of executors that the spec no longer names."""
    families = [executor.family for executor in want.executors]
    families += [family for family in old_families if family not in families]
    return _observe(clients, want, families, placed=True)


def observe_for_teardown(clients: Clients, want: DesiredCache) -> ObservedCache:
    """What AWS has of a cache that goes: every family by its prefix, and nothing of what is not ours to delete."""
    families = ecs.find_families(clients.ecs, names.family_prefix(want.identity))
    return _observe(clients, want, families, placed=False)


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


def _observe(clients: Clients, want: DesiredCache, families: Iterable[str], *, placed: bool) -> ObservedCache:
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
        efs.mount_target(mount, interface_groups.get(mount.get("NetworkInterfaceId", ""), frozenset()))
        for mount in described
    )
    # A mount target tells zone and VPC of its subnet; only the other subnets have to be asked for.
    subnets = {
        mount["SubnetId"]: Subnet(mount["SubnetId"], mount["AvailabilityZoneName"], mount["VpcId"])
        for mount in described
        if "AvailabilityZoneName" in mount and "VpcId" in mount
    }
    unknown = [subnet_id for subnet_id in want.subnet_ids if subnet_id not in subnets] if placed else []
    return ObservedCache(
        build_group=groups.get(want.build_group_name),
        cache_group=groups.get(want.cache_group_name),
        subnets={**subnets, **(ec2.observe_subnets(clients.ec2, unknown) if unknown else {})},
        file_system=file_system,
        given_file_system=given,
        mounts=mounts,
        repository=ecr.observe_repository(clients.ecr, want.repository_name, owner),
        log_group=logs.observe_log_group(clients.logs, want.log_group, owner),
        cluster_state=ecs.observe_cluster(clients.ecs, want.cluster_arn) if placed else None,
        revisions=tuple(ecs.observe_revisions(clients.ecs, families, owner)),
    )


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
            ecs.register_task_definition(clients.ecs, action)
        case act.DeregisterTaskDefinition():
            ecs.deregister_task_definition(clients.ecs, action)
        case _:
            assert_never(action)
