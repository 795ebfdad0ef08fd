"""The BuildCache pass when AWS, people and the operator's own end get in its way."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from buildcache.aws import efs as efs_driver
from buildcache.aws import parts
from buildcache.core.action import Action
from buildcache.core.build import Finished
from buildcache.core.names import Identity, creation_token
from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of

REPOSITORY = "buildcache/team-a/shop"
READS = [
    "DescribeSecurityGroups",
    "DescribeFileSystems",
    "DescribeRepositories",
    "DescribeLogGroups",
    "DescribeClusters",
]
CREATES = [
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "RevokeSecurityGroupEgress",
    "CreateFileSystem",
    "PutLifecycleConfiguration",
    "CreateMountTarget",
    "CreateRepository",
    "PutLifecyclePolicy",
    "CreateLogGroup",
    "PutRetentionPolicy",
]
DELETES = [
    "DeregisterTaskDefinition",
    "DeleteMountTarget",
    "DeleteFileSystem",
    "DeleteSecurityGroup",
    "DeleteRepository",
]


def one_of_each(aws: Aws) -> None:
    left = left_over(aws.world)
    assert {kind: len(things) for kind, things in left.items()} == {
        "groups": 2,
        "file systems": 1,
        "repositories": 1,
        "log groups": 1,
        "task definitions": 1,
    }


@pytest.mark.parametrize("kind", ["lost", "reset", "error", "throttle"])
def test_t01_t02_t38_t41_a_fault_at_each_write_doubles_nothing_and_leaves_nothing(
    cache: Cache, aws: Aws, kind: str
) -> None:
    aws.add_faults([{"operation": operation, "kind": kind, "times": 1} for operation in CREATES])
    cache.settle(120)
    assert cache.conditions()["Ready"] == ("True", "Available")
    one_of_each(aws)
    aws.clear_faults()
    aws.add_faults([{"operation": operation, "kind": kind, "times": 1} for operation in DELETES])
    cache.delete()
    cache.settle(120)
    assert cache.is_gone()
    assert left_over(aws.world) == {}


@pytest.mark.parametrize("kind", ["error", "throttle", "reset"])
def test_t40_f22_trouble_at_reads_keeps_ready(cache: Cache, aws: Aws, calls: Calls, kind: str) -> None:
    cache.settle()
    aws.add_faults([{"operation": operation, "kind": kind, "times": -1} for operation in READS])
    cache.later(minutes=12)
    outcome = cache.step()
    assert outcome.failed
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Reconciling"] == ("True", "AwsUnavailable")
    aws.clear_faults()
    calls.reset()
    cache.settle()
    assert calls.mutating() == []
    assert "Reconciling" not in cache.conditions()


class Killed(BaseException):
    """The operator's end: nothing of the pass is left but what AWS did."""


