"""Clusters and task definitions."""

import re
from typing import Any

import pytest

from tests.lab.aws.served import Served, refused, tag_map, unique


def container(name: str = "build", **options: Any) -> dict[str, Any]:
    return {"name": name, "image": "image", "memory": 256, **options}


def register(aws: Served, **options: Any) -> dict[str, Any]:
    options = {"family": unique(), "networkMode": "awsvpc", "containerDefinitions": [container()], **options}
    answer: dict[str, Any] = aws.client("ecs").register_task_definition(**options)
    return answer


FARGATE = {
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "1024",
    "memory": "2048",
    "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
}


def test_a_definition_comes_back_with_its_tags(aws: Served) -> None:
    ecs = aws.client("ecs")
    registered = register(aws, tags=[{"key": "buildcache.dev/hash", "value": "1"}])
    assert tag_map(registered["tags"]) == {"buildcache.dev/hash": "1"}
    arn = registered["taskDefinition"]["taskDefinitionArn"]
    described = ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    assert tag_map(described["tags"]) == {"buildcache.dev/hash": "1"}
    assert described["taskDefinition"]["status"] == "ACTIVE"
    assert "tags" not in ecs.describe_task_definition(taskDefinition=arn)


def test_t26_a_deregistered_revision_is_inactive_and_not_found_by_its_family(aws: Served) -> None:
    ecs = aws.client("ecs")
    family = unique()
    first = register(aws, family=family)["taskDefinition"]["taskDefinitionArn"]
    second = register(aws, family=family)["taskDefinition"]["taskDefinitionArn"]
    assert first != second
    ecs.deregister_task_definition(taskDefinition=second)
    assert ecs.describe_task_definition(taskDefinition=second)["taskDefinition"]["status"] == "INACTIVE"
    assert ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]["taskDefinitionArn"] == first
    ecs.deregister_task_definition(taskDefinition=first)
    with refused("ClientException", 400) as response:
        ecs.describe_task_definition(taskDefinition=family)
    assert "Unable to describe task definition" in response["Error"]["Message"]
    inactive = ecs.list_task_definitions(familyPrefix=family, status="INACTIVE")["taskDefinitionArns"]
    assert inactive == [first, second]


def test_definitions_are_listed_in_pages_and_in_order(aws: Served) -> None:
    ecs = aws.client("ecs")
    family = unique()
    arns = [register(aws, family=family)["taskDefinition"]["taskDefinitionArn"] for _ in range(12)]
    paginator = ecs.get_paginator("list_task_definitions")
    listed = list(paginator.paginate(familyPrefix=family, sort="DESC", PaginationConfig={"PageSize": 5}))
    assert [len(page["taskDefinitionArns"]) for page in listed] == [5, 5, 2]
    assert [arn for page in listed for arn in page["taskDefinitionArns"]] == arns[::-1]


def test_families_are_listed_by_whether_a_revision_is_active_and_in_pages(aws: Served) -> None:
    ecs = aws.client("ecs")
    prefix = unique()
    arns = [register(aws, family=f"{prefix}-{n}")["taskDefinition"]["taskDefinitionArn"] for n in range(3)]
    ecs.deregister_task_definition(taskDefinition=arns[1])

    def listed(status: str) -> list[str]:
        pages = ecs.get_paginator("list_task_definition_families").paginate(
            familyPrefix=prefix, status=status, PaginationConfig={"PageSize": 1}
        )
        return [family for each in pages for family in each["families"]]

    assert listed("ACTIVE") == [f"{prefix}-0", f"{prefix}-2"]
    assert listed("INACTIVE") == [f"{prefix}-1"]
    assert len(listed("ALL")) == 3


def test_a_fargate_definition_that_is_right_is_taken(aws: Served) -> None:
    register(aws, **FARGATE)
    register(aws, **{**FARGATE, "cpu": "1 vCPU", "memory": "2 GB", "ephemeralStorage": {"sizeInGiB": 100}})


