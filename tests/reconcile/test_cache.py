"""The BuildCache pass end to end against the lab's AWS: to Ready, settled, repaired, and back to nothing."""

import json
from typing import Any

import pytest

from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of

KANIKO = {
    "name": "kaniko",
    "engine": "Kaniko",
    "launchType": "Fargate",
    "cpu": 1024,
    "memory": 2048,
    "taskRoleARN": "arn:aws:iam::123456789012:role/task",
    "executionRoleARN": "arn:aws:iam::123456789012:role/execution",
}


def test_a_full_cache_becomes_ready_and_goes_without_a_trace(cache: Cache, aws: Aws) -> None:
    cache.settle()
    ready = {kind: state for kind, state in cache.conditions().items() if kind.endswith("Ready")}
    assert set(ready.values()) == {("True", "Available")}
    assert len(ready) == 5
    assert not {"Reconciling", "Stalled"} & cache.conditions().keys()
    status = cache.body["status"]
    assert status["account"] == aws.account
    assert status["registry"]["repositoryURI"] == f"{aws.registry}/buildcache/team-a/shop"
    assert status["fileSystem"]["zones"] == list(aws.world.zones[:2])
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_the_first_pass_only_asks_for_the_finalizer(cache: Cache, calls: Calls) -> None:
    outcome = cache.step()
    assert outcome.finalizer == "add"
    assert calls.names() == []


SETTLED_LOOK = [
    "DescribeSecurityGroups",
    "DescribeFileSystems",
    "DescribeLifecycleConfiguration",
    "DescribeBackupPolicy",
    "DescribeMountTargets",
    "DescribeNetworkInterfaces",
    "DescribeRepositories",
    "ListTagsForResource",
    "GetLifecyclePolicy",
    "DescribeLogGroups",
    "ListTagsForResource",
]
"""The reads of every drift check of a full BuildCache (docs/how-to/drift.md); one more is about its task definitions."""


@pytest.mark.parametrize("executors", [1, 2, 8])
def test_t11_a_settled_cache_costs_twelve_reads_and_no_write(cache: Cache, calls: Calls, executors: int) -> None:
    first = cache.spec["executors"][0]
    cache.spec["executors"] = [first, *({**KANIKO, "name": f"kaniko-{number}"} for number in range(executors - 1))]
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    writes = cache.writes
    definitions = "DescribeTaskDefinition" if executors == 1 else "ListTaskDefinitionFamilies"
    for _ in range(3):
        calls.reset()
        cache.later(minutes=12)
        cache.step()
        assert calls.names() == [*SETTLED_LOOK, definitions]
        assert len(calls.names()) <= 12
        assert calls.mutating() == []
    assert cache.writes == writes
    cache.later(minutes=62)
    calls.reset()
    cache.step()
    assert calls.names().count("DescribeTaskDefinition") == executors  # once an hour everything is read
    assert "DescribeClusters" in calls.names()


def test_t26_a_task_definition_deregistered_by_hand_is_seen_also_where_one_read_serves_all(cache: Cache) -> None:
    cache.spec["executors"].append(KANIKO)
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    before = cache.part("executor/kaniko")
    client("ecs").deregister_task_definition(taskDefinition=before)
    cache.later(minutes=12)
    cache.settle()
    assert cache.part("executor/kaniko") != before
    assert cache.conditions()["Drifted"] == ("False", "Corrected")


def test_m2_a_build_that_finds_its_definition_gone_makes_the_cache_look_at_once(cache: Cache, calls: Calls) -> None:
    cache.settle()
    cache.later(minutes=1)
    before = cache.part("executor/ec2")
    client("ecs").deregister_task_definition(taskDefinition=before)
    cache.step()
    assert cache.part("executor/ec2") == before, "no look is due"
    cache.reconciler.doubt(cache.uid)
    cache.settle()
    assert cache.part("executor/ec2") != before
    cache.step()
    calls.reset()
    cache.step()
    assert calls.names() == [], "one look for one doubt"


def test_after_an_update_the_look_is_small_again(cache: Cache, calls: Calls) -> None:
    cache.settle()
    cache.edit(executors=[{**cache.spec["executors"][0], "memory": 4096}])
    cache.settle()
    cache.later(minutes=12)
    cache.step()
    calls.reset()
    cache.later(minutes=12)
    cache.step()
    assert calls.names() == [*SETTLED_LOOK, "DescribeTaskDefinition"]


