"""A BuildCache from nothing to Ready and back to nothing, through the API server, the operator's process and the AWS stand-in."""

import json
from typing import Any

import pytest

from lab.outside import condition
from tests.lab.world import World, wait_for

pytestmark = pytest.mark.lab
FULL: dict[str, Any] = {"fileSystem": {}, "registry": {"retentionDays": 14}, "tags": {"team": "a"}}


def ours(world: World, uid: str) -> dict[str, list[str]]:
    """Every AWS part that carries the object's UID as its tag."""
    tag = {"Key": "buildcache.dev/uid", "Value": uid}
    efs, ecr, ecs, logs = (world.aws(service) for service in ("efs", "ecr", "ecs", "logs"))
    systems = [each["FileSystemId"] for each in efs.describe_file_systems()["FileSystems"] if tag in each["Tags"]]
    groups = world.aws("ec2").describe_security_groups(Filters=[{"Name": f"tag:{tag['Key']}", "Values": [uid]}])
    definitions = [
        arn
        for arn in ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
        if {"key": tag["Key"], "value": uid}
        in ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])["tags"]
    ]
    return {
        "file systems": systems,
        "mount targets": [
            each["MountTargetId"]
            for system in systems
            for each in efs.describe_mount_targets(FileSystemId=system)["MountTargets"]
        ],
        "security groups": [each["GroupId"] for each in groups["SecurityGroups"]],
        "repositories": [
            each["repositoryName"]
            for each in ecr.describe_repositories()["repositories"]
            if tag in ecr.list_tags_for_resource(resourceArn=each["repositoryArn"])["tags"]
        ],
        "task definitions": definitions,
        "log groups": [
            each["logGroupName"]
            for each in logs.describe_log_groups()["logGroups"]
            if logs.list_tags_log_group(logGroupName=each["logGroupName"])["tags"].get(tag["Key"]) == uid
        ],
    }


def test_a_full_cache_becomes_ready_with_every_part_and_leaves_nothing(world: World, namespace: str) -> None:
    cache = world.ready(namespace, **FULL)
    uid = cache["metadata"]["uid"]
    assert {part: len(found) for part, found in ours(world, uid).items()} == {
        "file systems": 1,
        "mount targets": 3,
        "security groups": 2,
        "repositories": 1,
        "task definitions": 1,
        "log groups": 1,
    }
    status = cache["status"]
    assert status["observedGeneration"] == cache["metadata"]["generation"]
    assert status["registry"]["repositoryURI"] == f"{world.info['registry']}/buildcache/{namespace}/shop"
    assert len(status["fileSystem"]["zones"]) == 3
    for kind in ("NetworkReady", "FileSystemReady", "RegistryReady", "ExecutorsReady"):
        assert condition(cache, kind)["reason"] == "Available"
    assert condition(cache, "Stalled").get("status") != "True"
    assert condition(cache, "Reconciling").get("status") != "True"

    world.delete(namespace, "buildcaches", "shop")
    world.gone(namespace, "buildcaches", "shop")
    left = ours(world, uid)
    left.pop("log groups")  # logs of builds outlive the cache's other parts only by policy; see the reference
    assert not any(left.values()), left


def repository(namespace: str) -> str:
    return f"buildcache/{namespace}/shop"


def test_a_change_by_hand_is_corrected_at_the_users_request(world: World, namespace: str) -> None:
    """T24, T25, F42: the NFS rule and the lifecycle policy come back at once after the annotation."""
    cache = world.ready(namespace, **FULL)
    ec2, ecr = world.aws("ec2"), world.aws("ecr")
    (group,) = [
        each
        for each in ec2.describe_security_groups(
            Filters=[{"Name": "tag:buildcache.dev/uid", "Values": [cache["metadata"]["uid"]]}]
        )["SecurityGroups"]
        if each["IpPermissions"]
    ]
    ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
    ecr.delete_lifecycle_policy(repositoryName=repository(namespace))
    world.patch(
        namespace,
        "buildcaches",
        "shop",
        {"metadata": {"annotations": {"buildcache.dev/reconcile-requested-at": "now-1"}}},
    )
    wait_for(
        "the request was handled",
        lambda: world.get(namespace, "buildcaches", "shop")["status"].get("lastHandledReconcileAt") == "now-1",
    )
    after = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0]
    assert [(rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in after["IpPermissions"]] == [
        (2049, 2049, "tcp")
    ]
    assert ecr.get_lifecycle_policy(repositoryName=repository(namespace))["lifecyclePolicyText"]


def test_a_foreign_repository_of_the_same_name_is_reported_and_untouched(world: World, namespace: str) -> None:
    """T03, T10, F41: the name is taken by something without our tags."""
    ecr = world.aws("ecr")
    ecr.create_repository(repositoryName=repository(namespace), imageTagMutability="IMMUTABLE")
    world.create(namespace, "buildcaches", world.cache())
    body = world.reaches(namespace, "buildcaches", "shop", "Stalled", "True", "ForeignResource")
    assert repository(namespace) in condition(body, "Stalled")["message"]
    world.delete(namespace, "buildcaches", "shop")
    world.gone(namespace, "buildcaches", "shop")
    (left,) = ecr.describe_repositories(repositoryNames=[repository(namespace)])["repositories"]
    assert left["imageTagMutability"] == "IMMUTABLE"
    ecr.delete_repository(repositoryName=repository(namespace))


def test_c13_a_suspended_cache_stays_ready_and_kubectl_shows_that_it_is_suspended(world: World, namespace: str) -> None:
    world.ready(namespace)
    assert columns(world, namespace)["Status"] == "Available"
    world.patch(namespace, "buildcaches", "shop", {"spec": {"suspend": True}})
    body = world.reaches(namespace, "buildcaches", "shop", "Suspended", "True", "SuspendedBySpec")
    assert condition(body, "Ready")["reason"] == "Available"
    assert (columns(world, namespace)["Ready"], columns(world, namespace)["Status"]) == ("True", "SuspendedBySpec")
    world.patch(namespace, "buildcaches", "shop", {"spec": {"suspend": False}})
    wait_for("it is resumed", lambda: columns(world, namespace)["Status"] == "Available")


def columns(world: World, namespace: str) -> dict[str, Any]:
    """What `kubectl get` prints of the BuildCache: the API server's own table."""
    path = f"/apis/buildcache.dev/v1alpha1/namespaces/{namespace}/buildcaches/shop"
    headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    api: Any = world.objects.api_client
    response = api.call_api(*api.param_serialize("GET", path, header_params=headers, auth_settings=["BearerToken"]))
    table = json.loads(response.read())
    return dict(zip((each["name"] for each in table["columnDefinitions"]), table["rows"][0]["cells"], strict=True))


def test_deleting_the_whole_status_changes_nothing_in_aws(world: World, namespace: str) -> None:
    """Style rule 5: status is output."""
    cache = world.ready(namespace, **FULL)
    since = world.calls_now()
    world.objects.patch_namespaced_custom_object_status(
        "buildcache.dev", "v1alpha1", namespace, "buildcaches", "shop", {"status": None},
        _content_type="application/merge-patch+json",
    )  # fmt: skip
    body = world.reaches(namespace, "buildcaches", "shop", "Ready", "True")
    assert body["status"]["fileSystem"] == cache["status"]["fileSystem"]
    assert [call["operation"] for call in world.calls(since) if call["mutating"]] == []
