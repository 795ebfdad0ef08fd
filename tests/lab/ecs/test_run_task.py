"""RunTask: identity by client token, and what it refuses."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab.aws.served import Served, refused, served, tag_map, unique
from tests.lab.ecs.tasks import CLUSTER, containers, describe, parameters, plan, reached, register, run, running


@pytest.fixture(scope="module")
def definition(shared_aws: Served) -> str:
    return register(shared_aws)


def test_t06_the_same_token_is_the_same_task(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    request = parameters(aws, definition)
    before = len(aws.aws.tasks())
    arns = {ecs.run_task(**request)["tasks"][0]["taskArn"] for _ in range(3)}
    assert len(arns) == 1
    assert len(aws.aws.tasks()) == before + 1


def test_t06_parallel_calls_with_one_token_start_one_task(aws: Served, definition: str) -> None:
    request = parameters(aws, definition)
    ecs = aws.client("ecs")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ecs.run_task(**request)["tasks"][0]["taskArn"], range(8)))
    assert len(set(answers)) == 1


def test_t06_a_lost_answer_is_answered_again(aws: Served, definition: str) -> None:
    request = parameters(aws, definition)
    before = len(aws.aws.tasks())
    aws.aws.add_faults([{"operation": "RunTask", "kind": "lost"}])
    answer = aws.client("ecs", attempts=3).run_task(**request)
    assert len(answer["tasks"]) == 1
    assert len(aws.aws.tasks()) == before + 1


@pytest.mark.parametrize(
    "change",
    [
        {"startedBy": "other"},
        {"tags": [{"key": "a", "value": "b"}]},
        {"overrides": {"containerOverrides": [{"name": "build", "command": ["other"]}]}},
        {"count": 2},
        {"group": "other"},
    ],
)
def test_t07_a_token_with_other_parameters_conflicts_and_names_the_task(
    aws: Served, definition: str, change: dict[str, Any]
) -> None:
    ecs = aws.client("ecs")
    request = parameters(aws, definition)
    arn = ecs.run_task(**request)["tasks"][0]["taskArn"]
    before = len(aws.aws.tasks())
    with refused("ConflictException", 400) as response:
        ecs.run_task(**{**request, **change})
    assert response["resourceIds"] == [arn]
    assert len(aws.aws.tasks()) == before


def test_a_token_belongs_to_its_cluster(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    other = unique("cluster")
    ecs.create_cluster(clusterName=other)
    token = unique()
    first = run(aws, definition, clientToken=token)
    assert run(aws, definition, clientToken=token, cluster=other) != first
    by_arn = parameters(aws, definition, clientToken=token, cluster=aws.aws.world.cluster_arn)
    with refused("ConflictException"):
        # The cluster's name and its ARN are two requests to AWS's comparison of parameters.
        ecs.run_task(**by_arn)


def test_t08_a_token_ends_an_hour_after_its_task() -> None:
    hours = [0.0]
    with served(now=lambda: 1e9 + hours[0] * 3600) as aws:
        plan(aws)
        request = parameters(aws, register(aws))
        ecs = aws.client("ecs")
        arn = ecs.run_task(**request)["tasks"][0]["taskArn"]
        hours[0] = 0.5
        reached(aws, arn, "STOPPED")
        (again,) = ecs.run_task(**request)["tasks"]
        assert {key: again[key] for key in ("taskArn", "lastStatus", "desiredStatus")} == {
            "taskArn": arn,
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
        }
        assert "containers" not in again
        hours[0] = 2
        assert describe(aws, arn) is None
        assert ecs.run_task(**request)["tasks"][0]["taskArn"] != arn


def test_a_token_lives_for_24_hours_at_most() -> None:
    hours = [0.0]
    with served(now=lambda: 1e9 + hours[0] * 3600) as aws:
        plan(aws, build=600)
        request = parameters(aws, register(aws))
        ecs = aws.client("ecs")
        arn = ecs.run_task(**request)["tasks"][0]["taskArn"]
        hours[0] = 23.9
        assert ecs.run_task(**request)["tasks"][0]["taskArn"] == arn
        hours[0] = 24.1
        assert ecs.run_task(**request)["tasks"][0]["taskArn"] != arn


def test_t59_overrides_of_8192_characters_are_the_most(aws: Served, definition: str) -> None:
    def overrides(length: int) -> dict[str, Any]:
        made: dict[str, Any] = {"containerOverrides": [{"name": "build", "command": [""]}]}
        made["containerOverrides"][0]["command"][0] = "x" * (length - len(json.dumps(made, separators=(",", ":"))))
        assert len(json.dumps(made, separators=(",", ":"))) == length
        return made

    run(aws, definition, overrides=overrides(8192))
    with refused("InvalidParameterException", 400) as response:
        run(aws, definition, overrides=overrides(8193))
    assert "8192" in response["Error"]["Message"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "eleven tasks": ({"count": 11}, "count"),
    "a startedBy with a blank": ({"startedBy": "a b"}, "startedBy"),
    "a startedBy too long": ({"startedBy": "x" * 129}, "startedBy"),
    "a token too long": ({"clientToken": "x" * 65}, "clientToken"),
    "a token with a blank": ({"clientToken": "a b"}, "clientToken"),
    "51 tags": ({"tags": [{"key": f"k{n}", "value": "v"} for n in range(51)]}, "Tags"),
    "a reserved tag": ({"tags": [{"key": "aws:mine", "value": "v"}]}, "reserved"),
    "a tag twice": ({"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}, "Duplicate"),
    "a tag value too long": ({"tags": [{"key": "k", "value": "v" * 257}]}, "256"),
    "an unknown container": ({"overrides": {"containerOverrides": [{"name": "other"}]}}, "other"),
    "launch type and capacity provider": (
        {"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "FARGATE"}]},
        "both",
    ),
    "a capacity provider of another cluster": (
        {"capacityProviderStrategy": [{"capacityProvider": "other"}]},
        "not associated",
    ),
    "a platform version on EC2": ({"platformVersion": "1.4.0"}, "platform version"),
    "Fargate for an EC2 definition": ({"launchType": "FARGATE"}, "FARGATE"),
    "no network": ({"networkConfiguration": None}, "Network Configuration"),
    "an unknown subnet": ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}}, "subnet-1"),
    "17 subnets": (
        {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [f"subnet-{n}" for n in range(17)]}}},
        "16",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_ecs_does_not_take_are_refused(aws: Served, definition: str, name: str) -> None:
    options, message = REFUSED[name]
    before = len(aws.aws.tasks())
    with refused("InvalidParameterException", 400) as response:
        run(aws, definition, **options)
    assert message in response["Error"]["Message"]
    assert len(aws.aws.tasks()) == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"securityGroups": ["sg-0123456789abcdef0"]}, "sg-0123456789abcdef0"),
        ({"securityGroups": [f"sg-{n}" for n in range(6)]}, "5"),
        ({"assignPublicIp": "ENABLED"}, "public IP"),
    ],
)
def test_t44_networks_that_ecs_does_not_take_are_refused(
    aws: Served, definition: str, more: dict[str, Any], message: str
) -> None:
    network = {"subnets": [aws.aws.world.subnet_ids[0]], **more}
    with refused("InvalidParameterException", 400) as response:
        run(aws, definition, networkConfiguration={"awsvpcConfiguration": network})
    assert message in response["Error"]["Message"]


def test_t45_subnets_of_two_vpcs_are_refused(aws: Served, definition: str) -> None:
    ec2 = aws.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    foreign = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    network = {"subnets": [aws.aws.world.subnet_ids[0], foreign]}
    with refused("InvalidParameterException"):
        run(aws, definition, networkConfiguration={"awsvpcConfiguration": network})


def test_t27_an_unknown_cluster_is_not_found(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    with refused("ClusterNotFoundException", 400):
        run(aws, definition, cluster="nowhere")
    calls: list[Callable[[], object]] = [
        lambda: ecs.describe_tasks(cluster="nowhere", tasks=["1"]),
        lambda: ecs.list_tasks(cluster="nowhere"),
        lambda: ecs.stop_task(cluster="nowhere", task="1"),
    ]
    for call in calls:
        with refused("ClusterNotFoundException", 400):
            call()


def test_m2_t26_an_inactive_definition_is_an_invalid_parameter(aws: Served) -> None:
    own = register(aws)
    aws.client("ecs").deregister_task_definition(taskDefinition=own)
    with refused("InvalidParameterException", 400) as response:
        run(aws, own)
    assert response["Error"]["Message"] == "TaskDefinition is inactive"


def test_m2_t26_an_unknown_definition_is_a_client_exception(aws: Served) -> None:
    with refused("ClientException", 400) as response:
        run(aws, "nothing:1")
    assert response["Error"]["Message"] == "TaskDefinition not found."


def test_t49_a_capacity_failure_answers_200_and_starts_nothing(aws: Served, definition: str) -> None:
    ecs = aws.client("ecs")
    request = parameters(aws, definition)
    before = len(aws.aws.tasks())
    aws.aws.add_faults([{"operation": "RunTask", "kind": "failures", "reason": "RESOURCE:MEMORY", "times": 2}])
    for _ in range(2):
        answer = ecs.run_task(**request)
        assert answer["tasks"] == []
        assert [failure["reason"] for failure in answer["failures"]] == ["RESOURCE:MEMORY"]
    assert len(aws.aws.tasks()) == before
    aws.aws.add_faults([{"operation": "RunTask", "kind": "failures"}])
    assert "Capacity is unavailable" in ecs.run_task(**request)["failures"][0]["reason"]
    assert len(ecs.run_task(**request)["tasks"]) == 1


def test_count_starts_that_many(aws: Served, definition: str) -> None:
    answer = aws.client("ecs").run_task(**parameters(aws, definition, count=3))
    assert len({task["taskArn"] for task in answer["tasks"]}) == 3


def test_spot_by_capacity_provider(aws: Served) -> None:
    fargate = register(
        aws,
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="2048",
        containerDefinitions=containers(None),
    )
    strategy = [{"capacityProvider": "FARGATE", "weight": 1}, {"capacityProvider": "FARGATE_SPOT", "weight": 4}]
    answer = aws.client("ecs").run_task(**parameters(aws, fargate, capacityProviderStrategy=strategy))
    (task,) = answer["tasks"]
    assert task["capacityProviderName"] == "FARGATE_SPOT"
    assert task["launchType"] == "FARGATE"
    assert task["platformVersion"] == "1.4.0"


def test_tags_are_those_of_the_request_and_on_demand_of_the_definition(aws: Served) -> None:
    own = register(aws, tags=[{"key": "a", "value": "definition"}, {"key": "b", "value": "definition"}])
    tags = [{"key": "a", "value": "task"}]
    plain = aws.client("ecs").run_task(**parameters(aws, own, tags=tags))["tasks"][0]
    assert tag_map(plain["tags"]) == {"a": "task"}
    both = aws.client("ecs").run_task(**parameters(aws, own, tags=tags, propagateTags="TASK_DEFINITION"))["tasks"][0]
    assert tag_map(both["tags"]) == {"a": "task", "b": "definition"}


def test_t30_the_security_group_of_a_task_is_in_use_until_the_task_has_ended(aws: Served, definition: str) -> None:
    plan(aws, build=30)
    ec2, ecs = aws.client("ec2"), aws.client("ecs")
    group = ec2.create_security_group(GroupName=unique("group"), Description="test", VpcId=aws.aws.world.vpc_id)[
        "GroupId"
    ]
    network = {"subnets": [aws.aws.world.subnet_ids[0]], "securityGroups": [group]}
    arn = run(aws, definition, networkConfiguration={"awsvpcConfiguration": network})
    running(aws, arn)
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    ecs.stop_task(cluster=CLUSTER, task=arn)
    reached(aws, arn, "STOPPED")
    ec2.delete_security_group(GroupId=group)
    plan(aws)
