"""What a BuildCache pass makes of differences that it cannot end: ids that AWS does not know, corrections without effect, silent drift."""

import time
from collections.abc import Mapping
from typing import Any

import pytest

from buildcache.aws import ec2
from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client

REPOSITORY = "buildcache/team-a/shop"
ASKED = "buildcache.dev/reconcile-requested-at"
MISSING_GROUP, MISSING_SUBNET = "sg-0badc0de0badc0de0", "subnet-0badc0de0badc0de0"


def run(cache: Cache, seconds: float) -> None:
    """Passes as the queue would run them, for so long on their own clock."""
    end = cache.now.timestamp() + seconds
    while cache.now.timestamp() < end:
        outcome = cache.step()
        pause = 1.0 if outcome.failed or outcome.finalizer == "add" else outcome.again_after or seconds
        cache.later(seconds=min(pause, seconds))
        time.sleep(0.005)


def ask(cache: Cache, value: str) -> None:
    cache.body["metadata"]["annotations"] = {ASKED: value}


@pytest.mark.parametrize("with_file_system", [True, False], ids=["with a file system", "without"])
def test_m3_a_security_group_that_does_not_exist_is_named_and_nothing_loops(
    cache: Cache, aws: Aws, calls: Calls, with_file_system: bool
) -> None:
    if not with_file_system:
        cache.spec.pop("fileSystem")
    cache.spec["network"]["securityGroupIDs"] = [MISSING_GROUP]
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "NotFound")
    assert cache.conditions()["NetworkReady"] == ("False", "NotFound")
    assert cache.conditions()["Ready"] == ("False", "NotFound")
    assert f"spec.network.securityGroupIDs[0]: security group {MISSING_GROUP}" in cache.message("Ready")
    run(cache, 30)
    calls.reset()
    run(cache, 60)
    assert len(calls.names()) < 30
    given = client("ec2").create_security_group(GroupName="builds", Description="d", VpcId=aws.world.vpc_id)["GroupId"]
    cache.edit(network={**cache.spec["network"], "securityGroupIDs": [given]})
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_m3_a_group_of_another_vpc_is_refused(cache: Cache) -> None:
    vpc = client("ec2").create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    stranger = client("ec2").create_security_group(GroupName="s", Description="d", VpcId=vpc)["GroupId"]
    cache.spec["network"]["securityGroupIDs"] = [stranger]
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert f"{stranger} is in {vpc}" in cache.message("NetworkReady")


def test_m3_a_settled_cache_with_given_groups_costs_no_read_more(cache: Cache, aws: Aws, calls: Calls) -> None:
    given = client("ec2").create_security_group(GroupName="builds", Description="d", VpcId=aws.world.vpc_id)["GroupId"]
    cache.spec["network"]["securityGroupIDs"] = [given]
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    calls.reset()
    cache.later(minutes=12)
    cache.step()
    assert len(calls.names()) == 12


@pytest.mark.parametrize("with_file_system", [True, False], ids=["with a file system", "without"])
def test_m7_a_subnet_that_does_not_exist_makes_the_network_not_ready(cache: Cache, with_file_system: bool) -> None:
    if not with_file_system:
        cache.spec.pop("fileSystem")
    cache.spec["network"]["subnetIDs"] = [*cache.spec["network"]["subnetIDs"], MISSING_SUBNET]
    cache.settle()
    for kind in ("NetworkReady", "Ready", *(["FileSystemReady"] if with_file_system else [])):
        assert cache.conditions()[kind] == ("False", "NotFound")
        assert MISSING_SUBNET in cache.message(kind)


