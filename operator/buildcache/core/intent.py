"""Whether the operator stops a task: its Build was cancelled, or a timeout has passed. Pure; asked by the Build pass.

The reason is noted in the attempt's row before StopTask, and decides the outcome: a task that we stopped may end with any code, or with
none (trap T58). A task that ended by itself in that moment keeps its own end (trap T56).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from buildcache.api.build import Build
from buildcache.api.build_status import Attempt, StopRequest
from buildcache.api.cache import BuildCache
from buildcache.api.meta import seconds

from .build import moment
from .status import Reason, timestamp
from .task_outcome import Failed
from .task_state import Task
from .tasks import BUILD

STOPPED_BY = "buildcache-operator: "
"""How the reason of each of our StopTask calls begins; ECS shows it as the task's stoppedReason."""

WHY = {
    Reason.CANCELLED: "spec.cancel is true",
    Reason.START_TIMEOUT: "no container ran within timeouts.start",
    Reason.RUN_TIMEOUT: "it ran longer than its timeout",
}


TIMEOUTS = frozenset({Reason.START_TIMEOUT, Reason.RUN_TIMEOUT})
"""Reasons that depend on the clock: looked at again before StopTask."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The reason to stop the task now, or the time until the next deadline."""

    reason: Reason | None = None
    again_after: float | None = None


def wish(build: Build, cache: BuildCache | None, task: Task, now: datetime) -> Wish:
    """Compare a task that has not stopped with what the Build allows it."""
    if build.spec.cancel:
        return Wish(Reason.CANCELLED)
    row = build.status.attempts[-1] if build.status.attempts else None
    begun = task.created_at or moment(row.started_at if row is not None else None) or now
    start = timedelta(seconds=seconds(build.spec.timeouts.start))
    if task.phase == "Provisioning":
        return _until(begun + start, Reason.START_TIMEOUT, now)
    # As we noted it; a note that is lost, and made again later, gives no more time than the task could have had at most.
    since = moment(row.running_at if row is not None else None) or task.started_at or now
    return _until(min(since, begun + start) + run_timeout(build, cache), Reason.RUN_TIMEOUT, now)


def run_timeout(build: Build, cache: BuildCache | None) -> timedelta:
    """How long the Build may run: what it asks for, up to its cache's limit."""
    asked = seconds(build.spec.timeouts.run)
    return timedelta(seconds=asked if cache is None else min(asked, seconds(cache.spec.limits.max_run_timeout)))


def request(reason: Reason, now: datetime) -> StopRequest:
    """The note for the attempt's row."""
    return StopRequest(reason=reason.value, requested_at=timestamp(now))


def noted(row: Attempt | None) -> Reason | None:
    """Why we wanted the attempt to stop; None when we did not, or when the note is none of ours."""
    told = row.stop_request.reason if row is not None and row.stop_request is not None else ""
    return next((reason for reason in WHY if reason == told), None)


def intended(row: Attempt | None, task: Task) -> Failed | None:
    """The outcome of a task that we stopped; None when it ended by itself, or for another reason."""
    reason = noted(row)
    by_itself = task.stop_code == "EssentialContainerExited" and not task.stopped_reason.startswith(STOPPED_BY)
    return None if reason is None or by_itself else end(reason, task.exit_code(BUILD))


def end(reason: Reason, exit_code: int | None = None) -> Failed:
    """How a Build ends that we stopped."""
    if reason is Reason.CANCELLED:
        return Failed(reason, "cancelled: spec.cancel is true", exit_code=exit_code)
    if reason is Reason.START_TIMEOUT:
        return Failed(
            reason,
            "the task was stopped: no container ran within timeouts.start",
            exit_code=exit_code,
            hint="see the task in ECS: placement, image pulls and mounts take this time; timeouts.start allows more",
        )
    return Failed(
        reason,
        "the task was stopped: it ran longer than timeouts.run and the BuildCache's limits.maxRunTimeout allow",
        exit_code=exit_code,
        explained_by=BUILD,
        hint="raise timeouts.run, up to limits.maxRunTimeout of the BuildCache, or make the build quicker",
    )


def _until(deadline: datetime, reason: Reason, now: datetime) -> Wish:
    left = (deadline - now).total_seconds()
    return Wish(reason) if left <= 0 else Wish(again_after=left)
