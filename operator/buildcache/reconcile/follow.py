"""A Build whose task is known: watch it, stop it when it is cancelled or timed out, and take its result when it has stopped."""

from __future__ import annotations

import logging

from buildcache.core import build_end, build_status, intent, retry
from buildcache.core.build import attempt_number, created_at, is_held, moment
from buildcache.core.build_end import Evidence
from buildcache.core.errors import Denied, Rejected
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_outcome import Failed
from buildcache.core.task_state import MISSING_GRACE, Missing, Task, TaskRef, record_expired

from .case import MESSAGE, TROUBLE_PERIOD, Case, changed, ended, failed
from .collection import Collection
from .executor import Executor
from .outcome import Outcome
from .search import Search
from .view import View

logger = logging.getLogger(__name__)

STOPPING_PERIOD = 30.0
"""Seconds between passes over a Build whose task stops; the poller tells when it has."""

UNSEEN_PERIOD = 60.0
"""Seconds between passes over a Build whose task ECS does not show, or has not been asked about yet; the poller tells when it has."""


class Follower:
    """Follows the tasks of Builds to their ends."""

    def __init__(self, view: View, executor: Executor, search: Search) -> None:
        self._executor = executor
        self._search = search
        self._collection = Collection(view, executor)

    def follow(self, case: Case, ref: TaskRef) -> Outcome | None:
        """Bring a Build with a task further. None: the task is not this Build's, so the Build has none."""
        if not is_held(case.build.metadata):
            return Outcome(finalizer="add")
        status, now = case.status, case.now
        self._search.forget(case.uid)
        sighting = self._executor.observe(ref, case.uid, now, build_status.log_group(case.build))
        seen = sighting.seen
        if isinstance(seen, Missing):
            return self._miss(case, ref, seen)
        if seen is None or sighting.trouble:
            if not sighting.trouble:
                return Outcome(again_after=UNSEEN_PERIOD)
            told = build_status.troubled(status, one_line(sighting.trouble, MESSAGE), case.at)
            return changed(status, told, again_after=TROUBLE_PERIOD)
        if seen.started_by != case.uid:
            # The status names a task that this Build did not start (H18): nothing is done to that task.
            self._executor.forget(ref, case.uid)
            return None
        if seen.phase != "Stopped":
            return self._watch(case, ref, seen)
        collected = self._collection.collect(case.build, ref, seen, sighting.stopped_since, now)
        if collected is None:
            return Outcome(again_after=self._collection.period)
        failure, evidence = collected
        self._executor.forget(ref, case.uid)
        logger.info(
            "task ended",
            extra={"task": ref.arn, "reason": failure.reason if failure else "Completed"},
        )
        if failure is None:
            return ended(build_end.succeeded(status, case.build, evidence, case.at))
        if case.build.spec.cancel and failure.failure_class == "Infrastructure":
            # It ended before StopTask: the Build is cancelled, and nothing is retried.
            failure = intent.end(Reason.CANCELLED)
        if not retry.is_retried(case.build, failure):
            return failed(case, failure, evidence)
        cluster = case.cache.spec.cluster_arn if case.cache is not None else None
        told = build_status.retrying(status, seen, failure, case.build.spec.retries, case.at, cluster)
        return changed(status, told, again_after=retry.pause(attempt_number(status)).total_seconds())

    def _watch(self, case: Case, ref: TaskRef, task: Task) -> Outcome:
        """The task is on its way: let it go on, or have it stopped."""
        status, row = case.status, case.status.attempts[-1]
        if (reason := intent.noted(row)) is None:
            wish = intent.wish(case.build, case.cache, task, case.now)
            if wish.reason is not None:
                return changed(status, build_status.stopping(status, wish.reason, case.at), again_after=0)
            return changed(status, build_status.followed(status, task, case.at), again_after=wish.again_after)
        if reason in intent.TIMEOUTS and task.desired_status != "STOPPED" and not self._is_over(case, task):
            # The clock that found the timeout over was wrong, or the timeout has been raised.
            told = build_status.going_on(status, task, case.at)
            return changed(status, told, again_after=0)
        told = build_status.stopping(status, reason, case.at)
        if task.desired_status == "STOPPED":
            return changed(status, told, again_after=STOPPING_PERIOD)
        logger.info("stopping task", extra={"task": ref.arn, "why": reason.value})
        try:
            wait = self._executor.stop(ref, case.uid, f"{intent.STOPPED_BY}{intent.WHY[reason]}", case.now)
        except (Denied, Rejected) as error:
            told = build_status.pending(status, Reason.CANCELLING, one_line(str(error), MESSAGE), case.at)
            return changed(status, told, again_after=TROUBLE_PERIOD)
        return changed(status, told, again_after=wait or self._until_stopped(case, ref))

    def _is_over(self, case: Case, task: Task) -> bool:
        return intent.wish(case.build, case.cache, task, case.now).reason is not None

    def _until_stopped(self, case: Case, ref: TaskRef) -> float:
        """StopTask may answer that the task has stopped already."""
        seen = self._executor.observe(ref, case.uid, case.now).seen
        return 0 if isinstance(seen, Task) and seen.phase == "Stopped" else STOPPING_PERIOD

    def _miss(self, case: Case, ref: TaskRef, seen: Missing) -> Outcome:
        launched = moment(case.status.attempts[-1].started_at) or created_at(case.build.metadata, case.now)
        if not record_expired(seen, launched, case.now):
            long = case.now - seen.since >= MISSING_GRACE
            told = build_status.missing(case.status, case.at) if long else case.status
            return changed(case.status, told, again_after=UNSEEN_PERIOD)
        self._executor.forget(ref, case.uid)
        if (reason := intent.noted(case.status.attempts[-1])) is not None:
            return failed(case, intent.end(reason))
        report = self._collection.report(case.build, ref)
        evidence = Evidence(report=report, history=self._collection.history(case.build))
        if report is not None and report.digest is not None:
            # The log outlives ECS's record of the task, and only a build that ended well has a digest to report.
            return ended(build_end.succeeded(case.status, case.build, evidence, case.at))
        lost = Failed(
            Reason.TASK_RECORD_EXPIRED,
            "the task stopped while it was not observed, and ECS no longer has its record; its log has no result",
            hint="check whether the image was pushed; if it was not, create a new Build",
        )
        return failed(case, lost, evidence)
