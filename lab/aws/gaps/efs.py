"""EFS: states that take time, the operations that moto lacks, and the rules it does not check."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moto.efs import urls
from moto.efs.models import efs_backends
from moto.efs.responses import EFSResponse

from lab.aws.gaps import efs_rules
from lab.aws.gaps.efs_backend import LOCK, Efs
from lab.aws.gaps.efs_errors import bad_request, correct_statuses
from lab.aws.gaps.pages import page
from lab.aws.timing import Timing

JSON = {"Content-Type": "application/json"}


class EfsResponse(EFSResponse):  # type: ignore[misc]  # moto carries no types
    """moto's answers; one request at a time, because states and uniqueness must not be decided twice at once."""

    def call_action(self) -> Any:
        """Let time pass, then answer."""
        with LOCK:
            self.efs_backend.settle()
            return super().call_action()

    def create_file_system(self) -> Any:
        """Check the throughput first."""
        efs_rules.check_throughput(
            self._get_param("ThroughputMode") or "bursting",
            self._get_param("ProvisionedThroughputInMibps"),
            self._get_param("PerformanceMode") or "generalPurpose",
        )
        return super().create_file_system()

    def update_file_system(self) -> Any:
        """Change throughput."""
        updated = self.efs_backend.update_file_system(
            self._get_param("FileSystemId"),
            self._get_param("ThroughputMode"),
            self._get_param("ProvisionedThroughputInMibps"),
        )
        return _json(updated.info_json(), status=202)

    def put_lifecycle_configuration(self) -> Any:
        """Check the policies first."""
        file_system = self.efs_backend.available_file_system(self._get_param("FileSystemId"))
        policies = self._get_param("LifecyclePolicies")
        if policies is None:
            raise bad_request("LifecyclePolicies is required; an empty list removes all.")
        efs_rules.check_lifecycle(policies, file_system.throughput_mode, file_system.performance_mode)
        return super().put_lifecycle_configuration()

    def describe_backup_policy(self) -> Any:
        """Show the status, also while it changes."""
        file_system = self.efs_backend.file_system(self._get_param("FileSystemId"))
        return _json({"BackupPolicy": self.efs_backend.backup_policy_of(file_system)})

    def put_backup_policy(self) -> Any:
        """Switch automatic backups."""
        file_system = self.efs_backend.available_file_system(self._get_param("FileSystemId"))
        policy: Mapping[str, str] = self._get_param("BackupPolicy") or {}
        return _json({"BackupPolicy": self.efs_backend.switch_backup(file_system, policy.get("Status", ""))})

    def describe_file_system_policy(self) -> Any:
        """Know the file system first."""
        self.efs_backend.file_system(self._get_param("FileSystemId"))
        return super().describe_file_system_policy()

    def put_file_system_policy(self) -> Any:
        """Check the policy first."""
        self.efs_backend.available_file_system(self._get_param("FileSystemId"))
        efs_rules.check_policy(self._get_param("Policy") or "")
        return super().put_file_system_policy()

    def delete_file_system_policy(self) -> Any:
        """Remove the policy; also right when there is none."""
        self.efs_backend.available_file_system(self._get_param("FileSystemId")).file_system_policy = None
        return _json({})

    def create_mount_target(self) -> Any:
        """Only where the file system is available."""
        self.efs_backend.available_file_system(self._get_param("FileSystemId"))
        return super().create_mount_target()

    def describe_mount_target_security_groups(self) -> Any:
        """Only of an available mount target."""
        target = self.efs_backend.available_mount_target(self._get_param("MountTargetId"))
        return _json({"SecurityGroups": self.efs_backend.security_groups_of(target)})

    def modify_mount_target_security_groups(self) -> Any:
        """Only of an available mount target, only to groups that exist."""
        target = self.efs_backend.available_mount_target(self._get_param("MountTargetId"))
        groups = self._get_param("SecurityGroups")
        if groups is None:
            groups = self.efs_backend.default_security_groups(target)
        self.efs_backend.change_security_groups(target, groups)
        return _json({}, status=204)

    def create_access_point(self) -> Any:
        """Check user and path first."""
        efs_rules.check_access_point(self._get_param("PosixUser"), self._get_param("RootDirectory"))
        answer = super().create_access_point()
        created = self.efs_backend.access_points[json.loads(answer[0])["AccessPointId"]]
        return _json(self.efs_backend.access_point_json(created))

    def describe_access_points(self) -> Any:
        """List in pages, with states."""
        access_point_id, file_system_id = self._get_param("AccessPointId"), self._get_param("FileSystemId")
        if access_point_id and file_system_id:
            raise bad_request("Give an access point or a file system, not both.")
        if file_system_id:
            self.efs_backend.file_system(file_system_id)
        found = self.efs_backend.describe_access_points(access_point_id, file_system_id)
        part, token = page(found, self._get_int_param("MaxResults", 100), self._get_param("NextToken"))
        shown = {"AccessPoints": [self.efs_backend.access_point_json(one) for one in part]}
        return _json({**shown, **({"NextToken": token} if token else {})})

    def delete_access_point(self) -> Any:
        """Begin to delete."""
        self.efs_backend.delete_access_point(self._get_param("AccessPointId"))
        return _json({}, status=204)

    def tag_resource(self) -> Any:
        """Tag what is there only."""
        self.efs_backend.tagged(self._get_param("ResourceId"))
        return super().tag_resource()

    def untag_resource(self) -> Any:
        """Untag what is there only."""
        self.efs_backend.tagged(self._get_param("ResourceId"))
        return super().untag_resource()

    def list_tags_for_resource(self) -> Any:
        """List the tags of what is there."""
        self.efs_backend.tagged(self._get_param("ResourceId"))
        return super().list_tags_for_resource()


def _json(document: Mapping[str, Any], status: int = 200) -> Any:
    return json.dumps(document), {**JSON, "status": status}


def fill(account: str, timing: Timing) -> None:
    """Let moto make this backend and answer with these responses."""
    correct_statuses()
    Efs.timings[account] = timing
    efs_backends.backend = Efs
    urls.url_paths = dict.fromkeys(urls.url_paths, EfsResponse.dispatch)
