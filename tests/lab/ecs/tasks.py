"""Task definitions and short ways to run and follow tasks, for the tests of the lab's ECS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.lab.aws.served import Served, unique, until

CLUSTER = "builds"
CONTAINERS = ("fetch", "build", "report")


def containers(group: str | None, *, driver: str = "awslogs") -> list[dict[str, Any]]:
    """The three containers of a Build, as the operator defines them."""
    after: dict[str, list[dict[str, str]]] = {
        "fetch": [],
        "build": [{"containerName": "fetch", "condition": "SUCCESS"}],
        "report": [{"containerName": "build", "condition": "COMPLETE"}],
    }
    logging = {
        "logDriver": driver,
        "options": {"awslogs-group": group, "awslogs-region": "us-east-1", "awslogs-stream-prefix": "build"},
    }
    return [
        {
            "name": name,
            "image": f"{name}:1",
            "memory": 256,
            "essential": name == "report",
            "environment": [{"name": "NAME", "value": name}, {"name": "KEPT", "value": "yes"}],
            "command": [name],
            "dependsOn": after[name],
            **({"logConfiguration": logging} if group else {}),
        }
        for name in CONTAINERS
    ]


def single(group: str | None = None) -> list[dict[str, Any]]:
    """One container, so that the task is RUNNING while it runs."""
    (build,) = [entry for entry in containers(group) if entry["name"] == "build"]
    return [{**build, "essential": True, "dependsOn": []}]


def register(aws: Served, **options: Any) -> str:
    """Register a definition; by default three containers that log to a group of their own."""
    if "containerDefinitions" not in options:
        group = f"/buildcache/{unique()}"
        aws.client("logs").create_log_group(logGroupName=group)
        options["containerDefinitions"] = containers(group)
    options = {"family": unique("family"), "networkMode": "awsvpc", **options}
    answer = aws.client("ecs").register_task_definition(**options)
    return str(answer["taskDefinition"]["taskDefinitionArn"])


def parameters(aws: Served, definition: str, **options: Any) -> dict[str, Any]:
    """Parameters of a RunTask that is right."""
    network = {"subnets": list(aws.aws.world.subnet_ids[:2])}
    defaults = {
        "cluster": CLUSTER,
        "taskDefinition": definition,
        "networkConfiguration": {"awsvpcConfiguration": network},
        "clientToken": unique(),
    }
    return {key: value for key, value in {**defaults, **options}.items() if value is not None}


def run(aws: Served, definition: str | None = None, **options: Any) -> str:
    """Run one task and return its ARN."""
    answer = aws.client("ecs").run_task(**parameters(aws, definition or register(aws), **options))
    assert answer["failures"] == []
    return str(answer["tasks"][0]["taskArn"])


def plan(aws: Served, **options: Any) -> None:
    """How tasks go from now on; quick unless said otherwise."""
    aws.aws.set_runtime("simulated", {"start": 0.02, "build": 0.05, **options})


def describe(aws: Served, arn: str) -> dict[str, Any] | None:
    """The task, or None while it is MISSING."""
    found = aws.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn], include=["TAGS"])["tasks"]
    return dict(found[0]) if found else None


def followed(aws: Served, arn: str, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    """The task when it is as wanted."""
    found = until(lambda: describe(aws, arn), lambda task: task is not None and wanted(task))
    assert found is not None
    return found


def reached(aws: Served, arn: str, status: str) -> dict[str, Any]:
    """The task when it has that lastStatus."""
    return followed(aws, arn, lambda task: task["lastStatus"] == status)


def running(aws: Served, arn: str, container: str = "build") -> dict[str, Any]:
    """The task when that container of it runs. One whose containers run one after the other is not RUNNING itself."""
    return followed(aws, arn, lambda task: statuses(task).get(container) == "RUNNING")


def statuses(task: Mapping[str, Any]) -> dict[str, str]:
    """Status of each container."""
    return {container["name"]: container["lastStatus"] for container in task["containers"]}


def exit_codes(task: Mapping[str, Any]) -> dict[str, int | None]:
    """Exit code of each container, None where there is none."""
    return {container["name"]: container.get("exitCode") for container in task["containers"]}


def lines(aws: Served, task: Mapping[str, Any], container: str) -> list[str]:
    """What a container wrote."""
    definition = aws.client("ecs").describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
    group = definition["containerDefinitions"][0]["logConfiguration"]["options"]["awslogs-group"]
    stream = f"build/{container}/{task['taskArn'].rpartition('/')[2]}"
    events = aws.client("logs").get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)["events"]
    return [event["message"] for event in events]
