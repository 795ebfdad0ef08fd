"""The file system's share of a BuildCache's plan: its settings, and a mount target for each zone."""

from collections.abc import Iterable, Mapping

from . import action as act
from .action import Action, mount_target_part
from .desired import DesiredCache, DesiredFileSystem
from .observed import AVAILABLE, AccessPoint, FileSystem, MountTarget, ObservedCache
from .plan import Blocked, Conflict, Plan, Use, foreign
from .status import FILE_SYSTEM_PART, Reason
from .tagging import plan_tags

SUBNETS_PART = "subnets"
GOING = ("deleting", "deleted")


def plan_file_system(want: DesiredCache, have: ObservedCache, use: Use) -> Plan:
    """All that is different of the file system and its mount targets."""
    result = Plan()
    if not have.dns:
        message = (
            f"spec.network.vpcID: {want.vpc_id} has enableDnsSupport or enableDnsHostnames off, without which no task can "
            "mount a file system: switch both on"
        )
        result += Plan(conflicts=(Conflict(FILE_SYSTEM_PART, Reason.INVALID_SPEC, message),))
    if want.given_file_system is not None and have.given_file_system is None:
        message = f"spec.fileSystem.id: file system {want.given_file_system} does not exist in {want.region}"
        result += Plan(conflicts=(Conflict(FILE_SYSTEM_PART, Reason.NOT_FOUND, message),))
    if want.file_system is None:
        if have.file_system is not None and have.file_system.owned and not want.retain:
            if use.mounting:
                return result + Plan(
                    waiting=(f"{use.mounting} running build(s) mount file system {have.file_system.id}",)
                )
            result += remove_file_system(want, have, have.file_system)
        return result
    if subnet_conflicts(want, have):
        return result
    if have.file_system is None:
        return result + Plan((_create_file_system(want, want.file_system),))
    if not have.file_system.owned:
        return result + Plan(conflicts=(foreign(FILE_SYSTEM_PART, f"file system {have.file_system.id}"),))
    return (
        result + _settings(want, want.file_system, have.file_system) + _mount_targets(want, have, have.file_system, use)
    )


def _create_file_system(want: DesiredCache, file_system: DesiredFileSystem) -> Action:
    return act.CreateFileSystem(
        creation_token=want.creation_token,
        kms_key=file_system.kms_key,
        throughput_mode=file_system.throughput_mode,
        provisioned_mibps=file_system.provisioned_mibps,
        backup=file_system.backup,
        tags=_tags(want),
    )


def _tags(want: DesiredCache) -> Mapping[str, str]:
    """Beside those of every part a name, which is all that the AWS console shows of a file system."""
    return {"Name": want.creation_token, **want.tags}


def _settings(cache: DesiredCache, want: DesiredFileSystem, have: FileSystem) -> Plan:
    conflicts: tuple[Conflict, ...] = ()
    if want.kms_key is not None and have.kms_key is not None and want.kms_key != have.kms_key:
        message = f"spec.fileSystem.kmsKeyARN: file system {have.id} keeps the key that it was created with"
        conflicts = (Conflict(FILE_SYSTEM_PART, Reason.IMMUTABLE_FIELD, message),)
    if have.state == "error":
        message = f"file system {have.id} is in state error: delete it, or ask AWS; it is not replaced by itself"
        return Plan(conflicts=(*conflicts, Conflict(FILE_SYSTEM_PART, Reason.NOT_FOUND, message)))
    if have.state != AVAILABLE:
        return Plan(waiting=(f"file system {have.id} is {have.state}",), conflicts=conflicts)
    actions: list[Action] = []
    if want.transitions != have.transitions:
        actions.append(act.PutTransitions(have.id, want.transitions))
    if want.backup != have.backup:
        actions.append(act.PutBackup(have.id, want.backup))
    if want.throughput_mode != have.throughput_mode or (
        want.throughput_mode == "provisioned" and want.provisioned_mibps != have.provisioned_mibps
    ):
        # Last: while the change is under way the file system is `updating`, and takes no other one.
        actions.append(act.UpdateThroughput(have.id, want.throughput_mode, want.provisioned_mibps))
    tags = plan_tags(FILE_SYSTEM_PART, act.Resource("efs", have.id), _tags(cache), have.tags)
    return Plan(conflicts=conflicts) + tags + Plan(tuple(actions))


def mount_subnets(want: DesiredCache, have: ObservedCache) -> Mapping[str, str]:
    """Zone → subnet of its mount target: the first one listed, but a subnet of the spec that has one already keeps it."""
    chosen: dict[str, str] = {}
    for subnet_id in want.subnet_ids:
        if (subnet := have.subnets.get(subnet_id)) is not None:
            chosen.setdefault(subnet.zone, subnet_id)
    for mount in have.mounts:
        if mount.zone in chosen and mount.subnet_id in want.subnet_ids:
            chosen[mount.zone] = mount.subnet_id
    return chosen


def is_our_mount(want: DesiredCache, have: ObservedCache, mount: MountTarget) -> bool | None:
    """Mount targets carry no tags: ours are those in our group, or in a subnet of the spec. None: unknown."""
    if mount.subnet_id in want.subnet_ids:
        return True
    if have.cache_group is None or not have.cache_group.owned:
        return False
    return None if mount.groups is None else have.cache_group.id in mount.groups


