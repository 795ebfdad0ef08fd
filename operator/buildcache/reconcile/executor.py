"""Where builds run: the adapter between the Build pass and what executes tasks. Today that is ECS; another is another class."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from buildcache.aws import task_logs, tasks
from buildcache.aws.clients import Session
from buildcache.aws.errors import is_unasked
from buildcache.aws.tasks import Refused
from buildcache.core import kaniko_log, report
from buildcache.core.bucket import Bucket
from buildcache.core.build import StartTask
from buildcache.core.errors import Unavailable
from buildcache.core.log_text import tail
from buildcache.core.report import Report
from buildcache.core.status import Reason
from buildcache.core.task_state import Described, Task, TaskRef
from buildcache.core.tasks import BUILD, REPORT

from .capacity import Capacity, Size
from .poller import Place, Poller, Sighting
from .reports import Reports

_REPORT_LINES = 20
_TAIL_LINES = 100
"""Lines that are read: of the container `report`, whose last is the report, and of one that failed."""

_TAIL_BYTES = 16 * 1024
"""Of the log of a container that failed: more than a status keeps, since what explains the failure may come before a daemon's log."""

STARTS = {"EC2": (25.0, 80.0), "Fargate": (18.0, 80.0)}
STOPS = (10.0, 15.0)
"""Calls a second and at once, for each region: RunTask by launch type, StopTask. All of them share 40 and 100 of the account, and
Fargate starts 20 tasks a second of it. Together they stay below that, and above the 20 Builds a second of one busy cluster:
at a rate that is just met, the delay of one stall would stay for ever."""


class Executor(Protocol):
    """Starts, follows and stops the tasks of Builds. `uid` is the Build's. Raises Unavailable, Denied or Rejected."""

    def start(self, task: StartTask, uid: str, now: datetime) -> Task | Refused:
        """Start a task, or get the one that the same request has started before."""
        ...

    def find(self, cluster: Place, uid: str, families: Sequence[str]) -> Task | None:
        """Look for a task that this Build has started and no status names; among the stopped ones of the families too."""
        ...

    def observe(self, ref: TaskRef, uid: str, now: datetime, group: str = "") -> Sighting:
        """Tell the newest that is known of a task, and follow it. `group`: where its report will be. Costs no call."""
        ...

    def stop(self, ref: TaskRef, uid: str, reason: str, now: datetime) -> float:
        """Have a task stopped; it will be observed stopped later. A task that is not there is stopped.

        Returns the seconds until its turn when too many are to be stopped at once, else 0.
        """
        ...

    def report(self, ref: TaskRef, group: str) -> Report | None:
        """Read the report of the build, None when it is not (yet) there."""
        ...

    def log_tail(self, ref: TaskRef, group: str, container: str) -> str:
        """Read the end of a container's log, empty when there is none (yet)."""
        ...

    def forget(self, ref: TaskRef, uid: str) -> None:
        """Follow a task no longer."""
        ...


_FULL = "the cluster has no room for another task of this size; Builds that are older wait for it too, and come first"


