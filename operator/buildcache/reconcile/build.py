"""The Build pass: find or start the task, follow it, end. One call for each Build that has news.

Decisions are in `core/build.py`, statuses in `core/build_status.py` and `core/build_end.py`; here is the order in which the outside world
is asked, and what it means when an answer does not come. A stopped task is read in `collection.py`, a Build that must go while its task
runs is handled in `withdrawal.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from buildcache.api.build import Build
from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.api.meta import FINISHED_LABEL, Metadata, seconds
from buildcache.api.problems import problems, summary
from buildcache.aws.tasks import Refused
from buildcache.core import build_end, build_status, intent, retry
from buildcache.core.build import (
    LOOK_GRACE,
    LOOK_PERIOD,
    TOKEN_LIFE,
    StartTask,
    Wait,
    admit,
    attempt_number,
    created_at,
    guard,
    in_line,
    is_held,
    is_terminal,
    moment,
    nothing_found,
    overdue,
    trusted_task,
    unlaunched_at,
    unplaced,
    unreadable,
)
from buildcache.core.build_end import Evidence
from buildcache.core.build_status import Stamp
from buildcache.core.errors import Denied, Rejected, Trouble, Unavailable
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_outcome import Failed
from buildcache.core.task_state import MISSING_GRACE, Missing, Task, TaskRef, record_expired

from .collection import Collection
from .executor import Executor
from .outcome import Outcome
from .view import View
from .withdrawal import Withdrawal, find_task

logger = logging.getLogger(__name__)

TOLD_AFTER = 5.0
"""Seconds that a Build waits for its turn at ECS before its status says so."""

STOPPING_PERIOD = 30.0
"""Seconds between passes over a Build whose task stops; the poller tells when it has."""

MISSING_PERIOD, TROUBLE_PERIOD = 60.0, 60.0
"""Seconds between passes over a Build whose task ECS does not show, or may not be asked about."""

_REFUSAL_LIMIT = 40 * 60
"""Seconds that RunTask may be refused for, whatever timeouts.start says: below the life of the note that says since when."""

_MESSAGE = 512


@dataclass(frozen=True, slots=True)
class _Case:
    """One pass's view of its Build."""

    build: Build
    cache: BuildCache | None
    cache_problem: str
    """Why the BuildCache that exists cannot be read; empty when it can, or when there is none."""

    now: datetime

    @property
    def status(self) -> BuildStatus:
        return self.build.status

    @property
    def uid(self) -> str:
        return self.build.metadata.uid

    @property
    def at(self) -> Stamp:
        return Stamp(self.build.metadata.generation, self.now)


