"""What EFS refuses in requests, whatever exists. Pure; called by `efs.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.aws.gaps.efs_errors import EfsError, bad_request

MODES = ("bursting", "provisioned", "elastic")
TRANSITIONS = {
    "TransitionToIA": (
        "AFTER_1_DAY",
        "AFTER_7_DAYS",
        "AFTER_14_DAYS",
        "AFTER_30_DAYS",
        "AFTER_60_DAYS",
        "AFTER_90_DAYS",
        "AFTER_180_DAYS",
        "AFTER_270_DAYS",
        "AFTER_365_DAYS",
    ),
    "TransitionToPrimaryStorageClass": ("AFTER_1_ACCESS",),
}
TRANSITIONS["TransitionToArchive"] = TRANSITIONS["TransitionToIA"]
MAX_PROVISIONED = 3414
MAX_POLICY = 20_000


def check_throughput(mode: str, provisioned: float | None, performance_mode: str) -> None:
    """Refuse throughput settings that contradict each other."""
    if mode not in MODES:
        raise bad_request(f"ThroughputMode {mode} is none of {', '.join(MODES)}.")
    if mode == "provisioned":
        if provisioned is None:
            raise bad_request("ProvisionedThroughputInMibps is required when ThroughputMode is provisioned.")
        if not 1 <= provisioned <= MAX_PROVISIONED:
            raise bad_request(f"ProvisionedThroughputInMibps must be between 1 and {MAX_PROVISIONED}.")
    elif provisioned is not None:
        raise bad_request("ProvisionedThroughputInMibps can only be set when ThroughputMode is provisioned.")
    if mode == "elastic" and performance_mode == "maxIO":
        raise bad_request("Elastic throughput is not supported by file systems that use the maxIO performance mode.")


def check_lifecycle(policies: Sequence[Mapping[str, str]], throughput_mode: str, performance_mode: str) -> None:
    """Refuse lifecycle policies that AWS does not take: one transition for each element, each transition once, known values."""
    seen: dict[str, str] = {}
    for policy in policies:
        if len(policy) != 1:
            raise bad_request("Each LifecyclePolicy object can have only a single transition.")
        ((transition, after),) = policy.items()
        if after not in TRANSITIONS.get(transition, ()):
            raise bad_request(f"One or more LifecyclePolicy objects specified are malformed: {transition} {after}.")
        if transition in seen:
            raise bad_request(f"{transition} was given twice.")
        seen[transition] = after
    archive, infrequent = seen.get("TransitionToArchive"), seen.get("TransitionToIA")
    if archive is None:
        return
    if throughput_mode != "elastic" or performance_mode != "generalPurpose":
        raise bad_request("TransitionToArchive needs elastic throughput and the generalPurpose performance mode.")
    order = TRANSITIONS["TransitionToIA"]
    if infrequent is not None and order.index(archive) <= order.index(infrequent):
        raise bad_request("TransitionToArchive must come later than TransitionToIA.")


def check_policy(policy: str) -> None:
    """Refuse a file system policy that is too long or no JSON object."""
    if len(policy) > MAX_POLICY:
        raise EfsError("InvalidPolicyException", f"The policy is longer than {MAX_POLICY} characters.")
    try:
        document = json.loads(policy)
    except ValueError as problem:
        raise EfsError("InvalidPolicyException", f"The policy is no JSON: {problem}") from problem
    if not isinstance(document, dict) or "Statement" not in document:
        raise EfsError("InvalidPolicyException", "The policy has no Statement.")


def check_access_point(posix_user: Mapping[str, Any] | None, root_directory: Mapping[str, Any] | None) -> None:
    """Refuse ids, paths and permissions out of bounds."""
    if posix_user is not None:
        groups = posix_user.get("SecondaryGids") or ()
        if len(groups) > 16:
            raise bad_request("SecondaryGids can have at most 16 items.")
        _check_ids(posix_user.get("Uid"), posix_user.get("Gid"), *groups)
    path = (root_directory or {}).get("Path", "/")
    if not re.fullmatch(r"/|(/(?!\.)[^$#<>;`|&?{}^*/\n]+){1,4}", path) or len(path) > 100:
        raise bad_request("A root directory path begins with /, has up to 4 levels and up to 100 characters.")
    creation = (root_directory or {}).get("CreationInfo")
    if creation is not None:
        _check_ids(creation.get("OwnerUid"), creation.get("OwnerGid"))
        if not re.fullmatch(r"[0-7]{3,4}", creation.get("Permissions") or ""):
            raise bad_request("Permissions are three or four octal digits.")


def _check_ids(*ids: object) -> None:
    for one in ids:
        if not isinstance(one, int) or not 0 <= one <= 4_294_967_295:
            raise bad_request("User and group ids are numbers from 0 to 4294967295.")
