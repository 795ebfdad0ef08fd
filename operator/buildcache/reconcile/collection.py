"""The end of a task: verdict, report and log, read once it has stopped. Asked by the Build pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from buildcache.api.build import Build
from buildcache.core.build import Finished
from buildcache.core.build_end import Evidence
from buildcache.core.build_status import log_group
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.intent import intended
from buildcache.core.log_text import tail
from buildcache.core.report import Report
from buildcache.core.task_outcome import Failed, explained, outcome
from buildcache.core.task_state import Task, TaskRef
from buildcache.core.tasks import BUILD, REPORT

from .executor import Executor
from .view import View

DRAIN = timedelta(seconds=20)
"""Log lines arrive after the task has stopped; so long they are waited for, by the operator's own clock."""

T = TypeVar("T")


class Collection:
    """What is to be known of a stopped task."""

    period = 2.0
    """Seconds until the log is looked at again."""

    def __init__(self, view: View, executor: Executor) -> None:
        self._view = view
        self._executor = executor

    def collect(
        self, build: Build, ref: TaskRef, task: Task, stopped_since: datetime | None, now: datetime
    ) -> tuple[Failed | None, Evidence] | None:
        """Judge the task and read its log; None while lines are still awaited.

        The log only adds to what the exit codes say: without it the Build ends all the same.
        """
        draining = now - (stopped_since or now) < DRAIN
        report, log = None, ""
        if task.exit_code(BUILD) is not None:
            report = self.report(build, ref)
            # The container that prints the line has ended well, so the line is on its way.
            if report is None and draining and task.exit_code(REPORT) == 0:
                return None
        engine = build.status.executor.engine if build.status.executor is not None else ""
        row = build.status.attempts[-1] if build.status.attempts else None
        failure = intended(row, task) or outcome(task, engine=engine, reported=report is not None)
        if failure is not None and (container := failure.explained_by) is not None:
            log = self._read(lambda: self._executor.log_tail(ref, log_group(build), container), "")
            if not log and draining:
                return None
            failure = explained(failure, log)
        return failure, Evidence(task, report, tail(log.split("\n")), self.history(build))

    def report(self, build: Build, ref: TaskRef) -> Report | None:
        """Read the report line; None when there is none, or when the log cannot be read."""
        return self._read(lambda: self._executor.report(ref, log_group(build)), None)

    def history(self, build: Build) -> Sequence[Finished]:
        """Return what the saved time is measured against."""
        return self._view.finished_of(build.metadata.namespace, build.spec.cache_ref.name)

    def _read(self, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except (Unavailable, Denied, Rejected):
            return otherwise