LOGGING = {"logDriver": "awslogs", "options": {"awslogs-group": "/g", "awslogs-region": "us-east-1"}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Fargate with cpu and memory that do not go together": ({**FARGATE, "memory": "512"}, "No Fargate configuration"),
    "Fargate without memory": ({**FARGATE, "memory": None}, "requires that 'memory'"),
    "Fargate with another network": ({**FARGATE, "networkMode": "bridge"}, "awsvpc"),
    "Fargate privileged": ({**FARGATE, "containerDefinitions": [container(privileged=True)]}, "privileged"),
    "Fargate with security options": (
        {**FARGATE, "containerDefinitions": [container(dockerSecurityOptions=["no-new-privileges"])]},
        "dockerSecurityOptions",
    ),
    "Fargate with a host volume": (
        {**FARGATE, "volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]},
        "host.sourcePath",
    ),
    "Fargate with too little ephemeral storage": ({**FARGATE, "ephemeralStorage": {"sizeInGiB": 20}}, "21 and 200"),
    "Fargate with too long a stop": ({**FARGATE, "containerDefinitions": [container(stopTimeout=121)]}, "stopTimeout"),
    "Fargate that logs without an execution role": (
        {**FARGATE, "executionRoleArn": None, "containerDefinitions": [container(logConfiguration=LOGGING)]},
        "execution role",
    ),
    "Fargate that logs without a stream prefix": (
        {**FARGATE, "containerDefinitions": [container(logConfiguration=LOGGING)]},
        "awslogs-stream-prefix",
    ),
    "ephemeral storage on EC2": ({"ephemeralStorage": {"sizeInGiB": 30}}, "only supported on Fargate"),
    "two containers of one name": ({"containerDefinitions": [container(), container()]}, "unique"),
    "a container name with a dot": ({"containerDefinitions": [container("a.b")]}, "invalid characters"),
    "a family with a dot": ({"family": "a.b"}, "Family contains invalid characters"),
    "no essential container": ({"containerDefinitions": [container(essential=False)]}, "essential"),
    "no containers": ({"containerDefinitions": []}, "1 to 10"),
    "eleven containers": ({"containerDefinitions": [container(f"c{n}") for n in range(11)]}, "1 to 10"),
    "a dependency that does not exist": (
        {"containerDefinitions": [container(dependsOn=[{"containerName": "fetch", "condition": "SUCCESS"}])]},
        "does not exist",
    ),
    "SUCCESS of an essential container": (
        {
            "containerDefinitions": [
                container("fetch"),
                container(dependsOn=[{"containerName": "fetch", "condition": "SUCCESS"}]),
            ]
        },
        "cannot be an essential container",
    ),
    "a circle": (
        {
            "containerDefinitions": [
                container("a", dependsOn=[{"containerName": "b", "condition": "START"}]),
                container("b", dependsOn=[{"containerName": "a", "condition": "START"}]),
            ]
        },
        "circular",
    ),
    "a mount of no volume": (
        {"containerDefinitions": [container(mountPoints=[{"sourceVolume": "w", "containerPath": "/w"}])]},
        "Unknown volume",
    ),
    "an access point and a root directory": (
        {
            "volumes": [
                {
                    "name": "v",
                    "efsVolumeConfiguration": {
                        "fileSystemId": "fs-1",
                        "rootDirectory": "/a",
                        "transitEncryption": "ENABLED",
                        "authorizationConfig": {"accessPointId": "fsap-1"},
                    },
                }
            ]
        },
        "rootDirectory",
    ),
    "an access point without transit encryption": (
        {
            "volumes": [
                {
                    "name": "v",
                    "efsVolumeConfiguration": {
                        "fileSystemId": "fs-1",
                        "authorizationConfig": {"accessPointId": "fsap-1"},
                    },
                }
            ]
        },
        "transit encryption",
    ),
    "more memory for a container than for the task": ({"memory": "128"}, "must not exceed"),
    "more than 64 KiB": (
        {"containerDefinitions": [container(environment=[{"name": "A", "value": "x" * 66_000}])]},
        "65536",
    ),
    "logging without a region": (
        {
            "containerDefinitions": [
                container(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "/g"}})
            ]
        },
        "awslogs-region",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_definitions_that_ecs_does_not_take_are_refused(aws: Served, name: str) -> None:
    options, message = REFUSED[name]
    given = {"family": unique(), "networkMode": "awsvpc", "containerDefinitions": [container()], **options}
    with refused("ClientException", 400) as response:
        aws.client("ecs").register_task_definition(**{key: value for key, value in given.items() if value is not None})
    assert re.search(re.escape(message), response["Error"]["Message"])
    assert given["family"] not in aws.client("ecs").list_task_definition_families()["families"]


def test_t27_creating_a_cluster_again_changes_nothing(aws: Served) -> None:
    ecs = aws.client("ecs")
    name = unique()
    ecs.create_cluster(clusterName=name, tags=[{"key": "owner", "value": "me"}])
    ecs.create_cluster(clusterName=name, tags=[{"key": "owner", "value": "you"}])
    (found,) = ecs.describe_clusters(clusters=[name], include=["TAGS"])["clusters"]
    assert tag_map(found["tags"]) == {"owner": "me"}


def test_t27_a_deleted_cluster_is_inactive_and_takes_no_tasks(aws: Served) -> None:
    ecs = aws.client("ecs")
    name = unique()
    ecs.create_cluster(clusterName=name)
    ecs.delete_cluster(cluster=name)
    assert ecs.describe_clusters(clusters=[name])["clusters"][0]["status"] == "INACTIVE"
    with refused("ClusterNotFoundException", 400):
        ecs.list_tasks(cluster=name)
    ecs.create_cluster(clusterName=name)
    assert ecs.list_tasks(cluster=name)["taskArns"] == []
