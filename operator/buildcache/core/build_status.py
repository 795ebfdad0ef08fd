"""The status of a Build that is not done, for each thing that can happen to it; its ends are in `build_end.py`. Pure.

Each function takes the status as it is and gives the new one. What depends on the clock is set once and kept, so that a pass without news
gives the same status again, which is then not written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from buildcache.api.build import Build
from buildcache.api.build_status import Attempt, BuildStatus, CacheResult, ExecutorStatus, Logs, QueuePosition
from buildcache.api.cache import BuildCache
from buildcache.api.meta import Condition

from .build import CacheChoice, StartTask, attempt_number, published_log_group
from .intent import WHY, request
from .names import Identity, former_log_group_name
from .status import ConditionType, Reason, find_condition, remove_condition, set_condition, set_reconciling, timestamp
from .task_outcome import Failed
from .task_state import Task, TaskRef
from .tasks import BUILD

KEPT_ATTEMPTS = 5

UNMOUNTED = "without its cache mounts: "
"""What a message of CacheUsed says, before why, of a run that could have mounted the file system and did not."""

_LOG_GROUP = re.compile(r"/buildcache(/[A-Za-z0-9._-]+){2,3}")

_CODE = 64
"""Bound of a stop code: that of the schema."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every condition carries: the generation that was looked at, and when."""

    generation: int
    now: datetime


# --- on its way


def pending(status: BuildStatus, reason: Reason, message: str, at: Stamp) -> BuildStatus:
    """The Build is neither done nor failed; `reason` says where it stands."""
    conditions = set_condition(
        status.conditions, ConditionType.SUCCEEDED, "Unknown", reason, message, generation=at.generation, now=at.now
    )
    conditions = set_reconciling(conditions, reason, message, generation=at.generation, now=at.now)
    return with_(status, at, conditions=conditions)


def queued(status: BuildStatus, position: int, limit: int, at: Stamp, message: str = "") -> BuildStatus:
    """The Build stands in its cache's line; `message`: for another reason than that there is no room."""
    # The place is in its own field: a message that changed with it would move the conditions too.
    message = (
        message
        or f"the BuildCache runs {limit} builds at once; status.queue.position says how many are before this one"
    )
    return pending(with_(status, at, queue=QueuePosition(position=position)), Reason.QUEUED, message, at)


def troubled(status: BuildStatus, message: str, at: Stamp) -> BuildStatus:
    """AWS does not answer: the Build stands where it stood, and that it is looked after says so."""
    succeeded = find_condition(status.conditions, ConditionType.SUCCEEDED)
    if succeeded is None:
        status = pending(status, Reason.ACCEPTED, "", at)
    conditions = set_reconciling(
        status.conditions, Reason.AWS_UNAVAILABLE, message, generation=at.generation, now=at.now
    )
    return with_(status, at, conditions=conditions)


def recorded(status: BuildStatus, at: Stamp, cluster_arn: str | None = None) -> BuildStatus:
    """Note that the current attempt has no task at this moment (`build.unlaunched_at`), and where RunTask will start it."""
    last = status.attempts[-1] if status.attempts else None
    pinned = cluster_arn or (last.cluster_arn if last is not None else None)
    row = Attempt(number=attempt_number(status), started_at=timestamp(at.now), cluster_arn=pinned)
    return with_(with_attempt(status, row), at)


def pinned(status: BuildStatus, unlaunched_at: datetime, cluster_arn: str, at: Stamp) -> BuildStatus:
    """Note where RunTask will start the current attempt, without a claim about tasks that it may have already."""
    last = status.attempts[-1] if status.attempts else None
    if last is None or last.task_arn is not None:
        last = Attempt(number=attempt_number(status), started_at=timestamp(unlaunched_at))
    return with_(with_attempt(status, last.model_copy(update={"cluster_arn": cluster_arn})), at)


def adopted(status: BuildStatus, task: Task, at: Stamp) -> BuildStatus:
    """The task is the current attempt's own, whether it was started now, before a crash, or by a call whose answer was lost."""
    last = status.attempts[-1] if status.attempts else None
    if last is not None and last.task_arn == task.arn:
        return with_(status, at)
    started = timestamp(task.created_at or at.now)
    stop_request = last.stop_request if last is not None and last.task_arn is None else None
    row = Attempt(number=attempt_number(status), task_arn=task.arn, started_at=started, stop_request=stop_request)
    status = _started_from(with_attempt(status, row), task)
    return with_(status, at, start_time=status.start_time or started)


def _started_from(status: BuildStatus, task: Task) -> BuildStatus:
    """Note what the task was really started from, as ECS says: others decide by it whether they may mount the scope.

    That is not always what was asked for: a request that is repeated after a crash is answered with the task of the first one.
    """
    known = status.executor
    if known is None or known.task_definition_arn == (task.task_definition_arn or None):
        return status
    update = {"task_definition_arn": task.task_definition_arn or None}
    return status.model_copy(update={"executor": known.model_copy(update=update)})


def disowned(status: BuildStatus) -> BuildStatus:
    """The task of the current attempt is not ours: the attempt has none."""
    return status.model_copy(update={"attempts": status.attempts[:-1]})


def launched(status: BuildStatus, build: Build, start: StartTask, task: Task, at: Stamp) -> BuildStatus:
    """RunTask has given a task."""
    status = adopted(status, task, at)
    executor = ExecutorStatus(
        name=start.executor.name, engine=start.executor.engine, task_definition_arn=task.task_definition_arn or None
    )
    status = with_(
        status,
        at,
        executor=executor,
        queue=QueuePosition(),
        cache=_choice(start.cache),
        logs=_logs(start.log_group, task.arn, BUILD),
        conditions=_cache_not_used(status.conditions, start.cache, at),
    )
    return followed(status, task, at)