class EcsExecutor:
    """Tasks on ECS. The shell runs `poller`, which looks at them, and wakes those whose turn it is by `capacity`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._reports = Reports(self._search)
        self.capacity = self._capacity = Capacity()
        self.poller = self._poller = Poller(self._describe, self._reports.ended, self._capacity.freed)
        self._lock = threading.Lock()
        self._starts: dict[tuple[str, str], Bucket] = {}
        self._stops: dict[str, Bucket] = {}

    def start(self, task: StartTask, uid: str, now: datetime) -> Task | Refused:
        """RunTask, when it is its turn."""
        launch_type, size = task.executor.launch_type, _size(task)
        wait = self._capacity.wait(size, uid, task.created, now)
        if wait is not None:
            return Refused(Reason.WAITING_FOR_CAPACITY, _FULL, wait)
        with self._lock:
            bucket = self._starts.setdefault((task.region, launch_type), Bucket(*STARTS[launch_type]))
            wait = bucket.reserve(uid, now, task.namespace)
        if wait > 0:
            return Refused(Reason.THROTTLED, "tasks are started as fast as AWS allows, in their order", wait)
        with self._turn(bucket):
            answer = tasks.run_task(self._session.region(task.region).ecs, task.request)
        if isinstance(answer, Refused):
            if answer.reason is Reason.WAITING_FOR_CAPACITY:
                return replace(answer, retry_after=self._capacity.refused(size, uid, task.created, now))
            return answer
        self._capacity.placed(size, uid, now)
        if (ref := TaskRef.parse(answer.arn)) is not None:
            if answer.started_by == uid:
                self._poller.told(answer, place(ref), uid, now)
            else:
                # Of a task that has stopped since, the same request gets no more than its ARN and state.
                self._poller.latest(answer.arn, place(ref), uid, now)
        return answer

    def find(self, cluster: Place, uid: str, families: Sequence[str]) -> Task | None:
        """ListTasks and DescribeTasks."""
        return tasks.find_task(self._session.region(cluster.region).ecs, cluster.cluster, uid, families)

    def observe(self, ref: TaskRef, uid: str, now: datetime, group: str = "") -> Sighting:
        """Read the poller."""
        if group:
            self._reports.expect(ref, group)
        return self._poller.latest(ref.arn, place(ref), uid, now)

    def stop(self, ref: TaskRef, uid: str, reason: str, now: datetime) -> float:
        """StopTask. The answer goes to the poller, so that the next pass knows that it was asked for."""
        with self._lock:
            bucket = self._stops.setdefault(ref.region, Bucket(*STOPS))
            wait = bucket.reserve(uid, now)
        if wait > 0:
            return wait
        with self._turn(bucket):
            task = tasks.stop_task(self._session.region(ref.region).ecs, ref.cluster, ref.arn, reason)
        if task is not None:
            self._poller.told(task, place(ref), uid, now)
            if task.phase == "Stopped":
                self._capacity.freed(ref.region, ref.cluster, now)
        return 0.0

    def report(self, ref: TaskRef, group: str) -> Report | None:
        """What was read with others, else GetLogEvents, once when the line is there; of Kaniko, which tells no more of its
        steps than its log, once more for each megabyte of that.
        """
        logs = self._session.region(ref.region).logs
        found = self._reports.take(ref.arn)
        if found is None:
            lines = task_logs.last_lines(
                logs, group, ref.stream(REPORT), _REPORT_LINES, enough=lambda page: report.parse(page) is not None
            )
            found = report.parse(lines or ())
        if found is not None and found.engine == "Kaniko":
            log = task_logs.log(logs, group, ref.stream(BUILD), kaniko_log.kept, kaniko_log.MAX_CHARACTERS)
            found = kaniko_log.completed(found, log.lines, whole=log.whole)
        return found

    def log_tail(self, ref: TaskRef, group: str, container: str) -> str:
        """GetLogEvents."""
        logs = self._session.region(ref.region).logs
        return tail(task_logs.last_lines(logs, group, ref.stream(container), _TAIL_LINES) or (), _TAIL_BYTES)

    def forget(self, ref: TaskRef, uid: str) -> None:
        """Tell the poller."""
        self._reports.forget(ref.arn)
        self._poller.forget(ref.arn, uid)

    @contextmanager
    def _turn(self, bucket: Bucket) -> Iterator[None]:
        """A turn is kept for a call that is made only.

        In a region that does not answer Builds would else wait for each other's calls, of which there are none. A pass that waits has not
        failed, so their backoff would begin anew each time.
        """
        try:
            yield
        except Unavailable as error:
            if is_unasked(error):
                with self._lock:
                    bucket.give_back()
            raise

    def _describe(self, region: str, cluster: str, arns: Sequence[str]) -> Described:
        return tasks.describe_tasks(self._session.region(region).ecs, cluster, arns)

    def _search(self, region: str, group: str, streams: Sequence[str], since: datetime) -> Mapping[str, Sequence[str]]:
        return task_logs.search(self._session.region(region).logs, group, streams, since)


def _size(task: StartTask) -> Size:
    executor = task.executor
    providers = ",".join(sorted(each.name for each in executor.capacity_providers))
    where = cluster_of(task.cluster_arn)
    return Size(*where, providers or executor.launch_type, executor.platform, executor.cpu, executor.memory)


def place(ref: TaskRef) -> Place:
    """Where a task can be asked for."""
    return Place(ref.region, ref.cluster)


def cluster_of(cluster_arn: str) -> Place:
    """Where the tasks of a cluster can be asked for."""
    return Place(cluster_arn.split(":")[3], cluster_arn.rpartition("/")[2])
