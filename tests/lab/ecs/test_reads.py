"""DescribeTasks, ListTasks and tags: visibility, limits, filters, pages, and answers that fit botocore's model."""

import json
import time
from typing import Any

import pytest
import urllib3
from botocore.validate import ParamValidator

from lab.ecs.agent import Pace
from tests.lab.aws.served import Served, refused, served, tag_map, unique, until
from tests.lab.ecs.tasks import CLUSTER, describe, parameters, plan, register, run, running, single


@pytest.fixture(scope="module")
def definition(shared_aws: Served) -> str:
    return register(shared_aws)


def test_t50_a_new_task_is_missing_for_some_reads() -> None:
    with served(pace=Pace(blind_reads=3, blind_seconds=60)) as aws:
        ecs = aws.client("ecs")
        arn = run(aws)
        for _ in range(3):
            answer = ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])
            assert answer["tasks"] == []
            assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]
        assert ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["failures"] == []


def test_t50_a_new_task_is_missing_for_a_time_at_most() -> None:
    with served(pace=Pace(blind_reads=1000, blind_seconds=1)) as aws:
        arn = run(aws)
        assert describe(aws, arn) is None
        time.sleep(1.05)
        assert describe(aws, arn) is not None


def test_a_lost_token_answer_finds_the_task_although_reads_do_not_see_it() -> None:
    with served(pace=Pace(blind_reads=1000, blind_seconds=60)) as aws:
        request = parameters(aws, register(aws))
        ecs = aws.client("ecs")
        arn = ecs.run_task(**request)["tasks"][0]["taskArn"]
        assert ecs.list_tasks(cluster=CLUSTER)["taskArns"] == []
        assert ecs.run_task(**request)["tasks"][0]["taskArn"] == arn


def test_t61_one_unknown_id_does_not_lose_the_others(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    arn = run(aws, definition)
    until(lambda: describe(aws, arn), lambda task: task is not None)
    unknown = arn[:-4] + "0000"
    answer = ecs.describe_tasks(cluster=CLUSTER, tasks=[unknown, arn, "1" * 32])
    assert [task["taskArn"] for task in answer["tasks"]] == [arn]
    assert [failure["reason"] for failure in answer["failures"]] == ["MISSING", "MISSING"]
    assert answer["failures"][0]["arn"] == unknown


def test_tasks_are_found_by_id_or_arn_and_only_in_their_cluster(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    other = unique("cluster")
    ecs.create_cluster(clusterName=other)
    arn = run(aws, definition)
    until(lambda: describe(aws, arn), lambda task: task is not None)
    by_id = ecs.describe_tasks(cluster=aws.aws.world.cluster_arn, tasks=[arn.rpartition("/")[2]])
    assert [task["taskArn"] for task in by_id["tasks"]] == [arn]
    assert ecs.describe_tasks(cluster=other, tasks=[arn])["tasks"] == []


def test_t61_a_read_takes_100_ids_at_most(aws: Served) -> None:
    ecs = aws.client("ecs")
    ids = [f"{number:032x}" for number in range(101)]
    with refused("InvalidParameterException", 400):
        ecs.describe_tasks(cluster=CLUSTER, tasks=ids)
    assert len(ecs.describe_tasks(cluster=CLUSTER, tasks=ids[:100])["failures"]) == 100
    with refused("InvalidParameterException", 400):
        ecs.describe_tasks(cluster=CLUSTER, tasks=[])


def test_tags_are_shown_when_asked_for_and_can_be_changed(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    plan(aws, build=30)
    arn = run(aws, definition, tags=[{"key": "a", "value": "1"}])
    running(aws, arn)
    (plain,) = ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
    assert plain["tags"] == []
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "b", "value": "2"}])
    ecs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert tag_map(ecs.list_tags_for_resource(resourceArn=arn)["tags"]) == {"b": "2"}
    assert tag_map((describe(aws, arn) or {})["tags"]) == {"b": "2"}
    cluster = aws.aws.world.cluster_arn
    ecs.tag_resource(resourceArn=cluster, tags=[{"key": "c", "value": "3"}])
    assert tag_map(ecs.list_tags_for_resource(resourceArn=cluster)["tags"]) == {"c": "3"}
    ecs.stop_task(cluster=CLUSTER, task=arn)
    plan(aws)


