"""ECS tasks: start, look, find, stop. Asked by `reconcile/executor.py`; what to do is decided in `core/build.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildcache.core.errors import Rejected, Unavailable
from buildcache.core.status import Reason
from buildcache.core.task_state import Described, Task, TaskContainer

from .errors import Absent, Exists, is_full, is_throttling, translated

if TYPE_CHECKING:
    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.type_defs import FailureTypeDef, ListTasksRequestTypeDef, TaskTypeDef

DESCRIBE_LIMIT = 100
"""Tasks that one DescribeTasks takes."""

LISTED_PAGES = 50
"""Pages of stopped tasks that are searched: 5,000 tasks, all that 83 a minute leave in the hour for which ECS shows them."""


@dataclass(frozen=True, slots=True)
class Refused:
    """ECS started no task, and may do so later."""

    reason: Reason
    message: str
    again_after: float | None = None
    """Seconds until its turn, when ECS was not even asked: tasks are started no faster than AWS allows, and the oldest first."""

    retry_after: float | None = None
    """Seconds until ECS is asked again, when it was asked and somebody knows that better than the Build's own backoff."""


def run_task(ecs: ECSClient, request: Mapping[str, Any]) -> Task | Refused:
    """Start the task of a request, or get the one that its client token has started before.

    ECS may answer 200 and yet have started nothing; the answer says why in `failures`.
    """
    cluster = str(request["cluster"])
    try:
        with translated("ecs:RunTask", cluster):
            answer = ecs.run_task(**request)
    except Exists as conflict:
        # The token was used with other parameters: the cache has changed since the first try. Its task is ours all the same.
        arn = _conflicting(conflict)
        if arn is None:
            raise Unavailable(str(conflict), operation="ecs:RunTask", resource=cluster) from conflict
        return Task(arn=arn, started_by=str(request["startedBy"]))
    except Absent as absent:
        # The task definition is gone or inactive: the cache's own pass registers it again.
        return Refused(Reason.WAITING_FOR_CACHE, str(absent))
    except Unavailable as error:
        if is_throttling(error):
            return Refused(Reason.THROTTLED, "AWS limits how fast tasks are started")
        if is_full(error):
            return Refused(Reason.WAITING_FOR_CAPACITY, error.message)
        raise
    if answer["tasks"]:
        return _task(answer["tasks"][0])
    return _not_started(answer.get("failures", ()), cluster)


_MISFIT = re.compile(r"ATTRIBUTE|MISSING|INACTIVE|LOCATION")
"""Reasons in RunTask's `failures` that waiting does not change: an attribute that no instance has, or an instance that is not there."""


def _not_started(failures: Sequence[FailureTypeDef], cluster: str) -> Refused:
    """RunTask answered 200 and started nothing: for want of room, unless every reason says that no instance can ever take the task."""
    told = [(str(failure.get("reason") or ""), str(failure.get("detail") or "")) for failure in failures]
    message = (
        "; ".join(sorted({": ".join(filter(None, words)) for words in told if any(words)})) or "ECS started no task"
    )
    if told and all(_MISFIT.match(reason) for reason, _ in told):
        raise Rejected(
            Reason.TASK_FAILED_TO_START,
            f"no container instance of the cluster can take the task: {message}",
            operation="ecs:RunTask",
            resource=cluster,
        )
    return Refused(Reason.WAITING_FOR_CAPACITY, message)


def describe_tasks(ecs: ECSClient, cluster: str, arns: Sequence[str]) -> Described:
    """Look at up to 100 tasks. Those that ECS does not know are listed as missing."""
    with translated("ecs:DescribeTasks", cluster):
        answer = ecs.describe_tasks(cluster=cluster, tasks=list(arns))
    tasks = tuple(_task(task) for task in answer["tasks"])
    missing = {failure["arn"] for failure in answer.get("failures", ()) if failure.get("reason") == "MISSING"}
    return Described(tasks, frozenset(missing & set(arns)))


def find_task(ecs: ECSClient, cluster: str, started_by: str, families: Iterable[str] = ()) -> Task | None:
    """The newest task that was started by this name; stopped ones are looked for too in the families that are given.

    More than one question, because `startedBy` may be the only filter and then shows only tasks that shall run.
    """
    listed = [arn for arns in _pages(ecs, {"cluster": cluster, "startedBy": started_by}) for arn in arns]
    if listed:
        seen = _described(ecs, cluster, [listed])
        # Listed under our name, so it is ours, also when ECS cannot describe it yet.
        unseen = [Task(arn=arn, started_by=started_by) for arn in listed if arn not in {task.arn for task in seen}]
        return _newest([*seen, *unseen])
    stopped = (
        task
        for family in families
        for task in _described(
            ecs, cluster, _pages(ecs, {"cluster": cluster, "family": family, "desiredStatus": "STOPPED"})
        )
    )
    return _newest(task for task in stopped if task.started_by == started_by)


def stop_task(ecs: ECSClient, cluster: str, arn: str, reason: str) -> Task | None:
    """Ask ECS to stop a task: it answers at once, the task stops later. None when it knows no such task."""
    try:
        with translated("ecs:StopTask", cluster):
            answer = ecs.stop_task(cluster=cluster, task=arn, reason=reason)
    except Absent:
        return None
    return _task(answer["task"])


def _conflicting(conflict: Exists) -> str | None:
    response: Any = getattr(conflict.__cause__, "response", {})
    ids = response.get("resourceIds") or ()
    return str(ids[0]) if ids else None


def _pages(ecs: ECSClient, request: ListTasksRequestTypeDef) -> Iterator[Sequence[str]]:
    cluster = request.get("cluster", "")
    for _ in range(LISTED_PAGES):
        with translated("ecs:ListTasks", cluster):
            page = ecs.list_tasks(**request)
        if page["taskArns"]:
            yield page["taskArns"]
        if not page.get("nextToken"):
            return
        request = {**request, "nextToken": page["nextToken"]}


def _described(ecs: ECSClient, cluster: str, pages: Iterable[Sequence[str]]) -> list[Task]:
    return [task for arns in pages for task in describe_tasks(ecs, cluster, arns[:DESCRIBE_LIMIT]).tasks]


def _newest(found: Iterable[Task]) -> Task | None:
    return max(found, key=lambda task: (task.created_at is not None, task.created_at), default=None)


def _task(task: TaskTypeDef) -> Task:
    """ECS's answer as a value. Every key may be absent: early in a task's life most are."""
    return Task(
        arn=task["taskArn"],
        started_by=task.get("startedBy", ""),
        version=task.get("version", 0),
        last_status=task.get("lastStatus", "PROVISIONING"),
        desired_status=task.get("desiredStatus", "RUNNING"),
        stop_code=task.get("stopCode", ""),
        stopped_reason=task.get("stoppedReason", ""),
        containers=tuple(
            TaskContainer(
                name=container.get("name", ""),
                status=container.get("lastStatus", ""),
                exit_code=container.get("exitCode"),
                reason=container.get("reason", ""),
            )
            for container in task.get("containers", ())
        ),
        created_at=task.get("createdAt"),
        started_at=task.get("startedAt"),
        stopped_at=task.get("stoppedAt"),
        task_definition_arn=task.get("taskDefinitionArn", ""),
    )