def test_between_looks_aws_is_not_asked(cache: Cache, calls: Calls) -> None:
    cache.settle()
    calls.reset()
    for _ in range(10):
        cache.later(seconds=5)
        assert cache.step().status is None
    assert calls.names() == []


def test_deleting_the_whole_status_changes_nothing_in_aws(cache: Cache, calls: Calls) -> None:
    cache.settle()
    before = {part["name"]: part["id"] for part in cache.body["status"]["parts"]}
    calls.reset()
    cache.body["status"] = {"observedGeneration": -1}
    cache.settle()
    assert calls.mutating() == []
    assert {part["name"]: part["id"] for part in cache.body["status"]["parts"]} == before
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_f60_a_forged_status_is_repaired_and_changes_nothing_in_aws(cache: Cache, calls: Calls) -> None:
    cache.settle()
    right = cache.body["status"]["parts"]
    calls.reset()
    cache.body["status"] = {"observedGeneration": "many", "parts": 7}
    cache.settle()
    assert calls.mutating() == []
    assert cache.body["status"]["parts"] == right


def test_a_restarted_operator_does_nothing_to_a_settled_cache(cache: Cache, calls: Calls) -> None:
    cache.settle()
    writes = cache.writes
    calls.reset()
    cache.restart()
    cache.step()
    assert calls.mutating() == []
    assert cache.writes == writes


def test_an_annotation_means_now_and_is_echoed(cache: Cache, calls: Calls) -> None:
    cache.settle()
    calls.reset()
    cache.body["metadata"]["annotations"] = {"buildcache.dev/reconcile-requested-at": "today"}
    cache.step()
    assert "DescribeFileSystems" in calls.names()
    assert cache.body["status"]["lastHandledReconcileAt"] == "today"
    calls.reset()
    cache.step()
    assert calls.names() == []


# --- spec


def test_without_a_file_system_there_is_none_and_the_cache_is_ready(cache: Cache, aws: Aws) -> None:
    cache.spec.pop("fileSystem")
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["FileSystemReady"] == ("False", "NotConfigured")
    assert client("efs").describe_file_systems()["FileSystems"] == []


def test_toggling_the_file_system_and_enabled_makes_and_removes_the_stores(cache: Cache, aws: Aws) -> None:
    cache.settle()
    cache.edit(fileSystem=None)
    cache.settle()
    assert client("efs").describe_file_systems()["FileSystems"] == []
    assert not any("cache" in name.split("-")[1] for name in left_over(aws.world)["groups"])
    cache.edit(fileSystem={"transitionToIA": "AFTER_7_DAYS", "backup": True})
    cache.settle()
    assert cache.conditions()["FileSystemReady"] == ("True", "Available")
    cache.edit(enabled=False)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Disabled")
    assert cache.conditions()["ExecutorsReady"] == ("True", "Available")
    left = left_over(aws.world)
    assert left.keys() == {"groups", "log groups", "task definitions"}
    cache.edit(enabled=True)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")


def test_t37_retain_leaves_everything_and_the_object_goes(cache: Cache, calls: Calls) -> None:
    cache.spec["deletionPolicy"] = "Retain"
    cache.settle()
    assert {tags["buildcache.dev/deletion-policy"] for tags in tags_of(cache).values()} == {"Retain"}
    cache.delete()
    calls.reset()
    cache.settle()
    assert cache.is_gone()
    assert calls.mutating() == []


def test_t37_retain_right_before_the_deletion_still_marks_what_is_left(cache: Cache) -> None:
    cache.settle()
    cache.edit(deletionPolicy="Retain")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert {tags["buildcache.dev/deletion-policy"] for tags in tags_of(cache).values()} == {"Retain"}


def test_t37_retain_ends_also_when_nothing_may_be_looked_at(cache: Cache, aws: Aws) -> None:
    cache.settle()
    aws.add_faults([{"operation": "DescribeSecurityGroups", "kind": "denied", "times": -1}])
    cache.edit(deletionPolicy="Retain")
    cache.delete()
    cache.settle()
    assert cache.is_gone()