class BuildReconciler:
    """Implements `outcome.Reconciler` for Builds. `cluster_id` is part of every token: BUILDCACHE_CLUSTER_ID."""

    def __init__(self, view: View, executor: Executor, *, cluster_id: str) -> None:
        self._view = view
        self._executor = executor
        self._cluster_id = cluster_id
        self._collection = Collection(view, executor)
        self._withdrawal = Withdrawal(executor)

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        """Bring one Build further."""
        metadata = Metadata.model_validate(body["metadata"])
        status = _read_status(body)
        if is_terminal(status.conditions):
            done = FINISHED_LABEL in metadata.labels and not is_held(metadata)
            return Outcome() if done or (metadata.deletion_timestamp and not is_held(metadata)) else _RELEASE
        try:
            if metadata.deletion_timestamp is not None:
                return self._delete(body, metadata, status, now)
            try:
                build = Build.parse({**body, "status": status})
            except ValidationError as error:
                return self._refuse(body, metadata, status, error, now)
            cache, problem = self._cache(metadata.namespace, build.spec.cache_ref.name)
            return self._advance(_Case(build, cache, problem, now))
        except Unavailable as error:
            told = build_status.troubled(status, one_line(str(error), _MESSAGE), Stamp(metadata.generation, now))
            return _changed(status, told, failed=True)

    def _advance(self, case: _Case) -> Outcome:
        ref = trusted_task(case.status, case.cache)
        if ref is not None:
            return self._follow(case, ref)
        if case.status.attempts and case.status.attempts[-1].task_arn is not None:
            return self._launch(_disown(case))
        return self._launch(case)

    # No task yet

    def _launch(self, case: _Case) -> Outcome:
        build, now = case.build, case.now
        if build.spec.cancel:
            return self._cancel(case)
        pause = retry.due_in(build, now)
        if pause > 0:
            return Outcome(again_after=pause)
        attempt = attempt_number(case.status)
        if case.cache_problem:
            step: Wait | Failed | StartTask = unreadable(build, case.cache_problem, now)
        else:
            step = admit(build, case.cache, cluster_id=self._cluster_id, attempt=attempt, now=now)
        if isinstance(step, Wait):
            return _wait(case, step)
        if isinstance(step, Failed):
            return self._give_up(case, step)
        if not is_held(build.metadata) and case.cache is not None:
            seen = self._view.line_of(build.metadata.namespace, case.cache.metadata.name)
            place = in_line(build, case.cache, seen, now)
            if isinstance(place, Wait):
                return _wait(case, place)
            if isinstance(place, Failed):
                return self._fail(case, place)
        before = guard(build, now)
        if before == "hold":
            return Outcome(finalizer="add")
        return self._look(case, step) if before == "look" else self._run(case, step)

    def _cancel(self, case: _Case) -> Outcome:
        """No task is known. One that may have been started all the same is looked for, and stopped when it is found."""
        cancelled, status = intent.end(Reason.CANCELLED), case.status
        if not is_held(case.build.metadata) or case.cache is None:
            return self._fail(case, cancelled)
        found = find_task(self._executor, case.uid, status, case.cache, None)
        if found is not None:
            return _changed(status, build_status.adopted(status, found, case.at), again_after=0)
        if build_status.is_refused(status):
            return self._fail(case, cancelled)
        request = status.attempts[-1].stop_request if status.attempts else None
        since = (moment(request.requested_at) if request is not None else None) or case.now
        if case.now - since >= LOOK_GRACE:
            return self._fail(case, cancelled)
        # The last RunTask may have had an effect that ECS does not list yet (trap T57).
        return _changed(status, build_status.stopping(status, Reason.CANCELLED, case.at), again_after=LOOK_PERIOD)

    def _give_up(self, case: _Case, failure: Failed) -> Outcome:
        """End a Build without a task; one that may have been started after all is looked for, so that it is not left behind."""
        if is_held(case.build.metadata):
            found = find_task(self._executor, case.uid, case.status, case.cache, None)
            if found is not None:
                return _changed(case.status, build_status.adopted(case.status, found, case.at), again_after=0)
        return self._fail(case, failure)

    def _look(self, case: _Case, step: StartTask) -> Outcome:
        """The client token may be dead: ask ECS for a task before anything is started."""
        found = find_task(self._executor, case.uid, case.status, case.cache, step.family)
        if found is not None:
            logger.info("found task", extra={"build": case.uid, "task": found.arn})
            return _changed(
                case.status, build_status.launched(case.status, case.build, step, found, case.at), again_after=0
            )
        verdict = nothing_found(case.build, case.now)
        if isinstance(verdict, Failed):
            return self._fail(case, verdict)
        if isinstance(verdict, Wait):
            return _wait(case, verdict)
        return _changed(case.status, build_status.recorded(case.status, case.at), again_after=0)

    def _run(self, case: _Case, step: StartTask) -> Outcome:
        try:
            answer = self._executor.start(step, case.uid, case.now)
        except (Denied, Rejected) as error:
            return self._refused(case, error)
        if isinstance(answer, Refused) and answer.again_after is not None:
            return self._queue(case, answer, answer.again_after)
        if isinstance(answer, Refused):
            message = one_line(answer.message, _MESSAGE)
            if overdue(case.build, case.now) >= 0:
                return self._fail(case, unplaced(case.build, answer.reason, message))
            told = build_status.pending(case.status, answer.reason, message, case.at)
            if case.now - unlaunched_at(case.build, case.now) >= TOKEN_LIFE / 2:
                # ECS has just said that there is no task: noted now and then, so that a restart finds a note that is young.
                told = build_status.recorded(told, case.at)
            return _changed(case.status, told, failed=True)
        logger.info("started task", extra={"build": case.uid, "task": answer.arn})
        # The same request again, after a crash, may be answered with a task that has stopped: no poll will tell of it.
        again_after = 0 if answer.phase == "Stopped" else None
        launched = build_status.launched(case.status, case.build, step, answer, case.at)
        return _changed(case.status, launched, again_after=again_after)

    def _queue(self, case: _Case, answer: Refused, again_after: float) -> Outcome:
        """ECS was not asked: it is not this Build's turn yet. Short waits are not worth a write."""
        if overdue(case.build, case.now) >= 0:
            return self._give_up(case, unplaced(case.build, answer.reason, answer.message))
        told = case.status
        if again_after >= TOLD_AFTER:
            told = build_status.pending(told, answer.reason, answer.message, case.at)
        return _changed(case.status, told, again_after=again_after)

    def _refused(self, case: _Case, error: Trouble) -> Outcome:
        """A person must change something; perhaps somebody does within timeouts.start."""
        status, message = case.status, one_line(str(error), _MESSAGE)
        last = status.attempts[-1] if status.attempts else None
        since = moment(last.started_at) if last else None
        if since is None:
            status, since = build_status.recorded(status, case.at), case.now
        if (case.now - since).total_seconds() >= min(seconds(case.build.spec.timeouts.start), _REFUSAL_LIMIT):
            reason = Reason.ACCESS_DENIED if isinstance(error, Denied) else Reason.TASK_FAILED_TO_START
            return self._fail(
                case,
                Failed(
                    reason, f"the task could not be started: {message}", hint="mend that, then create the Build again"
                ),
            )
        return _changed(case.status, build_status.pending(status, Reason.RETRYING, message, case.at), failed=True)

    # A task that is known

    def _follow(self, case: _Case, ref: TaskRef) -> Outcome:
        if not is_held(case.build.metadata):
            return Outcome(finalizer="add")
        status, now = case.status, case.now
        sighting = self._executor.observe(ref, case.uid, now, build_status.log_group(case.build))
        seen = sighting.seen
        if isinstance(seen, Missing):
            return self._miss(case, ref, seen)
        if seen is None or sighting.trouble:
            if not sighting.trouble:
                return Outcome()  # the poller looks next and says so
            told = build_status.troubled(status, one_line(sighting.trouble, _MESSAGE), case.at)
            return _changed(status, told, again_after=TROUBLE_PERIOD)
        if seen.started_by != case.uid:
            # A status that points at somebody else's task (threat T18): nothing is done to that task.
            self._executor.forget(ref, case.uid)
            return self._launch(_disown(case))
        if seen.phase != "Stopped":
            return self._watch(case, ref, seen)
        collected = self._collection.collect(case.build, ref, seen, sighting.stopped_since, now)
        if collected is None:
            return Outcome(again_after=self._collection.period)
        failure, evidence = collected
        self._executor.forget(ref, case.uid)
        logger.info(
            "task ended",
            extra={"build": case.uid, "task": ref.arn, "reason": failure.reason if failure else "Completed"},
        )
        if failure is None:
            return _ended(build_end.succeeded(status, case.build, evidence, case.at))
        if case.build.spec.cancel and failure.failure_class == "Infrastructure":
            # Gone before it was stopped: what was asked for has come about, and there is nothing to try again.
            failure = intent.end(Reason.CANCELLED)
        if not retry.is_retried(case.build, failure):
            return self._fail(case, failure, evidence)
        told = build_status.retrying(status, seen, failure, case.build.spec.retries, case.at)
        return _changed(status, told, again_after=retry.pause(attempt_number(status)).total_seconds())

    def _watch(self, case: _Case, ref: TaskRef, task: Task) -> Outcome:
        """The task is on its way: let it go on, or have it stopped."""
        status, row = case.status, case.status.attempts[-1]
        if (reason := intent.noted(row)) is None:
            wish = intent.wish(case.build, case.cache, task, case.now)
            if wish.reason is not None:
                return _changed(status, build_status.stopping(status, wish.reason, case.at), again_after=0)
            return _changed(status, build_status.followed(status, task, case.at), again_after=wish.again_after)
        told = build_status.stopping(status, reason, case.at)
        if task.desired_status == "STOPPED":
            return _changed(status, told, again_after=STOPPING_PERIOD)
        logger.info("stopping task", extra={"build": case.uid, "task": ref.arn, "why": reason.value})
        try:
            wait = self._executor.stop(ref, case.uid, f"{intent.STOPPED_BY}{intent.WHY[reason]}", case.now)
        except (Denied, Rejected) as error:
            told = build_status.pending(status, Reason.CANCELLING, one_line(str(error), _MESSAGE), case.at)
            return _changed(status, told, again_after=TROUBLE_PERIOD)
        return _changed(status, told, again_after=wait or STOPPING_PERIOD)

    def _miss(self, case: _Case, ref: TaskRef, seen: Missing) -> Outcome:
        launched = moment(case.status.attempts[-1].started_at) or created_at(case.build.metadata, case.now)
        if not record_expired(seen, launched, case.now):
            long = case.now - seen.since >= MISSING_GRACE
            told = build_status.missing(case.status, case.at) if long else case.status
            return _changed(case.status, told, again_after=MISSING_PERIOD)
        self._executor.forget(ref, case.uid)
        if (reason := intent.noted(case.status.attempts[-1])) is not None:
            return self._fail(case, intent.end(reason))
        report = self._collection.report(case.build, ref)
        evidence = Evidence(report=report, history=self._collection.history(case.build))
        if report is not None and report.digest is not None:
            # The log outlives ECS's record of the task, and only a build that ended well has a digest to report.
            return _ended(build_end.succeeded(case.status, case.build, evidence, case.at))
        lost = Failed(
            Reason.TASK_RECORD_EXPIRED,
            "the task ended while nobody looked, and ECS has forgotten how; its log has no result",
            hint="look for the image; if it is not there, create the Build again",
        )
        return self._fail(case, lost, evidence)

    # Builds that cannot or shall not go on

    def _delete(self, body: Mapping[str, Any], metadata: Metadata, status: BuildStatus, now: datetime) -> Outcome:
        if not is_held(metadata):
            return Outcome()
        since = moment(metadata.deletion_timestamp) or now
        waiting = self._withdraw(body, metadata, status, since, "the Build is deleted", now)
        return waiting or _RELEASE

    def _refuse(
        self, body: Mapping[str, Any], metadata: Metadata, status: BuildStatus, error: ValidationError, now: datetime
    ) -> Outcome:
        """The spec is older than the rules, or the rules were not there: nothing is started, and what runs is stopped."""
        if is_held(metadata):
            since = created_at(metadata, now)
            waiting = self._withdraw(body, metadata, status, since, "the Build's spec is not valid", now)
            if waiting is not None:
                return waiting
        failure = Failed(
            Reason.INVALID_SPEC, summary(problems(error)), hint="create the Build again with the fields corrected"
        )
        return _ended(build_end.failed(status, metadata, failure, Evidence(), Stamp(metadata.generation, now)))

    def _withdraw(
        self,
        body: Mapping[str, Any],
        metadata: Metadata,
        status: BuildStatus,
        since: datetime,
        why: str,
        now: datetime,
    ) -> Outcome | None:
        reference = (body.get("spec") or {}).get("cacheRef") or {}
        cache, _ = self._cache(metadata.namespace, str(reference.get("name", "")))
        told, waiting = self._withdrawal.withdraw(metadata, status, cache, since, why, now)
        return None if waiting is None else _changed(status, told, again_after=waiting)

    def _fail(self, case: _Case, failure: Failed, evidence: Evidence | None = None) -> Outcome:
        return _ended(build_end.failed(case.status, case.build.metadata, failure, evidence or Evidence(), case.at))

    def _cache(self, namespace: str, name: str) -> tuple[BuildCache | None, str]:
        body = self._view.cache(namespace, name)
        if body is None:
            return None, ""
        try:
            return BuildCache.parse(body), ""
        except ValidationError as error:
            return None, summary(problems(error))


_RELEASE = Outcome(finalizer="release")


def _changed(
    before: BuildStatus, after: BuildStatus, *, again_after: float | None = None, failed: bool = False
) -> Outcome:
    """The outcome of a pass after which the Build goes on; without news in it nothing is written."""
    return Outcome(None if after == before else after.to_json(), again_after=again_after, failed=failed)


def _wait(case: _Case, wait: Wait) -> Outcome:
    if wait.position is None or case.cache is None:
        told = build_status.pending(case.status, wait.reason, wait.message, case.at)
    else:
        limit = case.cache.spec.limits.max_concurrent_builds
        told = build_status.queued(case.status, wait.position, limit, case.at)
    return _changed(case.status, told, again_after=wait.again_after)


def _ended(status: BuildStatus) -> Outcome:
    return Outcome(status.to_json(), finalizer="release")


def _disown(case: _Case) -> _Case:
    build = case.build.model_copy(update={"status": build_status.disowned(case.status)})
    return _Case(build, case.cache, case.cache_problem, case.now)


def _read_status(body: Mapping[str, Any]) -> BuildStatus:
    """The status, or an empty one when nobody can read it: status is output, and losing it must do no harm."""
    try:
        return BuildStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return BuildStatus()
