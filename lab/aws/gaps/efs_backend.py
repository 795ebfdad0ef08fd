"""The state of EFS: what is creating, updating and deleting, and until when. Used by `efs.py` under its lock."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar
from uuid import uuid4

from moto.efs import urls
from moto.efs.models import EFSBackend, efs_backends

from lab.aws.gaps import efs_rules
from lab.aws.gaps.efs_errors import EfsError, bad_request, file_system_not_found
from lab.aws.timing import Timing

LOCK = threading.RLock()
"""Held over a whole request: states and uniqueness must not be decided twice at once."""


class Efs(EFSBackend):  # type: ignore[misc]  # moto carries no types
    """moto's backend whose things change their state with time.

    Attributes with an underscore stay out of what moto shows of a file system or mount target: `_due` is the moment at which the
    current passing state ends, `_last_change` that of the last change of throughput that counts for the rule of 24 hours.
    """

    timings: ClassVar[dict[str, Timing]] = {}
    """How long things take, by account."""

    @property
    def timing(self) -> Timing:
        """How long things take here; an account reached by AssumeRole has the usual times."""
        return self.timings.get(self.account_id, Timing())

    @property
    def _url_module(self) -> Any:
        return urls

    def settle(self) -> None:
        """Let everything reach the state that it should have by now."""
        now = time.monotonic()
        for target in list(self.mount_targets_by_id.values()):
            if target._due is not None and now >= target._due:
                if target.life_cycle_state == "deleting":
                    super().delete_mount_target(target.mount_target_id)
                else:
                    target.life_cycle_state, target._due = "available", None
        for point in list(self.access_points.values()):
            if point._due is not None and now >= point._due:
                if point._state == "deleting":
                    super().delete_access_point(point.access_point_id)
                else:
                    point._state, point._due = "available", None
        for file_system in list(self.file_systems_by_id.values()):
            if file_system._due is not None and now >= file_system._due:
                if file_system.life_cycle_state == "deleting":
                    self._delete_with_access_points(file_system.file_system_id)
                else:
                    file_system.life_cycle_state, file_system._due = "available", None

    def _delete_with_access_points(self, file_system_id: str) -> None:
        """Let go of a file system: unlike mount targets its access points do not hold it, they go along."""
        super().delete_file_system(file_system_id)
        for point in list(self.access_points.values()):
            if point.file_system_id == file_system_id:
                super().delete_access_point(point.access_point_id)

    # --- file systems

    def file_system(self, file_system_id: str) -> Any:
        """Return a file system in any state."""
        found = self.file_systems_by_id.get(file_system_id)
        if found is None:
            raise file_system_not_found(file_system_id)
        return found

    def available_file_system(self, file_system_id: str) -> Any:
        """Return a file system that can be changed now."""
        found = self.file_system(file_system_id)
        if found.life_cycle_state != "available":
            raise EfsError(
                "IncorrectFileSystemLifeCycleState",
                f"File system '{file_system_id}' is {found.life_cycle_state}, this needs it to be available.",
            )
        return found

    def create_file_system(self, creation_token: str, **kwargs: Any) -> Any:
        """Begin to create; a token in use names its file system in the error."""
        for existing in self.file_systems_by_id.values():
            if existing.creation_token == creation_token:
                raise EfsError(
                    "FileSystemAlreadyExists",
                    f"File system '{existing.file_system_id}' already exists with creation token '{creation_token}'",
                    FileSystemId=existing.file_system_id,
                )
        if kwargs.get("encrypted"):
            kwargs["kms_key_id"] = self._key_arn(kwargs.get("kms_key_id"))
        created = super().create_file_system(creation_token, **kwargs)
        created.life_cycle_state = "creating"
        created._due = time.monotonic() + self.timing.file_system_creating
        created._last_change = None
        created._backup_status = "ENABLED" if created._backup else None
        created._backup_due = 0.0
        return created

    def update_file_system(self, file_system_id: str, mode: str | None, provisioned: float | None) -> Any:
        """Change throughput, within AWS's rule of one change of mode or decrease in 24 hours."""
        found = self.available_file_system(file_system_id)
        if mode is None and provisioned is None:
            raise bad_request("Give ThroughputMode or ProvisionedThroughputInMibps.")
        mode = mode or found.throughput_mode
        current = found.provisioned_throughput_in_mibps
        if mode == found.throughput_mode == "provisioned" and provisioned is None:
            provisioned = current
        efs_rules.check_throughput(mode, provisioned, found.performance_mode)
        now = time.monotonic()
        decrease = mode == found.throughput_mode == "provisioned" and provisioned < current
        if mode != found.throughput_mode or decrease:
            if found._last_change is not None and now - found._last_change < self.timing.throughput_rest:
                raise EfsError(
                    "TooManyRequests",
                    "The throughput mode can be changed, and provisioned throughput decreased, once in 24 hours.",
                )
            found._last_change = now
        found.throughput_mode, found.provisioned_throughput_in_mibps = mode, provisioned
        found.life_cycle_state, found._due = "updating", now + self.timing.file_system_updating
        return found

    def delete_file_system(self, file_system_id: str) -> None:
        """Begin to delete, when no mount target is left."""
        found = self.file_system(file_system_id)
        if found.number_of_mount_targets:
            raise EfsError("FileSystemInUse", "Must delete all mount targets before deleting file system.")
        if found.life_cycle_state != "deleting":
            found.life_cycle_state, found._due = "deleting", time.monotonic() + self.timing.file_system_deleting

    def backup_policy_of(self, file_system: Any) -> dict[str, str]:
        """Return the backup policy, which is on its way for a while after a switch."""
        if file_system._backup_status is None:
            raise EfsError("PolicyNotFound", "No backup policy is set.")
        if time.monotonic() < file_system._backup_due:
            return {"Status": {"ENABLED": "ENABLING", "DISABLED": "DISABLING"}[file_system._backup_status]}
        return {"Status": file_system._backup_status}

    def switch_backup(self, file_system: Any, status: str) -> dict[str, str]:
        """Switch automatic backups."""
        if status not in ("ENABLED", "DISABLED"):
            raise EfsError("ValidationException", f"Status {status} is neither ENABLED nor DISABLED.")
        if file_system._backup_status != status:
            file_system._backup_status = status
            file_system._backup_due = time.monotonic() + self.timing.backup_policy_changing
        return self.backup_policy_of(file_system)

    def _key_arn(self, key: str | None) -> str:
        """AWS shows the key's ARN whatever it was given, and its own key when it was given none."""
        prefix = f"arn:aws:kms:{self.region_name}:{self.account_id}:"
        if key is None:
            return f"{prefix}key/{uuid4()}"
        return key if key.startswith("arn:") else f"{prefix}{key if key.startswith('alias/') else 'key/' + key}"

    # --- mount targets

    def available_mount_target(self, mount_target_id: str) -> Any:
        """Return a mount target that can be changed now."""
        found = self.mount_targets_by_id.get(mount_target_id)
        if found is None:
            raise EfsError("MountTargetNotFound", f"Mount target '{mount_target_id}' does not exist.")
        if found.life_cycle_state != "available":
            raise EfsError(
                "IncorrectMountTargetState", f"Mount target '{mount_target_id}' is {found.life_cycle_state}."
            )
        return found

    def create_mount_target(self, **kwargs: Any) -> Any:
        """Begin to create, with a network interface that says whose it is."""
        if len(kwargs.get("security_groups") or ()) > 5:
            raise EfsError("SecurityGroupLimitExceeded", "A mount target can have at most 5 security groups.")
        created = super().create_mount_target(**kwargs)
        created.life_cycle_state, created._due = "creating", time.monotonic() + self.timing.mount_target_creating
        interface = self.ec2_backend.enis[created.network_interface_id]
        interface.description = f"Mount target {created.mount_target_id} for file system {created.file_system_id}"
        interface.requester_managed = True
        interface.status = "in-use"
        return created

    def delete_mount_target(self, mount_target_id: str) -> None:
        """Begin to delete; the network interface stays until the end."""
        found = self.mount_targets_by_id.get(mount_target_id)
        if found is None:
            raise EfsError("MountTargetNotFound", f"Mount target '{mount_target_id}' does not exist.")
        if found.life_cycle_state != "deleting":
            found.life_cycle_state, found._due = "deleting", time.monotonic() + self.timing.mount_target_deleting

    def security_groups_of(self, target: Any) -> list[str]:
        """Return the groups of the mount target, the VPC's default one when none was given."""
        return list(target.security_groups or self.default_security_groups(target))

    def default_security_groups(self, target: Any) -> list[str]:
        """Return what a mount target gets without groups of its own."""
        return [self.ec2_backend.get_default_security_group(target.vpc_id).id]

    def change_security_groups(self, target: Any, groups: list[str]) -> None:
        """Change the groups of the mount target and of its network interface."""
        if len(groups) > 5:
            raise EfsError("SecurityGroupLimitExceeded", "A mount target can have at most 5 security groups.")
        for group in groups:
            if self.ec2_backend.get_security_group_from_id(group) is None:
                raise EfsError("SecurityGroupNotFound", f"The SecurityGroup ID '{group}' does not exist")
        self.modify_mount_target_security_groups(target.mount_target_id, groups)

    # --- access points

    def create_access_point(self, client_token: str, **kwargs: Any) -> Any:
        """Begin to create; a token in use names its access point in the error."""
        for existing in self.access_points.values():
            if existing.client_token == client_token:
                raise EfsError(
                    "AccessPointAlreadyExists",
                    f"Access point '{existing.access_point_id}' already exists with client token '{client_token}'",
                    AccessPointId=existing.access_point_id,
                )
        self.available_file_system(kwargs["file_system_id"])
        of_it = [one for one in self.access_points.values() if one.file_system_id == kwargs["file_system_id"]]
        if len(of_it) >= self.timing.access_points_of_a_file_system:
            raise EfsError(
                "AccessPointLimitExceeded", f"The file system has {len(of_it)} access points, which is the most."
            )
        created = super().create_access_point(client_token, **kwargs)
        created._state, created._due = "creating", time.monotonic() + self.timing.access_point_creating
        return created

    def delete_access_point(self, access_point_id: str) -> None:
        """Begin to delete."""
        found = self.access_point(access_point_id)
        if found._state != "deleting":
            found._state, found._due = "deleting", time.monotonic() + self.timing.access_point_deleting

    def access_point(self, access_point_id: str) -> Any:
        """Return an access point in any state."""
        found = self.access_points.get(access_point_id)
        if found is None:
            raise EfsError("AccessPointNotFound", f"Access Point {access_point_id} does not exist.")
        return found

    def tagged(self, resource: str) -> Any:
        """Return the file system or access point of an id or ARN that tags are about."""
        resource_id = resource.rpartition("/")[2]
        return self.access_point(resource_id) if resource_id.startswith("fsap-") else self.file_system(resource_id)

    def access_point_json(self, point: Any) -> dict[str, Any]:
        """Show an access point with its state."""
        return {**point.info_json(), "LifeCycleState": point._state}


def settle(account: str, region: str) -> None:
    """Let time pass for EFS, for services that see its network interfaces."""
    with LOCK:
        if account in efs_backends and region in efs_backends[account]:
            efs_backends[account][region].settle()