def test_lists_filter_by_who_started_the_task_by_family_and_by_the_status_wanted(aws: Served) -> None:
    ecs = aws.client("ecs")
    plan(aws, build=30)
    family, mine = unique("family"), unique("uid")
    definition = register(aws, family=family)
    going = run(aws, definition, startedBy=mine)
    ended = run(aws, definition, startedBy=mine)
    other = run(aws, definition, startedBy=unique("uid"))
    for arn in (going, ended, other):
        running(aws, arn)
    ecs.stop_task(cluster=CLUSTER, task=ended)

    def listed(**filters: Any) -> set[str]:
        return set(ecs.list_tasks(cluster=CLUSTER, **filters)["taskArns"])

    assert listed(startedBy=mine) == {going}
    assert listed(startedBy=mine, desiredStatus="STOPPED") == {ended}
    assert listed(family=family) == {going, other}
    assert listed(family=family, desiredStatus="STOPPED") == {ended}
    assert listed(family=family, desiredStatus="PENDING") == set()
    assert listed(family="nothing") == set()
    with refused("InvalidParameterException", 400):
        listed(startedBy=mine, family=family)
    for arn in (going, other):
        ecs.stop_task(cluster=CLUSTER, task=arn)
    plan(aws)


def test_lists_come_in_pages(aws: Served) -> None:
    ecs = aws.client("ecs")
    plan(aws, build=30)
    mine = unique("uid")
    definition = register(aws)
    arns = [run(aws, definition, startedBy=mine) for _ in range(5)]
    for arn in arns:
        running(aws, arn)
    pages = [
        page["taskArns"]
        for page in ecs.get_paginator("list_tasks").paginate(
            cluster=CLUSTER, startedBy=mine, PaginationConfig={"PageSize": 2}
        )
    ]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [arn for page in pages for arn in page] == arns
    with refused("InvalidParameterException", 400):
        ecs.list_tasks(cluster=CLUSTER, nextToken="not one of ours")
    for arn in arns:
        ecs.stop_task(cluster=CLUSTER, task=arn)
    plan(aws)


def test_clusters_count_their_tasks_and_stay_while_they_have_some(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    plan(aws, build=30)
    name = unique("cluster")
    ecs.create_cluster(clusterName=name)
    chain = run(aws, definition, cluster=name)
    one = run(aws, register(aws, containerDefinitions=single()), cluster=name)

    def counts() -> tuple[int, int]:
        (cluster,) = ecs.describe_clusters(clusters=[name])["clusters"]
        return cluster["runningTasksCount"], cluster["pendingTasksCount"]

    # A task whose last container has not started is pending.
    until(counts, lambda found: found == (1, 1))
    with refused("ClusterContainsTasksException", 400):
        ecs.delete_cluster(cluster=name)
    for arn in (chain, one):
        ecs.stop_task(cluster=name, task=arn)
    until(counts, lambda found: found == (0, 0))
    ecs.delete_cluster(cluster=name)
    plan(aws)


def raw(aws: Served, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer of an operation as it is on the wire."""
    answer = urllib3.request(
        "POST",
        aws.aws.url,
        body=json.dumps(request),
        headers={
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"AmazonEC2ContainerServiceV20141113.{operation}",
            "Authorization": "AWS4-HMAC-SHA256 Credential=a/20261124/us-east-1/ecs/aws4_request, SignedHeaders=host",
        },
    )
    return answer.status, answer.json()


def test_every_answer_in_every_state_fits_the_model_of_botocore(aws: Served) -> None:
    model = aws.client("ecs").meta.service_model
    plan(aws, start=0.5, build=0.5, exitCodes={"fetch": 0, "build": 1})
    fargate = register(
        aws,
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="2048",
        executionRoleArn="arn:aws:iam::123456789012:role/execution",
        ephemeralStorage={"sizeInGiB": 50},
    )
    seen: set[str] = set()
    one = register(aws, containerDefinitions=single())
    for definition, options in ((register(aws), {}), (one, {}), (fargate, {"launchType": "FARGATE"})):
        request = parameters(aws, definition, startedBy="me", tags=[{"key": "a", "value": "b"}], **options)
        status, answer = raw(aws, "RunTask", request)
        assert status == 200
        fits(model, "RunTask", answer)
        arn = answer["tasks"][0]["taskArn"]
        last = ""
        while last != "STOPPED":
            _, answer = raw(aws, "DescribeTasks", {"cluster": CLUSTER, "tasks": [arn], "include": ["TAGS"]})
            fits(model, "DescribeTasks", answer)
            last = answer["tasks"][0]["lastStatus"] if answer["tasks"] else ""
            seen.add(last)
        fits(model, "StopTask", raw(aws, "StopTask", {"cluster": CLUSTER, "task": arn})[1])
        fits(model, "ListTasks", raw(aws, "ListTasks", {"cluster": CLUSTER, "desiredStatus": "STOPPED"})[1])
    assert seen >= {"PENDING", "RUNNING", "STOPPED"}


def fits(model: Any, operation: str, answer: dict[str, Any]) -> None:
    report = ParamValidator().validate(answer, model.operation_model(operation).output_shape)
    assert not report.has_errors(), report.generate_report()