def test_f55_a_cache_made_anew_is_told_what_the_former_one_left_and_how_to_take_it_over(cache: Cache, aws: Aws) -> None:
    cache.spec["deletionPolicy"] = "Retain"
    cache.settle()
    cache.delete()
    cache.settle()
    again = Cache(aws, spec_of(aws.world), uid="22222222-2222-3333-4444-555555555555")
    again.settle()
    assert again.conditions()["Stalled"] == ("True", "ForeignResource")
    message = again.message("Stalled")
    assert f"earlier BuildCache of this name (UID {cache.uid}), kept by its deletionPolicy Retain" in message
    for tag, call in (("repository", client("ecr")), ("log-group", client("logs"))):
        arn = cache.part("repository") if tag == "repository" else f"{log_group_arn()}"
        value = {"buildcache.dev/uid": again.uid}
        tags: Any = [{"Key": key, "Value": text} for key, text in value.items()] if tag == "repository" else value
        call.tag_resource(resourceArn=arn, tags=tags)
    again.later(minutes=12)
    again.settle()
    assert again.conditions()["Ready"] == ("True", "Available")


def log_group_arn() -> str:
    return str(client("logs").describe_log_groups()["logGroups"][0]["arn"]).removesuffix(":*")


def test_suspend_means_no_aws_write(cache: Cache, calls: Calls) -> None:
    cache.settle()
    cache.edit(suspend=True)
    calls.reset()
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Suspended"] == ("True", "SuspendedBySpec")
    assert not {"Reconciling", "Stalled"} & cache.conditions().keys()
    cache.delete()
    outcome = cache.step()
    assert not cache.is_gone()
    assert outcome.again_after is None
    assert "suspend" in cache.message("Ready")
    assert calls.mutating() == []
    cache.edit(suspend=False)
    cache.settle()
    assert cache.is_gone()


def test_a_suspended_cache_without_parts_goes_at_once(cache: Cache, calls: Calls) -> None:
    cache.spec["suspend"] = True
    cache.settle()
    cache.delete()
    cache.step()
    assert cache.is_gone()
    assert calls.mutating() == []


def test_report_from_the_start_makes_nothing_and_asks_no_more_often_than_it_should(cache: Cache, calls: Calls) -> None:
    cache.spec["reconcilePolicy"] = "Report"
    cache.step()
    outcome = cache.step()
    assert outcome.again_after is not None
    assert outcome.again_after > 500
    assert calls.mutating() == []
    assert cache.conditions()["Drifted"] == ("True", "DriftFound")
    assert cache.conditions()["Stalled"] == ("True", "NotFound")  # nothing goes on: a person must act
    assert "Reconciling" not in cache.conditions()
    assert "file-system" in {row["part"] for row in cache.body["status"]["drift"]}


def test_report_lists_drift_and_writes_nothing(cache: Cache, calls: Calls) -> None:
    cache.settle()
    cache.edit(reconcilePolicy="Report")
    cache.settle()
    client("ecr").delete_lifecycle_policy(repositoryName="buildcache/team-a/shop")
    calls.reset()
    cache.later(minutes=12)
    cache.step()
    assert [(row["part"], row["field"]) for row in cache.body["status"]["drift"]] == [("repository", "lifecyclePolicy")]
    assert cache.conditions()["Drifted"] == ("True", "DriftFound")
    assert calls.mutating() == []
    cache.edit(reconcilePolicy="Correct")
    cache.settle()
    assert cache.body["status"]["drift"] == []
    assert cache.conditions()["Drifted"][0] == "False"


def test_a_new_executor_content_is_a_new_revision_and_the_old_one_goes_when_unused(cache: Cache) -> None:
    cache.settle()
    old = cache.part("executor/ec2")
    running = {
        "status": {"attempts": [{"number": 1, "taskARN": "t"}], "executor": {"name": "ec2", "taskDefinitionARN": old}}
    }
    cache.view.builds.append(running)
    cache.edit(executors=[{**cache.spec["executors"][0], "memory": 4096}])
    cache.settle()
    new = cache.part("executor/ec2")
    assert new != old
    active = client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    assert sorted(active) == sorted([old, new])
    cache.view.builds.clear()
    cache.later(minutes=12)
    cache.settle()
    assert client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"] == [new]