def subnet_conflicts(want: DesiredCache, have: ObservedCache) -> tuple[Conflict, ...]:
    """Subnets that do not exist or belong to another VPC; no mount target is created in the others until they are right."""
    found = []
    for position, subnet_id in enumerate(want.subnet_ids):
        path = f"spec.network.subnetIDs[{position}]"
        subnet = have.subnets.get(subnet_id)
        if subnet is None:
            message = f"{path}: subnet {subnet_id} does not exist in {want.region}; correct the id"
            found.append(Conflict(SUBNETS_PART, Reason.NOT_FOUND, message))
        elif subnet.vpc_id != want.vpc_id:
            message = f"{path}: subnet {subnet_id} is in {subnet.vpc_id}, not in spec.network.vpcID {want.vpc_id}"
            found.append(Conflict(SUBNETS_PART, Reason.INVALID_SPEC, message))
    return tuple(found)


def _mount_targets(want: DesiredCache, have: ObservedCache, file_system: FileSystem, use: Use) -> Plan:
    if have.cache_group is not None and not have.cache_group.owned:
        return Plan()  # the conflict about the group says it all
    if have.cache_group is None:
        return Plan(waiting=("the security group of the file system is not there yet",))
    groups = frozenset({have.cache_group.id})
    chosen = mount_subnets(want, have)
    result = Plan()
    for mount in have.mounts:
        if chosen.get(mount.zone) == mount.subnet_id:
            result += _mount_target(mount, groups)
        elif mount.state in GOING:
            # Whose it was cannot be seen any more: its interface, and with that its groups, may be gone before it.
            result += Plan(waiting=(f"mount target {mount.id} is {mount.state}",))
        elif (ours := is_our_mount(want, have, mount)) is None:
            result += Plan(waiting=(f"the security groups of mount target {mount.id} are not known yet",))
        elif not ours:
            if mount.zone in chosen:
                thing = f"mount target {mount.id} of {file_system.id}, which takes the place of ours in {mount.zone},"
                result += Plan(conflicts=(foreign(mount_target_part(mount.zone), thing),))
        elif use.mounting:
            message = f"mount target {mount.id} is replaced when no build mounts it ({use.mounting} running)"
            result += Plan(waiting=(message,))
        elif mount.state == AVAILABLE:
            result += Plan((act.DeleteMountTarget(mount.id, mount.zone),))
        else:
            result += Plan(waiting=(f"mount target {mount.id} is {mount.state}",))
    taken = {mount.zone for mount in have.mounts}
    missing = {zone: subnet_id for zone, subnet_id in chosen.items() if zone not in taken}
    if file_system.state == AVAILABLE:
        creations = [act.CreateMountTarget(file_system.id, missing[zone], zone, groups) for zone in sorted(missing)]
        result += Plan(tuple(creations))
    return result


def _mount_target(mount: MountTarget, groups: frozenset[str]) -> Plan:
    if mount.state == "error":
        message = f"mount target {mount.id} is in state error: delete it; the operator then creates a new one"
        return Plan(conflicts=(Conflict(mount_target_part(mount.zone), Reason.NOT_FOUND, message),))
    if mount.state != AVAILABLE:
        return Plan(waiting=(f"mount target {mount.id} is {mount.state}",))
    if mount.groups is not None and mount.groups != groups:
        return Plan((act.SetMountTargetGroups(mount.id, mount.zone, groups),))
    return Plan()


def remove_access_points(points: Iterable[AccessPoint]) -> Plan:
    """Ours go, and are waited for."""
    result = Plan()
    for point in points:
        if point.state in GOING:
            result += Plan(waiting=(f"access point {point.id} is being deleted",))
        else:
            result += Plan((act.DeleteAccessPoint(point.id, point.scope),))
    return result


def remove_file_system(want: DesiredCache, have: ObservedCache, file_system: FileSystem) -> Plan:
    """Access points and mount targets first, all of them; the file system when none is left."""
    result = remove_access_points(point for point in have.access_points if point.file_system_id == file_system.id)
    for mount in have.mounts:
        if mount.state in GOING:
            message = f"mount target {mount.id} is being deleted"
            result += Plan(waiting=(message,), blocked=Blocked(Reason.MOUNT_TARGETS_DELETING, message))
        elif (ours := is_our_mount(want, have, mount)) is None:
            message = f"the security groups of mount target {mount.id} are not known yet"
            result += Plan(waiting=(message,), blocked=Blocked(Reason.MOUNT_TARGETS_DELETING, message))
        elif not ours:
            thing = f"mount target {mount.id}, which keeps file system {file_system.id} from being deleted,"
            result += Plan(
                conflicts=(foreign(mount_target_part(mount.zone), thing),),
                blocked=Blocked(Reason.MOUNT_TARGETS_DELETING, f"{thing} is not ours: delete it by hand"),
            )
        else:
            result += Plan((act.DeleteMountTarget(mount.id, mount.zone),))
    if have.mounts or result != Plan():
        return result
    if file_system.state == "deleting":
        return Plan(waiting=(f"file system {file_system.id} is being deleted",))
    return Plan((act.DeleteFileSystem(file_system.id),))
