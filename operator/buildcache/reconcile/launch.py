"""How a Build gets its task: its turn, a look for one that may be there already, RunTask, and what its answers mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from buildcache.api.cache import BuildCache
from buildcache.api.meta import seconds
from buildcache.aws.tasks import Refused
from buildcache.core import build_status, intent, retry, scope
from buildcache.core.build import (
    LOOK_PERIOD,
    TOKEN_LIFE,
    StartTask,
    Wait,
    admit,
    attempt_number,
    guard,
    in_line,
    is_held,
    nothing_found,
    overdue,
    pinned_cluster,
    unlaunched_at,
    unplaced,
    unreadable,
)
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_outcome import Failed
from buildcache.core.task_state import Task

from .case import MESSAGE, TROUBLE_PERIOD, Case, changed, failed
from .executor import Executor
from .outcome import Outcome
from .search import Search, remember
from .view import View

logger = logging.getLogger(__name__)

TOLD_AFTER = 5.0
"""Seconds that a Build waits for its turn at ECS before its status says so."""

_REFUSAL_LIMIT = 40 * 60
"""Seconds that RunTask may be refused for, whatever timeouts.start says: below the life of a client token."""


class Launcher:
    """Starts the task of a Build that has none. `cluster_id` is part of every token: BUILDCACHE_CLUSTER_ID.

    `doubt` is called with the UID of a BuildCache whose status names parts that AWS does not have.
    """

    def __init__(
        self, view: View, executor: Executor, search: Search, *, cluster_id: str, doubt: Callable[[str], None]
    ) -> None:
        self._view = view
        self._executor = executor
        self._search = search
        self._cluster_id = cluster_id
        self._doubt = doubt
        self._refused_since: dict[str, datetime] = {}
        """UID → since when RunTask has been refused for a reason that a person must fix. A restart starts this time again."""

    def launch(self, case: Case) -> Outcome:
        """Bring a Build that has no task nearer to one, or to its end."""
        try:
            return self._cancel(case) if case.build.spec.cancel else self._launch(case)
        except (Denied, Rejected) as error:
            return self._refused(case, error)

    def _launch(self, case: Case) -> Outcome:
        build, now = case.build, case.now
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
        assert case.cache is not None  # noqa: S101 - told to mypy; `admit` starts nothing without one
        if not is_held(build.metadata):
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
        match guard(build, case.cache, now):
            case "hold":
                return self._hold(case, step)
            case "pin":
                since = unlaunched_at(build, now)
                told = build_status.pinned(case.status, since, step.cluster_arn, case.at)
                return changed(case.status, told, again_after=0)
            case "look":
                return self._look(case, step)
            case "move":
                return self._move(case, step)
            case "run":
                return self._run(case, step)

    def _mounting(self, case: Case) -> Sequence[Mapping[str, Any]]:
        """The Builds of the cache, where they can be in each other's way."""
        if case.cache is None or not scope.concerns(case.cache.spec):
            return ()
        return self._view.builds_of(case.build.metadata.namespace, case.cache.metadata.name)

    def _hold(self, case: Case, step: StartTask) -> Outcome:
        """Not held, so never launched: the cluster is noted, and the finalizer put on."""
        if pinned_cluster(case.status, case.cache) == step.cluster_arn:
            return Outcome(finalizer="add")
        return Outcome(build_status.recorded(case.status, case.at, step.cluster_arn).to_json(), finalizer="add")

    def _cancel(self, case: Case) -> Outcome:
        """No task is known. One that may have been started all the same is looked for, and stopped when it is found.

        That RunTask was refused, as the status may say, is no answer: the newer status, of a RunTask that was not, may have been lost.
        """
        cancelled, status = intent.end(Reason.CANCELLED), case.status
        if not is_held(case.build.metadata):
            return failed(case, cancelled)
        try:
            found = self._search.look(case.uid, status, case.cache, case.now)
        except (Denied, Rejected) as error:
            told = build_status.pending(status, Reason.CANCELLING, one_line(str(error), MESSAGE), case.at)
            return changed(status, told, again_after=TROUBLE_PERIOD)
        if isinstance(found, Task):
            return changed(status, build_status.adopted(status, found, case.at), again_after=0)
        if found.final or retry.due_in(case.build, case.now) > 0:
            # In the pause before an attempt nothing has been started for it.
            return self._end(case, cancelled)
        return changed(status, build_status.stopping(status, Reason.CANCELLED, case.at), again_after=LOOK_PERIOD)

    def _give_up(self, case: Case, failure: Failed) -> Outcome:
        """End a Build without a task, but not before it is sure that it has none: a task must not be left behind."""
        if is_held(case.build.metadata):
            try:
                found = self._search.look(case.uid, case.status, case.cache, case.now)
            except (Denied, Rejected):
                # Nor could a task be stopped. Where RunTask was denied as well there is none.
                return self._end(case, failure)
            if isinstance(found, Task):
                return changed(case.status, build_status.adopted(case.status, found, case.at), again_after=0)
            if not found.final:
                return Outcome(again_after=LOOK_PERIOD)
        return self._end(case, failure)

    def _end(self, case: Case, failure: Failed) -> Outcome:
        self._refused_since.pop(case.uid, None)
        self._search.forget(case.uid)
        return failed(case, failure)

    def _look(self, case: Case, step: StartTask) -> Outcome:
        """The client token may be dead: ask ECS for a task before anything is started."""
        found = self._search.look(case.uid, case.status, case.cache, case.now, step.families)
        if isinstance(found, Task):
            return self._found(case, step, found)
        verdict = nothing_found(case.build, case.now, final=found.final)
        if isinstance(verdict, Failed):
            return self._end(case, verdict)
        if isinstance(verdict, Wait):
            return _wait(case, verdict)
        if pinned_cluster(case.status, case.cache) not in (None, step.cluster_arn):
            return self._move(case, step)
        return changed(case.status, build_status.recorded(case.status, case.at, step.cluster_arn), again_after=0)

    def _move(self, case: Case, step: StartTask) -> Outcome:
        """The BuildCache has another cluster now. Nothing is started there while the former one may have the task."""
        found = self._search.look(case.uid, case.status, case.cache, case.now, step.families)
        if isinstance(found, Task):
            return self._found(case, step, found)
        if found.final:
            return changed(case.status, build_status.recorded(case.status, case.at, step.cluster_arn), again_after=0)
        former = pinned_cluster(case.status, case.cache)
        message = (
            f"spec.clusterARN of the BuildCache has changed: looking for a task in {former} before another is started"
        )
        return changed(
            case.status,
            build_status.pending(case.status, Reason.RETRYING, message, case.at),
            again_after=LOOK_PERIOD,
        )

    def _found(self, case: Case, step: StartTask, task: Task) -> Outcome:
        logger.info("found task", extra={"task": task.arn})
        return changed(case.status, build_status.launched(case.status, case.build, step, task, case.at), again_after=0)

    def _run(self, case: Case, step: StartTask) -> Outcome:
        try:
            answer = self._executor.start(step, case.uid, case.now)
        except Unavailable:
            self._search.uncertain(case.uid)
            raise
        if isinstance(answer, Refused) and answer.again_after is not None:
            return self._queue(case, answer, answer.again_after)
        self._refused_since.pop(case.uid, None)
        if isinstance(answer, Refused):
            return self._not_now(case, answer)
        self._search.started(case.uid, answer.arn)
        logger.info("started task", extra={"task": answer.arn})
        launched = build_status.launched(case.status, case.build, step, answer, case.at)
        if answer.phase == "Stopped":
            # The same request again, after a crash, may be answered with a task that has stopped: no poll will tell of it.
            return changed(case.status, launched, again_after=0)
        # The poller wakes a Build when its task changes; a timeout passes when nothing does.
        build = case.build.model_copy(update={"status": launched})
        return changed(
            case.status, launched, again_after=intent.wish(build, case.cache, answer, case.now).again_after or 0
        )

    def _not_now(self, case: Case, answer: Refused) -> Outcome:
        """ECS has started nothing, and may do so later."""
        message = one_line(answer.message, MESSAGE)
        if answer.reason is Reason.WAITING_FOR_CACHE and case.cache is not None:
            self._doubt(case.cache.metadata.uid)
        if overdue(case.build, case.now) >= 0:
            failure = unplaced(case.build, answer.reason, message)
            # No room, says ECS, so it knows no task with this token. Other refusals come before it looks at the token.
            full = answer.reason is Reason.WAITING_FOR_CAPACITY
            return self._end(case, failure) if full else self._give_up(case, failure)
        told = build_status.pending(case.status, answer.reason, message, case.at)
        if case.now - unlaunched_at(case.build, case.now) >= TOKEN_LIFE / 2:
            # ECS has just said that there is no task: noted now and then, so that a restart finds a note that is young.
            told = build_status.recorded(told, case.at)
        return changed(case.status, told, again_after=answer.retry_after, failed=answer.retry_after is None)

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
        """A person must change something, and may do so within timeouts.start."""
        status, message = case.status, one_line(str(error), MESSAGE)
        if error.reason is Reason.CLUSTER_NOT_FOUND and case.cache is not None:
            return self._without_cluster(case, case.cache, message)
        since = min(self._refused_since.get(case.uid, case.now), case.now)
        remember(self._refused_since, case.uid, since)
        if (case.now - since).total_seconds() >= min(seconds(case.build.spec.timeouts.start), _REFUSAL_LIMIT):
            denied = isinstance(error, Denied) or error.reason is Reason.ACCESS_DENIED
            reason = Reason.ACCESS_DENIED if denied else Reason.TASK_FAILED_TO_START
            hint = "fix the cause that the message names, then create a new Build"
            return self._give_up(case, Failed(reason, f"the task could not be started: {message}", hint=hint))
        return changed(status, build_status.pending(status, Reason.RETRYING, message, case.at), failed=True)

    def _without_cluster(self, case: Case, cache: BuildCache, message: str) -> Outcome:
        """The BuildCache's business: it shows what is wrong, and the Build waits for it."""
        self._doubt(cache.metadata.uid)
        if overdue(case.build, case.now) >= 0:
            return self._end(case, unplaced(case.build, Reason.WAITING_FOR_CACHE, message))
        told = build_status.pending(case.status, Reason.WAITING_FOR_CACHE, message, case.at)
        return changed(case.status, told, failed=True)


def _wait(case: Case, wait: Wait) -> Outcome:
    if wait.position is None or case.cache is None:
        told = build_status.pending(case.status, wait.reason, wait.message, case.at)
    else:
        limit = case.cache.spec.limits.max_concurrent_builds
        told = build_status.queued(case.status, wait.position, limit, case.at, wait.message)
    return changed(case.status, told, again_after=wait.again_after)