def test_a_removed_executor_loses_its_task_definition(cache: Cache) -> None:
    cache.spec["executors"].append(KANIKO)
    cache.settle()
    assert len(client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]) == 2
    cache.edit(executors=cache.spec["executors"][:1])
    cache.settle()
    left = client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    assert left == [cache.part("executor/ec2")]
    assert not any(part["name"] == "executor/kaniko" for part in cache.body["status"]["parts"])


def test_observed_parts_are_used_and_never_written(cache: Cache, calls: Calls, aws: Aws) -> None:
    client("ecr").create_repository(repositoryName="shared/cache", imageTagMutability="IMMUTABLE")
    cache.spec["registry"] = {"management": "Observed", "repositoryName": "shared/cache"}
    cache.spec.pop("fileSystem")
    cache.settle()
    assert cache.conditions()["RegistryReady"] == ("True", "Available")
    assert cache.body["status"]["registry"]["repositoryURI"] == f"{aws.registry}/shared/cache"
    cache.delete()
    cache.settle()
    assert left_over(aws.world) == {"repositories": ["shared/cache"]}
    assert not {"PutImageTagMutability", "PutLifecyclePolicy", "DeleteRepository"} & set(calls.names())


def test_given_groups_are_the_only_ones_that_reach_the_file_system(cache: Cache, aws: Aws) -> None:
    given = client("ec2").create_security_group(GroupName="builds", Description="d", VpcId=aws.world.vpc_id)["GroupId"]
    cache.settle()
    network = cache.spec["network"]
    cache.edit(network={**network, "securityGroupIDs": [given]})
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    group = client("ec2").describe_security_groups(GroupIds=[cache.part("cache-security-group")])["SecurityGroups"][0]
    assert [pair["GroupId"] for rule in group["IpPermissions"] for pair in rule["UserIdGroupPairs"]] == [given]
    assert sorted(left_over(aws.world)["groups"]) == sorted(["builds", group["GroupName"]])


# --- tags


def tags_of(cache: Cache) -> dict[str, dict[str, str]]:
    """Part → its tags in AWS."""
    groups = client("ec2").describe_security_groups(
        GroupIds=[cache.part("build-security-group"), cache.part("cache-security-group")]
    )["SecurityGroups"]
    system = client("efs").describe_file_systems()["FileSystems"][0]
    repository = client("ecr").list_tags_for_resource(resourceArn=cache.part("repository"))["tags"]
    group = client("logs").describe_log_groups()["logGroups"][0]
    definition = client("ecs").describe_task_definition(taskDefinition=cache.part("executor/ec2"), include=["TAGS"])
    return {
        **{group["GroupName"]: {tag["Key"]: tag["Value"] for tag in group["Tags"]} for group in groups},
        "file system": {tag["Key"]: tag["Value"] for tag in system["Tags"]},
        "repository": {tag["Key"]: tag["Value"] for tag in repository},
        "log group": client("logs").list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"],
        "executor": {tag["key"]: tag["value"] for tag in definition["tags"]},
    }


def test_tags_of_the_spec_are_followed_on_every_part_and_those_of_others_stay(
    cache: Cache, aws: Aws, calls: Calls
) -> None:
    cache.spec["tags"] = {"team": "a", "cost": "7"}
    cache.settle()
    arn = cache.part("executor/ec2")
    client("ec2").create_tags(
        Resources=[cache.part("build-security-group")], Tags=[{"Key": "audit", "Value": "by hand"}]
    )
    client("ecr").tag_resource(resourceArn=cache.part("repository"), tags=[{"Key": "audit", "Value": "by hand"}])
    assert {frozenset({"team": "a", "cost": "7"}.items()) <= tags.items() for tags in tags_of(cache).values()} == {True}
    cache.edit(tags={"team": "b", "env": "test"})
    cache.body["status"] = {"observedGeneration": -1}  # what was set before is known from AWS
    cache.settle()
    for part, tags in tags_of(cache).items():
        assert (tags.get("team"), tags.get("env"), tags.get("cost")) == ("b", "test", None), part
        assert tags["buildcache.dev/uid"] == cache.uid
    assert cache.part("executor/ec2") == arn  # tags are no content
    assert sum(tags.get("audit") == "by hand" for tags in tags_of(cache).values()) == 2
    cache.edit(tags={})
    cache.settle()
    assert all("team" not in tags and "buildcache.dev/tag-keys" not in tags for tags in tags_of(cache).values())
    assert sum(tags.get("audit") == "by hand" for tags in tags_of(cache).values()) == 2
    calls.reset()
    cache.later(minutes=12)
    cache.settle()
    assert calls.mutating() == []