def test_m4_an_interface_that_ec2_does_not_list_is_no_difference(
    cache: Cache, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.settle()
    nothing: Mapping[str, frozenset[str]] = {}
    monkeypatch.setattr(ec2, "observe_interface_groups", lambda *_: nothing)
    calls.reset()
    cache.later(minutes=12)
    cache.settle()
    assert calls.mutating() == []
    assert cache.conditions()["Drifted"] == ("False", "InSync")
    assert cache.conditions()["Ready"] == ("True", "Available")
    cache.delete()
    cache.settle()
    assert cache.is_gone()


def test_m4_a_correction_without_effect_is_repeated_less_and_less_often_and_said(
    cache: Cache, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.settle()
    real = ec2.observe_interface_groups
    # AWS accepts ModifyMountTargetSecurityGroups, and goes on to show another group.
    monkeypatch.setattr(
        ec2, "observe_interface_groups", lambda *given: dict.fromkeys(real(*given), frozenset({"sg-1"}))
    )
    cache.later(minutes=12)
    calls.reset()
    run(cache, 60)
    assert 3 <= calls.mutating().count("ModifyMountTargetSecurityGroups") <= 2 * 7  # two mount targets
    assert len(calls.names()) < 150
    assert cache.conditions()["Drifted"] == ("True", "CorrectionFailed")
    assert "mount-target/us-east-1a securityGroups" in cache.message("Drifted")
    assert cache.conditions()["Ready"] == ("True", "Available")
    calls.reset()
    run(cache, 3600)
    assert calls.mutating().count("ModifyMountTargetSecurityGroups") <= 2 * 12
    monkeypatch.setattr(ec2, "observe_interface_groups", real)
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Drifted"] == ("False", "InSync")
    assert not {"Reconciling", "Stalled"} & cache.conditions().keys()


def test_m4_looks_that_come_for_another_reason_do_not_repeat_a_correction_without_effect(
    cache: Cache, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.settle()
    real = ec2.observe_interface_groups
    monkeypatch.setattr(
        ec2, "observe_interface_groups", lambda *given: dict.fromkeys(real(*given), frozenset({"sg-1"}))
    )
    calls.reset()
    for second in range(30):
        cache.edit(limits={"maxConcurrentBuilds": second + 1})
        cache.step()
        cache.later(seconds=1)
    assert 2 * 3 <= calls.mutating().count("ModifyMountTargetSecurityGroups") <= 2 * 6  # two mount targets


def no_dns(cache: Cache, aws: Aws) -> tuple[str, str]:
    client("ec2").modify_vpc_attribute(VpcId=aws.world.vpc_id, EnableDnsHostnames={"Value": False})
    return "FileSystemReady", "InvalidSpec"


def no_cluster(cache: Cache, aws: Aws) -> tuple[str, str]:
    client("ecs").delete_cluster(cluster=aws.world.cluster_arn)
    return "ExecutorsReady", "ClusterNotFound"


def no_tags(cache: Cache, aws: Aws) -> tuple[str, str]:
    client("ecs").untag_resource(resourceArn=cache.part("executor/ec2"), tagKeys=["team"])
    return "Drifted", "Corrected"


@pytest.mark.parametrize("change", [no_dns, no_cluster, no_tags])
def test_m5_a_check_that_is_asked_for_sees_what_others_do_not_read(cache: Cache, aws: Aws, change: Any) -> None:
    cache.spec["tags"] = {"team": "a"}
    first = cache.spec["executors"][0]
    cache.spec["executors"] = [first, {**first, "name": "second"}]  # so that one read serves for both
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    kind, reason = change(cache, aws)
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()[kind][1] != reason
    ask(cache, "now")
    cache.settle()
    assert cache.conditions()[kind][1] == reason


def test_m5_what_was_asked_for_and_failed_is_still_a_whole_look_when_it_is_made(
    cache: Cache, aws: Aws, calls: Calls
) -> None:
    cache.settle()
    aws.add_faults([{"operation": "DescribeRepositories", "kind": "error", "times": 2}])
    ask(cache, "now")
    assert cache.step().failed
    calls.reset()
    cache.settle()
    assert {"DescribeClusters", "DescribeVpcAttribute", "DescribeTaskDefinition"} <= set(calls.names())


def test_m2_a_look_that_a_build_asks_for_is_made_at_once_and_reads_everything(cache: Cache, calls: Calls) -> None:
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    calls.reset()
    cache.step()
    assert calls.names() == [], "the last look still stands"
    cache.reconciler.doubt(cache.uid)
    cache.step()
    assert {"DescribeClusters", "DescribeVpcAttribute", "DescribeTaskDefinition"} <= set(calls.names())
    calls.reset()
    cache.step()
    assert calls.names() == [], "one look is enough"


def test_m8_a_deleted_repository_is_told_with_its_layers(cache: Cache) -> None:
    cache.settle()
    client("ecr").delete_repository(repositoryName=REPOSITORY, force=True)
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Drifted"] == ("False", "Corrected")
    message = cache.message("Drifted")
    assert message.startswith("corrected repository exists, repository lifecyclePolicy. ")
    assert "the layers it held are lost" in message


def test_m6_a_name_that_was_taken_and_is_free_again_is_a_first_creation(cache: Cache) -> None:
    client("ecr").create_repository(repositoryName=REPOSITORY)
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "ForeignResource")
    assert "Drifted" not in cache.conditions()
    client("ecr").delete_repository(repositoryName=REPOSITORY, force=True)
    cache.later(minutes=12)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Drifted"] == ("False", "InSync")


def test_m6_a_cluster_that_is_gone_is_a_difference(cache: Cache, aws: Aws) -> None:
    cache.settle()
    client("ecs").delete_cluster(cluster=aws.world.cluster_arn)
    ask(cache, "now")
    cache.settle()
    assert cache.conditions()["Drifted"] == ("True", "DriftFound")
    assert aws.world.cluster_arn in cache.message("Drifted")


@pytest.mark.parametrize("code", ["UnheardException", "InvalidParameterException"])
def test_m11_a_read_that_aws_refuses_is_tried_again_and_told_in_its_words(cache: Cache, aws: Aws, code: str) -> None:
    cache.settle()
    aws.add_faults([{"operation": "DescribeRepositories", "kind": "error", "times": 1, "code": code, "status": 400}])
    cache.later(minutes=12)
    outcome = cache.step()
    assert outcome.failed
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Reconciling"] == ("True", "AwsUnavailable")
    assert code in cache.message("Reconciling")
    cache.settle()
    assert not {"Reconciling", "Stalled"} & cache.conditions().keys()


def test_m11_a_write_that_aws_refuses_is_for_a_person(cache: Cache, aws: Aws) -> None:
    fault = {"operation": "CreateRepository", "kind": "error", "times": -1, "code": "UnheardException", "status": 400}
    aws.add_faults([fault])
    cache.settle()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")


def test_c11_a_long_request_is_echoed_within_the_bound_and_answered_once(cache: Cache, calls: Calls) -> None:
    cache.settle()
    echoes = set()
    for value in ("x" * 255 + "é", "x" * 257, "x" * 300, "x" * 5000):
        ask(cache, value)
        calls.reset()
        cache.settle()
        assert calls.names() != []
        echo = cache.body["status"]["lastHandledReconcileAt"]
        assert len(echo) <= 256
        assert (echo == value) is (len(value) <= 256)
        echoes.add(echo)
        calls.reset()
        cache.step()
        assert calls.names() == []
    assert len(echoes) == 4