def followed(status: BuildStatus, task: Task, at: Stamp) -> BuildStatus:
    """The task is on its way, or has stopped and its result is being collected."""
    if task.task_definition_arn:
        status = _started_from(status, task)
    if task.phase == "Provisioning":
        return pending(status, Reason.PROVISIONING, "ECS places the task and pulls its images", at)
    last = status.attempts[-1] if status.attempts else None
    if last is not None and last.running_at is None:
        # ECS tells it only when the last container has started, which is too late for a timeout.
        status = with_attempt(status, last.model_copy(update={"running_at": timestamp(task.started_at or at.now)}))
    return pending(status, Reason.RUNNING, "the task runs", at)


def stopping(status: BuildStatus, reason: Reason, at: Stamp) -> BuildStatus:
    """Note that the attempt's task shall stop, and why; the first reason stays."""
    last = status.attempts[-1] if status.attempts else Attempt(number=attempt_number(status))
    if last.stop_request is None:
        status = with_attempt(status, last.model_copy(update={"stop_request": request(reason, at.now)}))
    return pending(status, Reason.CANCELLING, f"the task is being stopped: {WHY[reason]}", at)


def going_on(status: BuildStatus, task: Task, at: Stamp) -> BuildStatus:
    """Withdraw the note that the attempt's task shall stop."""
    last = status.attempts[-1]
    return followed(with_attempt(status, last.model_copy(update={"stop_request": None})), task, at)


def retrying(
    status: BuildStatus, task: Task, failure: Failed, limit: int, at: Stamp, cluster_arn: str | None = None
) -> BuildStatus:
    """The attempt's task has failed by the infrastructure: its row is closed, and the next one's opened, which has no task yet."""
    status = with_attempt(status, closed(status.attempts[-1], task, failure.exit_code, at))
    number = attempt_number(status) + 1
    status = with_attempt(status, Attempt(number=number, started_at=timestamp(at.now), cluster_arn=cluster_arn))
    message = f"attempt {number} of {limit + 1} follows {failure.reason.value}: {failure.message}"
    return pending(status, Reason.RETRYING, message, at)


def closed(row: Attempt, task: Task, exit_code: int | None, at: Stamp) -> Attempt:
    """The row of an attempt whose task has stopped."""
    return row.model_copy(
        update={
            "stopped_at": timestamp(task.stopped_at or at.now),
            "stop_code": task.stop_code[:_CODE] or None,
            "exit_code": exit_code if exit_code is not None else task.exit_code(BUILD),
        }
    )


def missing(status: BuildStatus, at: Stamp) -> BuildStatus:
    """ECS does not show the task for longer than it may."""
    succeeded = find_condition(status.conditions, ConditionType.SUCCEEDED)
    reason = Reason.RUNNING if succeeded is not None and succeeded.reason == Reason.RUNNING else Reason.PROVISIONING
    return pending(status, reason, "ECS does not show the task; it counts as lost an hour after its start", at)


def _choice(choice: CacheChoice) -> CacheResult:
    return CacheResult(ref=choice.ref, reason=choice.reason.value if choice.reason else None)


def _cache_not_used(conditions: Sequence[Condition], choice: CacheChoice, at: Stamp) -> tuple[Condition, ...]:
    message = "; ".join(filter(None, (choice.message, choice.unmounted and f"{UNMOUNTED}{choice.unmounted}")))
    if choice.reason is None and not choice.unmounted:
        return remove_condition(conditions, ConditionType.CACHE_USED)
    # Of a build that has its layer cache the end will tell; that it has no cache mounts is known now, and kept until then.
    used: Literal["Unknown"] | bool = "Unknown" if choice.reason is None else False
    reason = choice.reason or Reason.NOT_READY
    return set_condition(
        conditions, ConditionType.CACHE_USED, used, reason, message, generation=at.generation, now=at.now
    )


# --- small parts


def with_(status: BuildStatus, at: Stamp, **update: Any) -> BuildStatus:
    """The status with these fields changed, as a look at this generation."""
    return status.model_copy(update={"observed_generation": at.generation, **update})


def with_attempt(status: BuildStatus, row: Attempt) -> BuildStatus:
    """The row of that number added or replaced; the newest are kept."""
    others = tuple(attempt for attempt in status.attempts if attempt.number != row.number)
    return status.model_copy(update={"attempts": (*others, row)[-KEPT_ATTEMPTS:]})


def log_group(build: Build) -> str:
    """The log group of the Build's task, as it was noted at its launch.

    A name that is not of the Build's namespace and BuildCache is not believed (H18): the log's end is shown in the status.
    """
    owner = Identity("", build.metadata.namespace, build.spec.cache_ref.name, "")
    noted = build.status.logs.group if build.status.logs is not None else None
    if noted is not None and _LOG_GROUP.fullmatch(noted) and noted.endswith(f"/{owner.namespace}/{owner.name}"):
        return noted
    return former_log_group_name(owner)


def located(status: BuildStatus, cache: BuildCache | None, task_arn: str) -> BuildStatus:
    """Note where the task writes, of a task that was found rather than launched."""
    group = published_log_group(cache) if cache is not None else None
    if status.logs is not None or group is None:
        return status
    return status.model_copy(update={"logs": _logs(group, task_arn, BUILD)})


def _logs(group: str, task_arn: str, container: str) -> Logs | None:
    ref = TaskRef.parse(task_arn)
    return Logs(group=group, stream=ref.stream(container)) if ref else None