def test_a_tag_changed_by_hand_is_put_right(cache: Cache) -> None:
    cache.spec["tags"] = {"team": "a"}
    cache.settle()
    before = tags_of(cache)
    arn = cache.part("repository")
    client("ecr").untag_resource(resourceArn=arn, tagKeys=["team"])
    client("efs").tag_resource(ResourceId=cache.part("file-system"), Tags=[{"Key": "team", "Value": "z"}])
    cache.later(minutes=12)
    cache.settle()
    assert tags_of(cache) == before
    assert "repository tags" in cache.message("Drifted")


def test_a_user_key_whose_removal_fails_is_not_forgotten(cache: Cache, aws: Aws) -> None:
    cache.spec["tags"] = {"team": "a", "cost": "7"}
    cache.settle()
    aws.add_faults([{"operation": "UntagResource", "kind": "denied", "times": 4}])
    cache.edit(tags={"team": "a"})
    cache.settle()
    cache.later(minutes=12)
    cache.settle()
    assert all("cost" not in tags for tags in tags_of(cache).values())


# --- drift


def drift_repository(cache: Cache) -> None:
    client("ecr").delete_repository(repositoryName="buildcache/team-a/shop", force=True)


def drift_policy(cache: Cache) -> None:
    rule = {
        "rulePriority": 1,
        "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
        "action": {"type": "expire"},
    }
    text = json.dumps({"rules": [rule]})
    client("ecr").put_lifecycle_policy(repositoryName="buildcache/team-a/shop", lifecyclePolicyText=text)


def drift_mutability(cache: Cache) -> None:
    client("ecr").put_image_tag_mutability(repositoryName="buildcache/team-a/shop", imageTagMutability="IMMUTABLE")


def drift_rule_removed(cache: Cache) -> None:
    group = client("ec2").describe_security_groups(GroupIds=[cache.part("cache-security-group")])["SecurityGroups"][0]
    client("ec2").revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])


def drift_rule_widened(cache: Cache) -> None:
    open_to_all = [
        {"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    ]
    group = cache.part("cache-security-group")
    client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=open_to_all)


def drift_retention(cache: Cache) -> None:
    client("logs").delete_retention_policy(logGroupName="/buildcache/test/team-a/shop")


def drift_log_group(cache: Cache) -> None:
    client("logs").delete_log_group(logGroupName="/buildcache/test/team-a/shop")


def drift_definition(cache: Cache) -> None:
    client("ecs").deregister_task_definition(taskDefinition=cache.part("executor/ec2"))


def drift_mount_target(cache: Cache) -> None:
    client("efs").delete_mount_target(MountTargetId=cache.part("mount-target/us-east-1a"))


def drift_mount_groups(cache: Cache) -> None:
    client("efs").modify_mount_target_security_groups(
        MountTargetId=cache.part("mount-target/us-east-1b"), SecurityGroups=[cache.part("build-security-group")]
    )


def drift_transitions(cache: Cache) -> None:
    client("efs").put_lifecycle_configuration(FileSystemId=cache.part("file-system"), LifecyclePolicies=[])


def drift_backup(cache: Cache) -> None:
    policy: Any = {"Status": "ENABLED"}
    client("efs").put_backup_policy(FileSystemId=cache.part("file-system"), BackupPolicy=policy)


def peers(rule: Any, names: dict[str, str]) -> list[str]:
    groups = [names[pair["GroupId"]] for pair in rule["UserIdGroupPairs"]]
    return [rule["IpProtocol"], *groups, *(block["CidrIp"] for block in rule["IpRanges"])]


def picture(cache: Cache) -> object:
    """What AWS has, without ids that a repair changes."""
    ec2, efs, ecr = client("ec2"), client("efs"), client("ecr")
    groups = ec2.describe_security_groups()["SecurityGroups"]
    names = {group["GroupId"]: group["GroupName"] for group in groups}
    system = efs.describe_file_systems()["FileSystems"][0]["FileSystemId"]
    mounts = efs.describe_mount_targets(FileSystemId=system)["MountTargets"]
    repository = ecr.describe_repositories()["repositories"][0]
    policy = ecr.get_lifecycle_policy(repositoryName=repository["repositoryName"])["lifecyclePolicyText"]
    log_group = client("logs").describe_log_groups()["logGroups"][0]
    return {
        "rules": {
            group["GroupName"]: [
                sorted(peers(rule, names) for rule in group[side]) for side in ("IpPermissions", "IpPermissionsEgress")
            ]
            for group in groups
        },
        "mounts": sorted(
            (
                mount["SubnetId"],
                *(
                    names[group]
                    for group in efs.describe_mount_target_security_groups(MountTargetId=mount["MountTargetId"])[
                        "SecurityGroups"
                    ]
                ),
            )
            for mount in mounts
        ),
        "transitions": efs.describe_lifecycle_configuration(FileSystemId=system)["LifecyclePolicies"],
        "repository": (repository["imageTagMutability"], json.loads(policy)),
        "logs": (log_group["logGroupName"], log_group.get("retentionInDays")),
        "definitions": len(client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]),
    }


