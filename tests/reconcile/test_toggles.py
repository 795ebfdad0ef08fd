"""Every change of a switch, in both directions, ends in the state that a fresh object with the new spec would have."""

import json
from itertools import permutations
from typing import Any

import pytest

from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, spec_of
from tests.reconcile.test_cache import KANIKO, peers

VALUES: dict[str, list[Any]] = {
    "enabled": [True, False],
    "deletionPolicy": ["Delete", "Retain"],
    "fileSystem": [None, {}, {"backup": True, "transitionToIA": None}, {"throughputMode": "bursting"}],
    "registry": [{}, {"retentionDays": 7}, {"retentionDays": 90}],
    "executors": ["one", "other content", "two"],
    "logRetentionDays": [7, 30],
    "tags": [{}, {"team": "a"}, {"team": "b", "cost": "1"}],
}
PAIRS = [
    pytest.param(field, before, after, id=f"{field}: {before} to {after}")
    for field, values in VALUES.items()
    for before, after in permutations(values, 2)
]


def value(cache: Cache, field: str, name: Any) -> Any:
    if field != "executors":
        return name
    first = spec_of(cache.aws.world)["executors"][0]
    return {"one": [first], "other content": [{**first, "memory": 4096}], "two": [first, KANIKO]}[name]


def picture(cache: Cache) -> object:
    """All of one cache in AWS, without ids, and what its status says of itself."""
    mine = {"Key": "buildcache.dev/uid", "Value": cache.uid}
    ec2, efs, ecr, ecs, logs = (client(service) for service in ("ec2", "efs", "ecr", "ecs", "logs"))
    groups = ec2.describe_security_groups()["SecurityGroups"]
    roles = {group["GroupId"]: "-".join(group["GroupName"].split("-")[:2]) for group in groups}
    systems = [system for system in efs.describe_file_systems()["FileSystems"] if mine in system["Tags"]]
    repositories = []
    for each in ecr.describe_repositories()["repositories"]:
        tags = ecr.list_tags_for_resource(resourceArn=each["repositoryArn"])["tags"]
        if mine in tags:
            repositories.append((each["imageTagMutability"], policy(each["repositoryName"]), plain(tags)))
    families = []
    for arn in ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]:
        answer = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        definition = answer["taskDefinition"]
        if {"key": mine["Key"], "value": mine["Value"]} in answer["tags"]:
            families.append((definition["family"].rpartition("-")[2], definition["memory"], plain(answer["tags"])))
    log_groups = []
    for group in logs.describe_log_groups()["logGroups"]:
        tags = logs.list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]
        if tags.get(mine["Key"]) == cache.uid:
            log_groups.append((group["retentionInDays"], own(tags)))
    return {
        "groups": sorted(
            [
                roles[group["GroupId"]],
                *(
                    sorted(peers(rule, roles) for rule in group[side])
                    for side in ("IpPermissions", "IpPermissionsEgress")
                ),
                plain(group["Tags"]),
            ]
            for group in groups
            if mine in group.get("Tags", [])
        ),
        "file systems": [
            (
                system["ThroughputMode"],
                efs.describe_lifecycle_configuration(FileSystemId=system["FileSystemId"])["LifecyclePolicies"],
                backup(system["FileSystemId"]),
                sorted(
                    mount["SubnetId"]
                    for mount in efs.describe_mount_targets(FileSystemId=system["FileSystemId"])["MountTargets"]
                ),
                plain(system["Tags"]),
            )
            for system in systems
        ],
        "repositories": repositories,
        "log groups": log_groups,
        "task definitions": sorted(families),
        "conditions": {kind: state for kind, state in cache.conditions().items() if kind != "Drifted"},
        "parts": sorted(part["name"] for part in cache.body["status"]["parts"]),
    }


def own(tags: dict[str, str]) -> list[tuple[str, str]]:
    """Without what names the one object."""
    personal = ("Name", "buildcache.dev/uid", "buildcache.dev/name", "buildcache.dev/content-hash")
    return sorted((key, text) for key, text in tags.items() if key not in personal)


def plain(tags: Any) -> list[tuple[str, str]]:
    return own({tag.get("Key") or tag["key"]: tag.get("Value") or tag.get("value") or "" for tag in tags})


def policy(repository: str) -> Any:
    try:
        return json.loads(client("ecr").get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    except client("ecr").exceptions.LifecyclePolicyNotFoundException:
        return None


def backup(system: str) -> bool:
    try:
        status: str = client("efs").describe_backup_policy(FileSystemId=system)["BackupPolicy"]["Status"]
    except client("efs").exceptions.PolicyNotFound:
        return False
    return status in ("ENABLED", "ENABLING")


@pytest.mark.parametrize(("field", "before", "after"), PAIRS)
def test_a_changed_cache_is_like_a_fresh_one(aws: Aws, field: str, before: Any, after: Any) -> None:
    spec = spec_of(aws.world)
    changed = Cache(aws, spec)
    changed.spec[field] = value(changed, field, before)
    changed.settle()
    changed.edit(**{field: value(changed, field, after)})
    changed.settle()
    fresh = Cache(aws, spec_of(aws.world), name="fresh", uid="33333333-2222-3333-4444-555555555555")
    fresh.spec[field] = value(fresh, field, after)
    fresh.settle()
    assert picture(changed) == picture(fresh)


@pytest.mark.parametrize("hold", [{"suspend": True}, {"reconcilePolicy": "Report"}], ids=str)
def test_what_was_changed_while_held_back_is_done_when_it_is_let_go(
    aws: Aws, calls: Calls, hold: dict[str, Any]
) -> None:
    changed = Cache(aws, spec_of(aws.world))
    changed.settle()
    before = picture(changed)
    other = {"fileSystem": None, "registry": {}, "tags": {"team": "a"}, "logRetentionDays": 7}
    changed.edit(**hold, **other)
    calls.reset()
    changed.settle()
    assert calls.mutating() == []
    held: Any = picture(changed)
    assert {**held, "conditions": 0} == {**before, "conditions": 0}  # type: ignore[dict-item]
    changed.edit(suspend=False, reconcilePolicy="Correct")
    changed.settle()
    fresh = Cache(aws, {**spec_of(aws.world), **other}, name="fresh", uid="33333333-2222-3333-4444-555555555555")
    fresh.settle()
    assert picture(changed) == picture(fresh)
