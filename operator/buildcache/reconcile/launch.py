"""How a Build gets its task: its turn, a look for one that may be there already, RunTask, and what its answers mean."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from buildcache.api.meta import seconds
from buildcache.aws.tasks import Refused
from buildcache.core import build_status, intent, retry, scope
from buildcache.core.build import (
    LOOK_GRACE,
    LOOK_PERIOD,
    TOKEN_LIFE,
    StartTask,
    Wait,
    admit,
    attempt_number,
    guard,
    in_line,
    is_held,
    moment,
    nothing_found,
    overdue,
    unlaunched_at,
    unplaced,
    unreadable,
)
from buildcache.core.errors import Denied, Rejected
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_outcome import Failed

from .case import MESSAGE, Case, changed, failed
from .executor import Executor
from .outcome import Outcome
from .view import View
from .withdrawal import find_task

logger = logging.getLogger(__name__)

TOLD_AFTER = 5.0
"""Seconds that a Build waits for its turn at ECS before its status says so."""

_REFUSAL_LIMIT = 40 * 60
"""Seconds that RunTask may be refused for, whatever timeouts.start says: below the life of the note that says since when."""


class Launcher:
    """Starts the task of a Build that has none. `cluster_id` is part of every token: BUILDCACHE_CLUSTER_ID."""

    def __init__(self, view: View, executor: Executor, *, cluster_id: str) -> None:
        self._view = view
        self._executor = executor
        self._cluster_id = cluster_id

    def launch(self, case: Case) -> Outcome:
        """Bring a Build that has no task nearer to one, or to its end."""
        build, now = case.build, case.now
        if build.spec.cancel:
            return self._cancel(case)
        pause = retry.due_in(build, now)
        if pause > 0:
            return Outcome(again_after=pause)
        attempt = attempt_number(case.status)
        builds: Sequence[Mapping[str, Any]] = ()
        if case.cache_problem:
            step: Wait | Failed | StartTask = unreadable(build, case.cache_problem, now)
        else:
            builds = self._mounting(case)
            step = admit(build, case.cache, cluster_id=self._cluster_id, attempt=attempt, now=now, builds=builds)
        if isinstance(step, Wait):
            return _wait(case, step)
        if isinstance(step, Failed):
            return self._give_up(case, step)
        if not is_held(build.metadata) and case.cache is not None:
            seen = self._view.line_of(build.metadata.namespace, case.cache.metadata.name)
            if builds:
                seen = replace(seen, held_up=scope.held_up(case.cache, builds, now))
            place = in_line(build, case.cache, seen, now)
            if isinstance(place, Wait):
                return _wait(case, place)
            if isinstance(place, Failed):
                return failed(case, place)
        if step.not_yet is not None:
            return _wait(case, step.not_yet)
        before = guard(build, now)
        if before == "hold":
            return Outcome(finalizer="add")
        return self._look(case, step) if before == "look" else self._run(case, step)

    def _mounting(self, case: Case) -> Sequence[Mapping[str, Any]]:
        """The Builds of the cache, where they can be in each other's way."""
        if case.cache is None or not scope.concerns(case.cache.spec):
            return ()
        return self._view.builds_of(case.build.metadata.namespace, case.cache.metadata.name)

    def _cancel(self, case: Case) -> Outcome:
        """No task is known. One that may have been started all the same is looked for, and stopped when it is found."""
        cancelled, status = intent.end(Reason.CANCELLED), case.status
        if not is_held(case.build.metadata) or case.cache is None:
            return failed(case, cancelled)
        found = find_task(self._executor, case.uid, status, case.cache)
        if found is not None:
            return changed(status, build_status.adopted(status, found, case.at), again_after=0)
        if build_status.is_refused(status):
            return failed(case, cancelled)
        request = status.attempts[-1].stop_request if status.attempts else None
        since = (moment(request.requested_at) if request is not None else None) or case.now
        if case.now - since >= LOOK_GRACE:
            return failed(case, cancelled)
        # The last RunTask may have had an effect that ECS does not list yet (trap T57).
        return changed(status, build_status.stopping(status, Reason.CANCELLED, case.at), again_after=LOOK_PERIOD)

    def _give_up(self, case: Case, failure: Failed) -> Outcome:
        """End a Build without a task; one that may have been started after all is looked for, so that it is not left behind."""
        if is_held(case.build.metadata):
            found = find_task(self._executor, case.uid, case.status, case.cache)
            if found is not None:
                return changed(case.status, build_status.adopted(case.status, found, case.at), again_after=0)
        return failed(case, failure)

    def _look(self, case: Case, step: StartTask) -> Outcome:
        """The client token may be dead: ask ECS for a task before anything is started."""
        found = find_task(self._executor, case.uid, case.status, case.cache, step.families)
        if found is not None:
            logger.info("found task", extra={"build": case.uid, "task": found.arn})
            return changed(
                case.status, build_status.launched(case.status, case.build, step, found, case.at), again_after=0
            )
        verdict = nothing_found(case.build, case.now)
        if isinstance(verdict, Failed):
            return failed(case, verdict)
        if isinstance(verdict, Wait):
            return _wait(case, verdict)
        return changed(case.status, build_status.recorded(case.status, case.at), again_after=0)

    def _run(self, case: Case, step: StartTask) -> Outcome:
        try:
            answer = self._executor.start(step, case.uid, case.now)
        except (Denied, Rejected) as error:
            return self._refused(case, error)
        if isinstance(answer, Refused) and answer.again_after is not None:
            return self._queue(case, answer, answer.again_after)
        if isinstance(answer, Refused):
            message = one_line(answer.message, MESSAGE)
            if overdue(case.build, case.now) >= 0:
                return failed(case, unplaced(case.build, answer.reason, message))
            told = build_status.pending(case.status, answer.reason, message, case.at)
            if case.now - unlaunched_at(case.build, case.now) >= TOKEN_LIFE / 2:
                # ECS has just said that there is no task: noted now and then, so that a restart finds a note that is young.
                told = build_status.recorded(told, case.at)
            return changed(case.status, told, again_after=answer.retry_after, failed=answer.retry_after is None)
        logger.info("started task", extra={"build": case.uid, "task": answer.arn})
        # The same request again, after a crash, may be answered with a task that has stopped: no poll will tell of it.
        again_after = 0 if answer.phase == "Stopped" else None
        launched = build_status.launched(case.status, case.build, step, answer, case.at)
        return changed(case.status, launched, again_after=again_after)

    def _queue(self, case: Case, answer: Refused, again_after: float) -> Outcome:
        """ECS was not asked: it is not this Build's turn yet. Short waits are not worth a write."""
        left = -overdue(case.build, case.now)
        if left <= 0:
            return self._give_up(case, unplaced(case.build, answer.reason, answer.message))
        told = case.status
        if again_after >= TOLD_AFTER:
            told = build_status.pending(told, answer.reason, answer.message, case.at)
        return changed(case.status, told, again_after=min(again_after, left))

    def _refused(self, case: Case, error: Denied | Rejected) -> Outcome:
        """A person must change something; perhaps somebody does within timeouts.start."""
        status, message = case.status, one_line(str(error), MESSAGE)
        last = status.attempts[-1] if status.attempts else None
        since = moment(last.started_at) if last else None
        if since is None:
            status, since = build_status.recorded(status, case.at), case.now
        if (case.now - since).total_seconds() >= min(seconds(case.build.spec.timeouts.start), _REFUSAL_LIMIT):
            denied = isinstance(error, Denied) or error.reason is Reason.ACCESS_DENIED
            reason = Reason.ACCESS_DENIED if denied else Reason.TASK_FAILED_TO_START
            return failed(
                case,
                Failed(
                    reason, f"the task could not be started: {message}", hint="mend that, then create the Build again"
                ),
            )
        return changed(case.status, build_status.pending(status, Reason.RETRYING, message, case.at), failed=True)


def _wait(case: Case, wait: Wait) -> Outcome:
    if wait.position is None or case.cache is None:
        told = build_status.pending(case.status, wait.reason, wait.message, case.at)
    else:
        limit = case.cache.spec.limits.max_concurrent_builds
        told = build_status.queued(case.status, wait.position, limit, case.at, wait.message)
    return changed(case.status, told, again_after=wait.again_after)
