"""ECR and CloudWatch Logs."""

from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.aws.served import REGISTRY, Served, refused, unique


def test_a_repository_is_found_at_the_registry_of_the_lab(aws: Served) -> None:
    ecr = aws.client("ecr")
    name = f"buildcache/ns/{unique()}"
    created = ecr.create_repository(repositoryName=name, imageTagMutability="MUTABLE")["repository"]
    assert created["repositoryUri"] == f"{REGISTRY}/{name}"
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert found["repositoryUri"] == f"{REGISTRY}/{name}"
    with refused("RepositoryAlreadyExistsException", 400):
        ecr.create_repository(repositoryName=name)
    ecr.delete_repository(repositoryName=name)
    with refused("RepositoryNotFoundException", 400):
        ecr.describe_repositories(repositoryNames=[name])


def test_the_login_is_for_the_registry_of_the_lab(aws: Served) -> None:
    (data,) = aws.client("ecr").get_authorization_token()["authorizationData"]
    assert data["proxyEndpoint"] == f"https://{REGISTRY}"
    assert b64decode(data["authorizationToken"]).startswith(b"AWS:")


def test_repositories_are_listed_in_pages(aws: Served) -> None:
    ecr = aws.client("ecr")
    created = {unique("repo") for _ in range(5)}
    for name in created:
        ecr.create_repository(repositoryName=name)
    pages = list(ecr.get_paginator("describe_repositories").paginate(PaginationConfig={"PageSize": 2}))
    assert len(pages) >= 3
    assert created <= {one["repositoryName"] for page in pages for one in page["repositories"]}


@pytest.mark.parametrize("days", [0, 2, 8, 366])
def test_retention_is_one_of_a_list_of_days(aws: Served, days: int) -> None:
    logs = aws.client("logs")
    group = f"/buildcache/{unique()}"
    logs.create_log_group(logGroupName=group)
    with refused("InvalidParameterException", 400):
        logs.put_retention_policy(logGroupName=group, retentionInDays=days)
    logs.put_retention_policy(logGroupName=group, retentionInDays=14)
    (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert found["retentionInDays"] == 14


@pytest.mark.parametrize("name", ["aws/mine", "with blank", "büro"])
def test_t48_log_group_names_that_aws_does_not_take(aws: Served, name: str) -> None:
    with refused("InvalidParameterException", 400):
        aws.client("logs").create_log_group(logGroupName=name)


def test_t65_a_stream_that_is_not_there_is_told_from_a_group_that_is_not_there(aws: Served) -> None:
    logs = aws.client("logs")
    group = f"/buildcache/{unique()}"
    with refused("ResourceNotFoundException", 400) as response:
        logs.get_log_events(logGroupName=group, logStreamName="build/report/1")
    assert "log group" in response["Error"]["Message"]
    logs.create_log_group(logGroupName=group)
    with refused("ResourceNotFoundException", 400) as response:
        logs.get_log_events(logGroupName=group, logStreamName="build/report/1")
    assert "log stream" in response["Error"]["Message"]


def test_a_log_group_twice(aws: Served) -> None:
    logs = aws.client("logs")
    group = f"/buildcache/{unique()}"
    logs.create_log_group(logGroupName=group)
    with refused("ResourceAlreadyExistsException", 400):
        logs.create_log_group(logGroupName=group)


def test_a_search_in_a_stream_that_is_not_there_finds_nothing_in_the_others(aws: Served) -> None:
    logs = aws.client("logs")
    group = f"/buildcache/{unique()}"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="there")
    assert logs.filter_log_events(logGroupName=group, logStreamNames=["there"])["events"] == []
    with refused("ResourceNotFoundException", 400) as response:
        logs.filter_log_events(logGroupName=group, logStreamNames=["there", "not there"])
    assert "log stream" in response["Error"]["Message"]


def test_tags_are_those_of_a_log_group_that_is_there_named_as_the_tag_operations_want_it(aws: Served) -> None:
    logs = aws.client("logs")
    group = f"/buildcache/{unique()}"
    logs.create_log_group(logGroupName=group, tags={"owner": "us"})
    (found,) = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert logs.list_tags_for_resource(resourceArn=found["logGroupArn"])["tags"] == {"owner": "us"}
    with refused("ValidationException", 400):
        logs.list_tags_for_resource(resourceArn=found["arn"])
    logs.delete_log_group(logGroupName=group)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: logs.list_tags_for_resource(resourceArn=found["logGroupArn"]),
        lambda: logs.tag_resource(resourceArn=found["logGroupArn"], tags={"a": "1"}),
        lambda: logs.untag_resource(resourceArn=found["logGroupArn"], tagKeys=["a"]),
    )
    for call in calls:
        with refused("ResourceNotFoundException", 400):
            call()
    logs.create_log_group(logGroupName=group)
    assert logs.list_tags_for_resource(resourceArn=found["logGroupArn"])["tags"] == {}
