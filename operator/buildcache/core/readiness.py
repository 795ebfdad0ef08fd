"""Which groups of parts can be used. Readiness is usability: a part is ready also while something about it is being corrected."""

from collections.abc import Mapping
from dataclasses import dataclass

from .cache import build_groups, executor_parts, network_conflicts
from .cache_file_system import mount_subnets
from .desired import DesiredCache
from .observed import ACTIVE, AVAILABLE, ObservedCache
from .status import ConditionType, Reason, executor_part


@dataclass(frozen=True, slots=True)
class Readiness:
    """One part group: whether it can be used, and why not."""

    ready: bool
    reason: Reason
    message: str = ""


def readiness(want: DesiredCache, have: ObservedCache) -> Mapping[ConditionType, Readiness]:
    """Each part group by its condition. `Creating` is said of all that is not there; why may be known better by others."""
    return {
        ConditionType.NETWORK_READY: _network(want, have),
        ConditionType.FILE_SYSTEM_READY: _file_system_ready(want, have),
        ConditionType.REGISTRY_READY: _registry_ready(want, have),
        ConditionType.EXECUTORS_READY: _executors_ready(want, have),
    }


def _network(want: DesiredCache, have: ObservedCache) -> Readiness:
    # ECS refuses a task that names a subnet or a security group which does not exist.
    for conflict in network_conflicts(want, have):
        return Readiness(False, conflict.reason, conflict.message)
    groups = build_groups(want, have)
    if not groups:
        return Readiness(False, Reason.CREATING, "the security group of the builds does not exist yet")
    if want.file_system is not None:
        group = have.cache_group
        if group is None or not group.owned or groups - {rule.peer for rule in group.ingress}:
            return Readiness(False, Reason.CREATING, "the security group of the file system does not admit builds yet")
    return Readiness(True, Reason.AVAILABLE)


def _file_system_ready(want: DesiredCache, have: ObservedCache) -> Readiness:
    used = have.file_system if want.file_system is not None else have.given_file_system
    if want.file_system is None and want.given_file_system is None:
        return Readiness(False, Reason.NOT_CONFIGURED)
    if used is None or used.state not in (AVAILABLE, "updating") or (want.file_system is not None and not used.owned):
        return Readiness(
            False,
            Reason.CREATING,
            "the file system does not exist yet" if used is None else f"{used.id} is {used.state}",
        )
    if not have.dns:
        return Readiness(False, Reason.CREATING, f"DNS support or DNS hostnames are disabled in {want.vpc_id}")
    zones = {mount.zone for mount in have.mounts if mount.state == AVAILABLE}
    wanted = mount_subnets(want, have)
    missing = wanted.keys() - zones if want.file_system is not None else set()
    if missing or not zones:
        return Readiness(False, Reason.CREATING, f"no mount target yet in {', '.join(sorted(missing)) or 'any zone'}")
    return Readiness(True, Reason.AVAILABLE)


def _registry_ready(want: DesiredCache, have: ObservedCache) -> Readiness:
    if want.repository is None:
        return Readiness(False, Reason.NOT_CONFIGURED)
    if have.repository is None or (want.repository.managed and not have.repository.owned):
        return Readiness(False, Reason.CREATING, f"repository {want.repository_name} does not exist yet")
    return Readiness(True, Reason.AVAILABLE)


def _executors_ready(want: DesiredCache, have: ObservedCache) -> Readiness:
    if have.cluster_state != ACTIVE:
        return Readiness(False, Reason.CREATING, f"cluster {want.cluster_arn} is not active")
    if have.log_group is None or not have.log_group.owned:
        return Readiness(False, Reason.CREATING, f"log group {want.log_group} does not exist yet")
    parts = executor_parts(want, have)
    missing = [each.name for each in want.executors if executor_part(each.name) not in parts]
    if missing:
        return Readiness(False, Reason.CREATING, f"no task definition yet for executor {', '.join(missing)}")
    return Readiness(True, Reason.AVAILABLE)
