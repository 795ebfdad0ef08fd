"""File systems: states, identity, throughput, lifecycle configuration, backup and policy."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab.aws.timing import Timing
from tests.lab.aws.served import ENDLESS, Served, refused, served, tag_map, unique, until


def state(efs: Any, file_system_id: str) -> str:
    return str(efs.describe_file_systems(FileSystemId=file_system_id)["FileSystems"][0]["LifeCycleState"])


def ids(efs: Any) -> set[str]:
    pages = efs.get_paginator("describe_file_systems").paginate()
    return {one["FileSystemId"] for page in pages for one in page["FileSystems"]}


def available(efs: Any, **options: Any) -> str:
    file_system_id = efs.create_file_system(CreationToken=unique(), Encrypted=True, **options)["FileSystemId"]
    until(lambda: state(efs, file_system_id), lambda found: found == "available")
    return str(file_system_id)


def settled(efs: Any, file_system_id: str) -> dict[str, Any]:
    until(lambda: state(efs, file_system_id), lambda found: found == "available")
    found: dict[str, Any] = efs.describe_file_systems(FileSystemId=file_system_id)["FileSystems"][0]
    return found


def test_t13_a_new_file_system_is_creating_for_a_while_and_then_available(aws: Served) -> None:
    efs = aws.client("efs")
    created = efs.create_file_system(
        CreationToken=unique(), Encrypted=True, Tags=[{"Key": "buildcache.dev/uid", "Value": "1"}]
    )
    assert created["LifeCycleState"] == "creating"
    found = settled(efs, created["FileSystemId"])
    assert tag_map(found["Tags"]) == {"buildcache.dev/uid": "1"}


def test_t01_t02_a_creation_token_in_use_answers_the_file_system_that_has_it(aws: Served) -> None:
    efs = aws.client("efs")
    token = unique()
    created = efs.create_file_system(CreationToken=token, Encrypted=True)
    with refused("FileSystemAlreadyExists", 409) as response:
        efs.create_file_system(CreationToken=token, Encrypted=True)
    assert response["FileSystemId"] == created["FileSystemId"]
    assert len(efs.describe_file_systems(CreationToken=token)["FileSystems"]) == 1


def test_t14_a_file_system_that_is_creating_can_not_be_changed(aws: Served) -> None:
    with served(timing=Timing(file_system_creating=60)) as slow:
        efs = slow.client("efs")
        file_system_id = efs.create_file_system(CreationToken=unique())["FileSystemId"]
        assert state(efs, file_system_id) == "creating"
        subnet = slow.aws.world.subnet_ids[0]
        changes: list[Callable[[], object]] = [
            lambda: efs.put_lifecycle_configuration(FileSystemId=file_system_id, LifecyclePolicies=[]),
            lambda: efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": "ENABLED"}),
            lambda: efs.put_file_system_policy(FileSystemId=file_system_id, Policy="{}"),
            lambda: efs.delete_file_system_policy(FileSystemId=file_system_id),
            lambda: efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="elastic"),
            lambda: efs.create_mount_target(FileSystemId=file_system_id, SubnetId=subnet),
            lambda: efs.create_access_point(ClientToken=unique(), FileSystemId=file_system_id),
        ]
        for change in changes:
            with refused("IncorrectFileSystemLifeCycleState", 409):
                change()


def test_t18_throughput_mode_changes_once_in_24_hours(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs)
    updated = efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="elastic")
    assert updated["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert updated["LifeCycleState"] == "updating"
    assert settled(efs, file_system_id)["ThroughputMode"] == "elastic"
    with refused("TooManyRequests", 429):
        efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="bursting")
    assert settled(efs, file_system_id)["ThroughputMode"] == "elastic"


def test_t18_provisioned_throughput_rises_any_time_and_falls_once_in_24_hours(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs, ThroughputMode="provisioned", ProvisionedThroughputInMibps=50)
    for amount in (60, 80, 70):
        efs.update_file_system(FileSystemId=file_system_id, ProvisionedThroughputInMibps=amount)
        assert settled(efs, file_system_id)["ProvisionedThroughputInMibps"] == amount
    with refused("TooManyRequests", 429):
        efs.update_file_system(FileSystemId=file_system_id, ProvisionedThroughputInMibps=60)
    efs.update_file_system(FileSystemId=file_system_id, ProvisionedThroughputInMibps=90)
    assert settled(efs, file_system_id)["ProvisionedThroughputInMibps"] == 90


def test_t18_the_rest_of_24_hours_ends(aws: Served) -> None:
    with served(timing=Timing(file_system_creating=0, file_system_updating=0, throughput_rest=0.1)) as quick:
        efs = quick.client("efs")
        file_system_id = available(efs)
        efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="elastic")
        time.sleep(0.15)
        efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="bursting")
        assert settled(efs, file_system_id)["ThroughputMode"] == "bursting"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"ThroughputMode": "provisioned"}, id="provisioned without an amount"),
        pytest.param(
            {"ThroughputMode": "elastic", "ProvisionedThroughputInMibps": 5}, id="an amount without provisioned"
        ),
        pytest.param(
            {"ThroughputMode": "provisioned", "ProvisionedThroughputInMibps": 5000}, id="an amount out of bounds"
        ),
        pytest.param({"ThroughputMode": "fast"}, id="an unknown mode"),
    ],
)
def test_throughput_that_makes_no_sense_is_refused(aws: Served, options: dict[str, Any]) -> None:
    efs = aws.client("efs")
    with refused("BadRequest", 400):
        efs.create_file_system(CreationToken=unique(), **options)
    file_system_id = available(efs)
    with refused("BadRequest", 400):
        efs.update_file_system(FileSystemId=file_system_id, **options)


def test_elastic_throughput_does_not_go_with_max_io(aws: Served) -> None:
    efs = aws.client("efs")
    with refused("BadRequest", 400):
        efs.create_file_system(CreationToken=unique(), PerformanceMode="maxIO", ThroughputMode="elastic")
    file_system_id = available(efs, PerformanceMode="maxIO")
    with refused("BadRequest", 400):
        efs.update_file_system(FileSystemId=file_system_id, ThroughputMode="elastic")


def test_t20_keys_are_shown_as_arns_whatever_they_were_given_as(aws: Served) -> None:
    efs = aws.client("efs")
    prefix = f"arn:aws:kms:{aws.aws.region}:{aws.aws.account}:"
    key = "0b3dbd9c-5f3a-4f6c-b7f8-1c6c3a9c4d10"
    for given, shown in (
        (key, f"{prefix}key/{key}"),
        ("alias/mine", f"{prefix}alias/mine"),
        (f"{prefix}key/{key}",) * 2,
    ):
        created = efs.create_file_system(CreationToken=unique(), Encrypted=True, KmsKeyId=given)
        assert created["KmsKeyId"] == shown
    usual = efs.create_file_system(CreationToken=unique(), Encrypted=True)
    assert usual["KmsKeyId"].startswith(f"{prefix}key/")
    assert "KmsKeyId" not in efs.create_file_system(CreationToken=unique())


def test_t22_lifecycle_policies_are_replaced_and_an_empty_list_clears_them(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs, ThroughputMode="elastic")
    policies = [
        {"TransitionToIA": "AFTER_30_DAYS"},
        {"TransitionToArchive": "AFTER_90_DAYS"},
        {"TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"},
    ]
    efs.put_lifecycle_configuration(FileSystemId=file_system_id, LifecyclePolicies=policies)
    assert efs.describe_lifecycle_configuration(FileSystemId=file_system_id)["LifecyclePolicies"] == policies
    efs.put_lifecycle_configuration(FileSystemId=file_system_id, LifecyclePolicies=[])
    assert efs.describe_lifecycle_configuration(FileSystemId=file_system_id)["LifecyclePolicies"] == []


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param(
            [{"TransitionToIA": "AFTER_7_DAYS", "TransitionToPrimaryStorageClass": "AFTER_1_ACCESS"}], id="two in one"
        ),
        pytest.param([{"TransitionToIA": "AFTER_7_DAYS"}, {"TransitionToIA": "AFTER_14_DAYS"}], id="the same twice"),
        pytest.param([{"TransitionToIA": "AFTER_8_DAYS"}], id="an unknown time"),
        pytest.param([{"TransitionToArchive": "AFTER_90_DAYS"}], id="archive without elastic throughput"),
    ],
)
def test_malformed_lifecycle_policies_are_refused(aws: Served, policies: list[dict[str, str]]) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs)
    with refused("BadRequest", 400):
        efs.put_lifecycle_configuration(FileSystemId=file_system_id, LifecyclePolicies=policies)


def test_archive_must_come_later_than_infrequent_access(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs, ThroughputMode="elastic")
    policies = [{"TransitionToIA": "AFTER_90_DAYS"}, {"TransitionToArchive": "AFTER_30_DAYS"}]
    with refused("BadRequest", 400):
        efs.put_lifecycle_configuration(FileSystemId=file_system_id, LifecyclePolicies=policies)


def test_t21_backup_is_enabling_before_it_is_enabled(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs)
    with refused("PolicyNotFound", 404):
        efs.describe_backup_policy(FileSystemId=file_system_id)

    def status() -> str:
        return str(efs.describe_backup_policy(FileSystemId=file_system_id)["BackupPolicy"]["Status"])

    for wanted, passing in (("ENABLED", "ENABLING"), ("DISABLED", "DISABLING")):
        answer = efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": wanted})
        assert answer["BackupPolicy"]["Status"] == passing
        until(status, lambda found, wanted=wanted: found == wanted)  # type: ignore[misc]
        again = efs.put_backup_policy(FileSystemId=file_system_id, BackupPolicy={"Status": wanted})
        assert again["BackupPolicy"]["Status"] == wanted


def test_a_file_system_policy_comes_and_goes(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs)
    with refused("PolicyNotFound", 404):
        efs.describe_file_system_policy(FileSystemId=file_system_id)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    efs.put_file_system_policy(FileSystemId=file_system_id, Policy=policy)
    assert efs.describe_file_system_policy(FileSystemId=file_system_id)["Policy"] == policy
    efs.delete_file_system_policy(FileSystemId=file_system_id)
    with refused("PolicyNotFound", 404):
        efs.describe_file_system_policy(FileSystemId=file_system_id)
    for bad in ("no json", "[]", json.dumps({"Statement": ["x" * 20_000]})):
        with pytest.raises(Exception, match=r"InvalidPolicyException|Invalid length"):
            efs.put_file_system_policy(FileSystemId=file_system_id, Policy=bad)


def test_t29_a_file_system_with_mount_targets_can_not_be_deleted(aws: Served) -> None:
    efs = aws.client("efs")
    file_system_id = available(efs)
    target = efs.create_mount_target(FileSystemId=file_system_id, SubnetId=aws.aws.world.subnet_ids[0])
    with refused("FileSystemInUse", 409):
        efs.delete_file_system(FileSystemId=file_system_id)
    efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    until(lambda: efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"], lambda found: not found)
    efs.delete_file_system(FileSystemId=file_system_id)
    until(lambda: ids(efs), lambda found: file_system_id not in found)
    with refused("FileSystemNotFound", 404):
        efs.delete_file_system(FileSystemId=file_system_id)


def test_t29_what_is_being_deleted_is_still_there() -> None:
    with served(timing=ENDLESS) as endless:
        efs = endless.client("efs")
        in_use, unused = (efs.create_file_system(CreationToken=token)["FileSystemId"] for token in ("a", "b"))
        target = efs.create_mount_target(FileSystemId=in_use, SubnetId=endless.aws.world.subnet_ids[0])["MountTargetId"]
        efs.delete_mount_target(MountTargetId=target)
        efs.delete_mount_target(MountTargetId=target)
        (shown,) = efs.describe_mount_targets(FileSystemId=in_use)["MountTargets"]
        assert shown["LifeCycleState"] == "deleting"
        with refused("FileSystemInUse", 409):
            efs.delete_file_system(FileSystemId=in_use)
        efs.delete_file_system(FileSystemId=unused)
        efs.delete_file_system(FileSystemId=unused)
        assert state(efs, unused) == "deleting"
        with refused("FileSystemAlreadyExists", 409):
            efs.create_file_system(CreationToken="b")


def test_a_token_is_free_again_when_its_file_system_is_gone(aws: Served) -> None:
    efs = aws.client("efs")
    token = unique()
    first = efs.create_file_system(CreationToken=token)["FileSystemId"]
    efs.delete_file_system(FileSystemId=first)
    until(lambda: efs.describe_file_systems(CreationToken=token)["FileSystems"], lambda found: not found)
    assert efs.create_file_system(CreationToken=token)["FileSystemId"] != first


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("describe_file_systems", {}),
        ("update_file_system", {"ThroughputMode": "elastic"}),
        ("delete_file_system", {}),
        ("describe_lifecycle_configuration", {}),
        ("put_lifecycle_configuration", {"LifecyclePolicies": []}),
        ("describe_backup_policy", {}),
        ("put_backup_policy", {"BackupPolicy": {"Status": "ENABLED"}}),
        ("describe_file_system_policy", {}),
        ("put_file_system_policy", {"Policy": "{}"}),
        ("delete_file_system_policy", {}),
        ("describe_mount_targets", {}),
        ("create_mount_target", {"SubnetId": "subnet-1"}),
        ("create_access_point", {"ClientToken": "t"}),
        ("describe_access_points", {}),
    ],
)
def test_t32_an_unknown_file_system_is_not_found_by_any_operation(
    aws: Served, operation: str, parameters: dict[str, Any]
) -> None:
    call = getattr(aws.client("efs"), operation)
    if operation == "create_mount_target":
        parameters = {"SubnetId": aws.aws.world.subnet_ids[0]}
    with refused("FileSystemNotFound", 404):
        call(FileSystemId="fs-0123456789abcdef0", **parameters)