def kill_after_each_action(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The operator dies after the first time that each action took effect."""
    seen: set[str] = set()
    real = parts.apply

    def apply(clients: Any, action: Action) -> Any:
        result = real(clients, action)
        if repr(action) not in seen:
            seen.add(repr(action))
            raise Killed
        return result

    monkeypatch.setattr(parts, "apply", apply)
    return lambda: len(seen)


def live_on(cache: Cache) -> None:
    """Passes with a new operator after each death."""
    for _ in range(60):
        try:
            cache.settle()
        except Killed:
            cache.restart()
        else:
            return
    raise AssertionError("dies for ever")


def test_t01_t33_f19_dying_after_each_write_loses_and_doubles_nothing(
    cache: Cache, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = kill_after_each_action(monkeypatch)
    live_on(cache)
    assert deaths() == 14
    assert cache.conditions()["Ready"] == ("True", "Available")
    one_of_each(aws)
    cache.delete()
    live_on(cache)
    assert cache.is_gone()
    assert deaths() == 14 + 8
    assert left_over(aws.world) == {}


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("DescribeRepositories", "ecr:DescribeRepositories"),
        ("CreateFileSystem", "elasticfilesystem:CreateFileSystem"),
        ("RegisterTaskDefinition", "ecs:RegisterTaskDefinition"),
    ],
)
def test_t39_f44_a_denied_action_is_named_and_heals(cache: Cache, aws: Aws, operation: str, action: str) -> None:
    aws.add_faults([{"operation": operation, "kind": "denied", "times": -1}])
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "AccessDenied")
    assert cache.conditions()["Ready"] == ("False", "AccessDenied")
    assert action in cache.message("Stalled")
    aws.clear_faults()
    cache.later(minutes=6)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "Stalled" not in cache.conditions()


def test_f44_what_is_denied_for_one_part_does_not_hold_the_others(cache: Cache, aws: Aws) -> None:
    aws.add_faults([{"operation": "CreateFileSystem", "kind": "denied", "times": -1}])
    cache.settle()
    found = cache.conditions()
    assert found["FileSystemReady"] == ("False", "AccessDenied")
    assert [found[kind][0] for kind in ("NetworkReady", "RegistryReady", "ExecutorsReady")] == ["True"] * 3


def test_rules_are_not_revoked_when_those_that_replace_them_were_not_made(cache: Cache, aws: Aws) -> None:
    cache.settle()
    group = cache.part("cache-security-group")
    before = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    given = client("ec2").create_security_group(GroupName="new", Description="d", VpcId=aws.world.vpc_id)["GroupId"]
    aws.add_faults([{"operation": "AuthorizeSecurityGroupIngress", "kind": "denied", "times": -1}])
    cache.edit(network={**cache.spec["network"], "securityGroupIDs": [given]})
    for _ in range(3):
        cache.step()
        cache.later(minutes=6)
    after = client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert after == before


def test_t36_denied_while_deleting_keeps_the_finalizer_and_heals(cache: Cache, aws: Aws) -> None:
    cache.settle()
    cache.delete()
    aws.add_faults([{"operation": "DeleteMountTarget", "kind": "denied", "times": -1}])
    cache.settle()
    assert not cache.is_gone()
    assert cache.conditions()["Stalled"] == ("True", "AccessDenied")
    aws.clear_faults()
    cache.settle()
    assert cache.is_gone()


# --- what is not ours


def foreign_repository(cache: Cache) -> None:
    client("ecr").create_repository(repositoryName=REPOSITORY, imageTagMutability="IMMUTABLE")


def foreign_log_group(cache: Cache) -> None:
    client("logs").create_log_group(logGroupName="/buildcache/test/team-a/shop")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        pytest.param(foreign_repository, "repositories", id="F41: repository"),
        pytest.param(foreign_log_group, "log groups", id="log group"),
    ],
)
def test_what_is_not_ours_is_reported_and_left_alone(cache: Cache, aws: Aws, make: Any, kind: str) -> None:
    make(cache)
    before = left_over(aws.world)
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "ForeignResource")
    assert cache.conditions()["Ready"] == ("False", "ForeignResource")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == before


def test_t10_a_group_of_our_name_without_our_tags_is_not_adopted(cache: Cache, aws: Aws) -> None:
    cache.settle()
    ours = cache.part("cache-security-group")
    group = client("ec2").describe_security_groups(GroupIds=[ours])["SecurityGroups"][0]
    client("ec2").delete_tags(Resources=[ours], Tags=[{"Key": "buildcache.dev/uid"}])
    client("ec2").revoke_security_group_ingress(GroupId=ours, IpPermissions=group["IpPermissions"])
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "ForeignResource")
    assert ours in cache.message("Stalled")
    assert client("ec2").describe_security_groups(GroupIds=[ours])["SecurityGroups"][0]["IpPermissions"] == []


def test_t7_two_operators_of_one_account_with_the_same_names_do_not_touch_each_other(cache: Cache, aws: Aws) -> None:
    other = Cache(aws, spec_of(aws.world), cluster_id="other", uid=cache.uid)
    cache.settle()
    calls = Calls(aws)
    other.settle()
    assert other.conditions()["Stalled"] == ("True", "ForeignResource")
    calls.reset()
    cache.later(minutes=12)
    cache.settle()
    assert calls.mutating() == []
    other.delete()
    other.settle()
    assert other.is_gone()
    one_of_each(aws)


def test_t03_a_file_system_of_our_token_without_our_tags_is_left_alone(cache: Cache, aws: Aws) -> None:
    token = creation_token(Identity(cache.cluster_id, "team-a", cache.name, cache.uid))
    made = client("efs").create_file_system(CreationToken=token, Encrypted=True)
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "ForeignResource")
    assert made["FileSystemId"] in cache.message("Stalled")
    assert client("efs").describe_mount_targets(FileSystemId=made["FileSystemId"])["MountTargets"] == []
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {"file systems": [made["FileSystemId"]]}


# --- what the spec names


def test_t27_a_missing_cluster_is_for_a_person_to_solve_and_heals(cache: Cache, aws: Aws) -> None:
    arn = aws.world.cluster_arn
    cache.spec["clusterARN"] = arn.replace("builds", "later")
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "ClusterNotFound")
    assert cache.conditions()["ExecutorsReady"] == ("False", "ClusterNotFound")
    assert cache.conditions()["RegistryReady"] == ("True", "Available")
    client("ecs").create_cluster(clusterName="later")
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_t45_a_subnet_of_another_vpc_is_refused_before_a_mount_target_is_made(cache: Cache, aws: Aws) -> None:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    stranger = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    cache.spec["network"]["subnetIDs"] = [aws.world.subnet_ids[0], stranger]
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert "spec.network.subnetIDs[1]" in cache.message("Stalled")
    assert client("efs").describe_file_systems()["FileSystems"] == []


def test_an_observed_repository_that_does_not_exist(cache: Cache) -> None:
    cache.spec["registry"] = {"management": "Observed", "repositoryName": "not/there"}
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "NotFound")
    client("ecr").create_repository(repositoryName="not/there")
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_an_observed_file_system_that_does_not_exist(cache: Cache) -> None:
    cache.spec["fileSystem"] = {"management": "Observed", "id": "fs-0123456789abcdef0"}
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "NotFound")
    assert cache.conditions()["FileSystemReady"] == ("False", "NotFound")
    assert "spec.fileSystem.id" in cache.message("Stalled")


def test_f59_a_spec_that_the_models_refuse_names_the_field_and_costs_no_call(cache: Cache, calls: Calls) -> None:
    cache.edit(region="Mars")
    outcome = cache.step()
    assert outcome.finalizer == "keep"
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert "spec.region" in cache.message("Stalled")
    assert cache.step().status is None
    assert calls.names() == []
    cache.edit(region="us-east-1")
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "Stalled" not in cache.conditions()


def test_t18_a_second_throughput_change_within_a_day_waits_and_the_cache_stays_ready(
    cache: Cache, calls: Calls
) -> None:
    cache.settle()
    cache.edit(fileSystem={"throughputMode": "bursting"})
    cache.settle()
    cache.edit(fileSystem={"throughputMode": "elastic"})
    calls.reset()
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Reconciling"] == ("True", "Updating")
    assert calls.mutating().count("UpdateFileSystem") == 1
    assert "TooManyRequests" in cache.message("Reconciling")


def test_t46_a_vpc_without_names_is_reported_before_a_task_fails_and_heals(cache: Cache, aws: Aws) -> None:
    off, on = {"Value": False}, {"Value": True}
    client("ec2").modify_vpc_attribute(VpcId=aws.world.vpc_id, EnableDnsHostnames=off)
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert "enableDnsHostnames" in cache.message("Stalled")
    assert cache.conditions()["FileSystemReady"] == ("False", "InvalidSpec")
    assert cache.conditions()["RegistryReady"] == ("True", "Available")
    client("ec2").modify_vpc_attribute(VpcId=aws.world.vpc_id, EnableDnsHostnames=on)
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


@pytest.mark.parametrize(
    ("operation", "code", "status", "kind"),
    [
        ("CreateFileSystem", "FileSystemLimitExceeded", 403, "FileSystemReady"),
        ("CreateRepository", "LimitExceededException", 400, "RegistryReady"),
        ("RegisterTaskDefinition", "LimitExceededException", 400, "ExecutorsReady"),
        ("CreateSecurityGroup", "SecurityGroupLimitExceeded", 400, "NetworkReady"),
    ],
)
def test_t42_f47_a_quota_is_for_a_person_and_heals_by_itself(
    cache: Cache, aws: Aws, calls: Calls, operation: str, code: str, status: int, kind: str
) -> None:
    aws.add_faults([{"operation": operation, "kind": "error", "times": -1, "code": code, "status": status}])
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "QuotaExceeded")
    assert cache.conditions()[kind] == ("False", "QuotaExceeded")
    calls.reset()
    for _ in range(12):  # two minutes, in which it is not tried again and again
        cache.step()
        cache.later(seconds=10)
    assert calls.names().count(operation) <= 10
    aws.clear_faults()
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "Stalled" not in cache.conditions()


def test_t47_a_zone_without_addresses_does_not_hold_the_others(cache: Cache, aws: Aws) -> None:
    aws.add_faults(
        [{"operation": "CreateMountTarget", "kind": "error", "code": "NoFreeAddressesInSubnet", "status": 409}]
    )
    for _ in range(60):
        cache.step()
        if "Stalled" in cache.conditions():
            break
        cache.later(seconds=1)
        time.sleep(0.05)
    assert cache.conditions()["Stalled"] == ("True", "QuotaExceeded")
    (mount,) = client("efs").describe_mount_targets(FileSystemId=cache.part("file-system"))["MountTargets"]
    assert mount["SubnetId"] == aws.world.subnet_ids[1]
    assert aws.world.subnet_ids[0] in cache.message("Stalled")
    assert cache.conditions()["RegistryReady"] == ("True", "Available")
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_r40_a_mount_target_is_replaced_only_when_no_build_mounts_it(cache: Cache, aws: Aws, calls: Calls) -> None:
    cache.settle()
    twin = client("ec2").create_subnet(
        VpcId=aws.world.vpc_id, CidrBlock="172.31.200.0/24", AvailabilityZone=aws.world.zones[0]
    )["Subnet"]["SubnetId"]
    running: dict[str, Any] = {
        "status": {"attempts": [{"number": 1, "taskARN": "t"}], "executor": {"engine": "Kaniko"}}
    }
    cache.view.builds.append(running)
    cache.edit(network={**cache.spec["network"], "subnetIDs": [twin, aws.world.subnet_ids[1]]})
    calls.reset()
    for _ in range(4):
        cache.step()
        cache.later(seconds=30)
    assert calls.mutating() == []
    assert "no build mounts it" in cache.message("Reconciling")
    cache.edit(fileSystem=None)
    cache.step()
    assert "DeleteMountTarget" not in calls.names()
    cache.edit(fileSystem={})
    cache.view.builds.clear()
    cache.settle()
    mounts = client("efs").describe_mount_targets(FileSystemId=cache.part("file-system"))["MountTargets"]
    assert sorted(mount["SubnetId"] for mount in mounts) == sorted([twin, aws.world.subnet_ids[1]])


def test_t23_a_file_system_deleted_by_hand_is_made_anew_and_its_loss_is_said(cache: Cache) -> None:
    cache.settle()
    efs, old = client("efs"), cache.part("file-system")
    for mount in efs.describe_mount_targets(FileSystemId=old)["MountTargets"]:
        efs.delete_mount_target(MountTargetId=mount["MountTargetId"])
    while efs.describe_mount_targets(FileSystemId=old)["MountTargets"]:
        time.sleep(0.02)
    efs.delete_file_system(FileSystemId=old)
    time.sleep(0.1)
    cache.later(minutes=12)
    cache.settle()
    assert cache.part("file-system") != old
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "what it held is lost" in cache.message("Drifted")


# --- waiting


def test_t13_t15_waiting_asks_less_and_less_often_and_says_when_it_is_too_long(
    cache: Cache, aws: Aws, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = efs_driver.mount_target
    monkeypatch.setattr(
        efs_driver, "mount_target", lambda described, groups: replace(real(described, groups), state="creating")
    )
    pauses: list[float] = []
    while sum(pauses) < 15 * 60:
        again = cache.step().again_after
        pauses.append(1.0 if again is None else again)
        cache.later(seconds=pauses[-1])
        time.sleep(0.01)
    assert max(pauses) == 30.0
    assert len(pauses) < 65
    assert cache.conditions()["Reconciling"] == ("True", "Provisioning")
    cache.later(minutes=16)
    cache.step()
    assert cache.conditions()["Stalled"] == ("True", "NotFound")
    assert "more than 30 minutes" in cache.message("Stalled")
    monkeypatch.setattr(efs_driver, "mount_target", real)
    cache.later(minutes=1)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "Stalled" not in cache.conditions()


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound"),
        ("CreateMountTarget", "SecurityGroupNotFound"),
    ],
)
def test_t44_a_group_that_is_not_visible_everywhere_yet_is_waited_for(
    cache: Cache, aws: Aws, operation: str, code: str
) -> None:
    aws.add_faults([{"operation": operation, "kind": "error", "times": 4, "code": code, "status": 400}])
    seen: set[str] = set()
    for _ in range(60):
        outcome = cache.step()
        seen |= cache.conditions().keys()
        if cache.conditions().get("Ready") == ("True", "Available"):
            break
        cache.later(seconds=outcome.again_after or 1.0)
        time.sleep(0.02)
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert "Stalled" not in seen


def test_t39_a_denied_cache_does_not_hold_another(cache: Cache, aws: Aws) -> None:
    other = Cache(aws, spec_of(aws.world), name="other", uid="99999999-2222-3333-4444-555555555555")
    aws.add_faults([{"operation": "CreateRepository", "kind": "denied", "times": -1}])
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "AccessDenied")
    aws.clear_faults()
    other.settle()
    assert cache.conditions()["Stalled"] == ("True", "AccessDenied")
    assert other.conditions()["Ready"] == ("True", "Available")


# --- deletion


def test_t29_aws_that_lets_go_slowly_is_waited_for(cache: Cache, aws: Aws) -> None:
    cache.settle()
    aws.add_faults(
        [
            {"operation": "DeleteMountTarget", "kind": "error", "times": 4, "code": "DependencyTimeout", "status": 504},
            {"operation": "DeleteFileSystem", "kind": "error", "times": 10, "code": "FileSystemInUse", "status": 409},
        ]
    )
    cache.delete()
    for _ in range(80):
        outcome = cache.step()
        assert "Stalled" not in cache.conditions()
        if cache.is_gone():
            break
        cache.later(seconds=outcome.again_after or 2.0)
        time.sleep(0.02)
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_t34_a_repository_with_images_goes_with_them(cache: Cache, aws: Aws) -> None:
    cache.settle()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []})
    client("ecr").put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag="web.buildcache")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_t35_an_object_that_never_had_parts_goes_at_once(cache: Cache, calls: Calls) -> None:
    cache.step()
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert calls.mutating() == []


def test_t35_an_invalid_object_without_parts_goes_at_once(cache: Cache) -> None:
    cache.step()
    cache.edit(region="Mars")
    cache.delete()
    assert cache.step().finalizer == "release"


def test_t32_a_cache_whose_parts_somebody_removed_goes(cache: Cache, aws: Aws) -> None:
    cache.settle()
    copy = Cache(aws, cache.spec)
    copy.body = {**cache.body, "metadata": dict(cache.body["metadata"])}
    copy.delete()
    copy.settle()
    assert left_over(aws.world) == {}
    cache.delete()
    cache.settle()
    assert cache.is_gone()


def test_t28_f54_running_builds_hold_a_deletion(cache: Cache, aws: Aws, calls: Calls) -> None:
    cache.settle()
    cache.view.builds.append({"status": {"attempts": [{"number": 1, "taskARN": "t"}]}})
    cache.delete()
    calls.reset()
    cache.step()
    assert cache.conditions()["DeletionBlocked"] == ("True", "BuildsRunning")
    assert cache.conditions()["Ready"] == ("False", "Deleting")
    assert calls.names() == []
    one_of_each(aws)
    cache.view.builds.clear()
    cache.settle()
    assert cache.is_gone()


def test_t30_f40_a_group_in_use_holds_a_deletion(cache: Cache, aws: Aws) -> None:
    cache.settle()
    group = cache.part("build-security-group")
    interface = client("ec2").create_network_interface(SubnetId=aws.world.subnet_ids[0], Groups=[group])
    cache.delete()
    for _ in range(12):
        cache.step()
        cache.later(seconds=5)
    assert not cache.is_gone()
    assert cache.conditions()["DeletionBlocked"] == ("True", "SecurityGroupInUse")
    assert interface["NetworkInterface"]["NetworkInterfaceId"] in cache.message("DeletionBlocked")
    assert client("logs").describe_log_groups()["logGroups"] != []  # a task that started just now still reports
    client("ec2").delete_network_interface(NetworkInterfaceId=interface["NetworkInterface"]["NetworkInterfaceId"])
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_t31_the_group_that_refers_goes_before_the_one_referred_to(cache: Cache, aws: Aws) -> None:
    cache.settle()
    ids = [cache.part("cache-security-group"), cache.part("build-security-group")]
    deleted: list[str] = []
    cache.delete()
    while not cache.is_gone():
        cache.step()
        cache.later(seconds=3)
        there = {group["GroupId"] for group in client("ec2").describe_security_groups()["SecurityGroups"]}
        deleted += [group for group in ids if group not in there and group not in deleted]
    assert deleted == ids


# --- numbers


def test_numbers_about_builds_are_written_without_asking_aws_and_not_with_every_build(
    cache: Cache, calls: Calls
) -> None:
    cache.settle()
    cache.later(seconds=10)
    calls.reset()
    cache.view.builds.append({"status": {}})
    assert cache.step().status is not None
    assert cache.body["status"]["queue"] == {"running": 0, "queued": 1}
    cache.view.builds.append({"status": {"attempts": [{"number": 1, "taskARN": "t"}]}})
    cache.later(seconds=1)
    outcome = cache.step()
    assert outcome.status is None
    assert outcome.again_after == 4.0
    cache.later(seconds=4)
    cache.view.finished.append(Finished("b", "web", 75, False, 51, 160, "2026-11-24T12:00:00Z"))
    cache.step()
    assert cache.body["status"]["queue"] == {"running": 1, "queued": 1}
    assert cache.body["status"]["efficiency"] == {"builds": 1, "hitPercent": 75, "savedSeconds": 160}
    assert calls.names() == []
