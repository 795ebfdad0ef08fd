"""ECS as a Build pass sees it, in memory: client tokens, tasks that are moved by the test, answers that are lost, crashes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Literal

from buildcache.aws.tasks import Refused
from buildcache.core.build import StartTask
from buildcache.core.errors import Rejected, Unavailable
from buildcache.core.report import Report
from buildcache.core.status import Reason
from buildcache.core.task_state import Missing, Task, TaskContainer, TaskRef
from buildcache.reconcile.poller import Place, Sighting

TASK_ARN = "arn:aws:ecs:eu-west-1:111122223333:task/builds/{id}"
CONTAINERS = ("fetch", "build", "report")


class Crash(BaseException):
    """The process ends here: no `except` of the operator may see it."""


class FakeExecutor:
    """Implements `reconcile.executor.Executor`. `now` of the calls is its clock."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.requests: list[Mapping[str, Any]] = []
        self.stops: list[str] = []
        self.answers: list[Refused | Exception | Literal["lost", "crash before", "crash after"]] = []
        """For the next starts, in order; when empty, tasks start."""
        self.unseen: set[str] = set()
        """Tasks that ECS does not show."""
        self.unlisted: set[str] = set()
        """Tasks that are not listed yet."""
        self.reports: dict[str, Report] = {}
        self.tails: dict[tuple[str, str], str] = {}
        self.log_trouble: Exception | None = None
        self.stop_trouble: Exception | None = None
        self.stop_answers: list[Literal["lost", "error", "crash before", "crash after"]] = []
        """For the next StopTasks, in order; when empty, they have their effect."""
        self.looks = 0
        self.look_trouble: Exception | None = None
        self.sighting_trouble = ""
        self.tokens: dict[tuple[str, str], str] = {}
        """(Cluster, client token) → task: ECS keeps tokens for each cluster."""
        self.shows_containers = False
        """RunTask's answer lists the containers at once, or when the task is placed: ECS does both."""
        self.starts_running = False
        """RunTask's answer says RUNNING, as a repeated one does."""
        self.stops_at_once = False
        """StopTask's answer says STOPPED."""
        self.no_cluster: set[str] = set()
        """Names of clusters that are not there."""
        self._missing: dict[str, datetime] = {}
        self._stopped: dict[str, datetime] = {}

    # Executor

    def start(self, task: StartTask, uid: str, now: datetime) -> Task | Refused:
        answer = self.answers.pop(0) if self.answers else None
        if answer == "crash before":
            raise Crash
        if answer is not None and not isinstance(answer, str):
            if isinstance(answer, Refused):
                return answer
            raise answer
        started = self._run(task.request, now)
        if answer == "crash after":
            raise Crash
        if answer == "lost":
            raise Unavailable("no usable answer (ReadTimeoutError)", operation="ecs:RunTask")
        return started

    def find(self, cluster: Place, uid: str, families: Sequence[str]) -> Task | None:
        self.looks += 1
        if self.look_trouble:
            raise self.look_trouble
        if cluster.cluster in self.no_cluster:
            raise Rejected(Reason.CLUSTER_NOT_FOUND, "Cluster not found.", operation="ecs:ListTasks")
        found = [
            task
            for arn, task in self.tasks.items()
            if task.started_by == uid
            and f":task/{cluster.cluster}/" in arn
            and arn not in self.unlisted
            and arn not in self.unseen
            and (families or task.desired_status != "STOPPED")
        ]
        return found[-1] if found else None

    def observe(self, ref: TaskRef, uid: str, now: datetime, group: str = "") -> Sighting:
        if self.sighting_trouble:
            return Sighting(trouble=self.sighting_trouble)
        task = self.tasks.get(ref.arn)
        if task is None or ref.arn in self.unseen:
            return Sighting(Missing(self._missing.setdefault(ref.arn, now)))
        if task.phase == "Stopped":
            self._stopped.setdefault(ref.arn, now)
        return Sighting(task, self._stopped.get(ref.arn))

    def stop(self, ref: TaskRef, uid: str, reason: str, now: datetime) -> float:
        if self.stop_trouble:
            raise self.stop_trouble
        answer = self.stop_answers.pop(0) if self.stop_answers else None
        if answer == "crash before":
            raise Crash
        if answer == "error":
            raise Unavailable("ServerException", operation="ecs:StopTask")
        self.stops.append(ref.arn)
        task = self.tasks.get(ref.arn)
        if task is not None and task.phase != "Stopped":
            self.tasks[ref.arn] = replace(
                task, desired_status="STOPPED", stop_code="UserInitiated", stopped_reason=reason
            )
            if self.stops_at_once:
                self.change(ref.arn, last_status="STOPPED", stopped_at=now)
        if answer == "crash after":
            raise Crash
        if answer == "lost":
            raise Unavailable("no usable answer (ReadTimeoutError)", operation="ecs:StopTask")
        return 0.0

    def report(self, ref: TaskRef, group: str) -> Report | None:
        if self.log_trouble:
            raise self.log_trouble
        return self.reports.get(ref.arn)

    def log_tail(self, ref: TaskRef, group: str, container: str) -> str:
        if self.log_trouble:
            raise self.log_trouble
        return self.tails.get((ref.arn, container), "")

    def forget(self, ref: TaskRef, uid: str) -> None:
        pass

    # What a test does to it

    def only(self) -> Task:
        """The one task; fails when there are more or none."""
        (task,) = self.tasks.values()
        return task

    def change(self, arn: str, **changes: Any) -> None:
        self.tasks[arn] = replace(self.tasks[arn], version=self.tasks[arn].version + 1, **changes)

    def run(self, arn: str) -> None:
        """The build runs. The task stays PENDING until its last container has started."""
        states = {"fetch": ("STOPPED", 0), "build": ("RUNNING", None), "report": ("PENDING", None)}
        self.change(
            arn,
            last_status="PENDING",
            containers=tuple(TaskContainer(name, status, code) for name, (status, code) in states.items()),
        )

    def end(
        self,
        arn: str,
        now: datetime,
        *,
        codes: Mapping[str, int | None] | None = None,
        stop_code: str = "EssentialContainerExited",
        reason: str = "Essential container in task exited",
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        codes = {"fetch": 0, "build": 0, "report": 0} if codes is None else codes
        self.change(
            arn,
            last_status="STOPPED",
            desired_status="STOPPED",
            stop_code=stop_code,
            stopped_reason=reason,
            # The task of a build is RUNNING only for the moment in which `report` runs.
            started_at=now if codes and None not in codes.values() else None,
            stopped_at=now,
            # ECS keeps no order: the reverse of the definition's here.
            containers=tuple(
                TaskContainer(name, "STOPPED", code, (reasons or {}).get(name, ""))
                for name, code in reversed(list(codes.items()))
            ),
        )

    def _run(self, request: Mapping[str, Any], now: datetime) -> Task:
        name = request["cluster"].rpartition("/")[2]
        if name in self.no_cluster:
            raise Rejected(Reason.CLUSTER_NOT_FOUND, "Cluster not found.", operation="ecs:RunTask")
        self.requests.append(copy.deepcopy(request))
        token = (name, request["clientToken"])
        if token in self.tokens:
            arn = self.tokens[token]
            task = self.tasks[arn]
            # ECS forgets a token an hour after its task has stopped.
            if task.stopped_at is None or now - task.stopped_at < timedelta(hours=1):
                return task
        arn = TASK_ARN.format(id=f"{len(self.tasks):032x}").replace("/builds/", f"/{name}/")
        task = Task(
            arn=arn,
            started_by=request["startedBy"],
            version=1,
            last_status="RUNNING" if self.starts_running else "PROVISIONING",
            containers=tuple(TaskContainer(each, "PENDING") for each in CONTAINERS if self.shows_containers),
            created_at=now,
            task_definition_arn=request["taskDefinition"],
        )
        self.tasks[arn] = task
        self.tokens[token] = arn
        return task