@pytest.mark.parametrize(
    ("drift", "part"),
    [
        pytest.param(drift_repository, "repository", id="T25 F43: repository deleted"),
        pytest.param(drift_policy, "repository", id="T25 F42: lifecycle policy changed"),
        pytest.param(drift_mutability, "repository", id="tags made immutable"),
        pytest.param(drift_rule_removed, "cache-security-group", id="T24 F42: NFS rule removed"),
        pytest.param(drift_rule_widened, "cache-security-group", id="T24: NFS opened to the world"),
        pytest.param(drift_retention, "log-group", id="log retention removed"),
        pytest.param(drift_log_group, "log-group", id="log group deleted"),
        pytest.param(drift_definition, "executor/ec2", id="T26 F35: task definition deregistered"),
        pytest.param(drift_mount_target, "mount-target/us-east-1a", id="T23: mount target deleted"),
        pytest.param(drift_mount_groups, "mount-target/us-east-1b", id="groups of a mount target changed"),
        pytest.param(drift_transitions, "file-system", id="lifecycle configuration cleared"),
        pytest.param(drift_backup, "file-system", id="backup switched on"),
    ],
)
def test_what_somebody_changes_by_hand_is_put_right(cache: Cache, drift: Any, part: str) -> None:
    cache.settle()
    before = picture(cache)
    drift(cache)
    cache.later(minutes=12)
    cache.settle()
    assert picture(cache) == before
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert cache.conditions()["Drifted"] == ("False", "Corrected")
    assert part in cache.message("Drifted")


def test_t25_another_spelling_of_the_same_policy_is_no_drift(cache: Cache, calls: Calls) -> None:
    cache.settle()
    ecr = client("ecr")
    text = ecr.get_lifecycle_policy(repositoryName="buildcache/team-a/shop")["lifecyclePolicyText"]
    spaced = json.dumps(json.loads(text), indent=4)
    ecr.put_lifecycle_policy(repositoryName="buildcache/team-a/shop", lifecyclePolicyText=spaced)
    calls.reset()
    cache.later(minutes=12)
    cache.settle()
    assert calls.mutating() == []


def test_t45_two_subnets_of_one_zone_get_one_mount_target(cache: Cache, aws: Aws) -> None:
    ec2 = client("ec2")
    twin = ec2.create_subnet(VpcId=aws.world.vpc_id, CidrBlock="172.31.200.0/24", AvailabilityZone=aws.world.zones[0])[
        "Subnet"
    ]["SubnetId"]
    cache.spec["network"]["subnetIDs"] = [twin, *aws.world.subnet_ids[:2]]
    cache.settle()
    mounts = client("efs").describe_mount_targets(FileSystemId=cache.part("file-system"))["MountTargets"]
    assert sorted(mount["SubnetId"] for mount in mounts) == sorted([twin, aws.world.subnet_ids[1]])


def test_a_full_spec_of_another_cache_does_not_meet_this_one(cache: Cache, aws: Aws) -> None:
    other = Cache(aws, spec_of(aws.world), name="other", uid="99999999-2222-3333-4444-555555555555")
    cache.settle()
    other.settle()
    other.delete()
    other.settle()
    cache.later(minutes=12)
    calls = Calls(aws)
    calls.reset()
    cache.settle()
    assert calls.mutating() == []
