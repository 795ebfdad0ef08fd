"""The two ends of a Build as status: an image or a failure, the times, what the cache was worth. Pure; asked by the Build pass.

An end is written once: neither function changes a status that has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from buildcache.api.build import Build, CacheMode
from buildcache.api.build_status import BuildStatus, CacheResult, Failure, Image, Logs, SourceStatus, Steps, Timing
from buildcache.api.meta import Condition, Metadata

from .build import Finished, created_at, is_terminal, moment
from .build_status import UNMOUNTED, Stamp, closed, with_, with_attempt
from .report import Report
from .status import (
    ConditionType,
    Reason,
    find_condition,
    remove_condition,
    set_condition,
    set_settled,
    set_stalled,
    timestamp,
)
from .task_outcome import Failed
from .task_state import Task, TaskRef
from .tasks import FETCH

_MESSAGE, _HINT = 1024, 512
"""Bounds of the failure's message and hint: those of the schema."""

_SKEW = timedelta(minutes=1)
"""How far the clocks of ECS and of the task's machine may differ."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known at the end, each part as far as there is one."""

    task: Task | None = None
    report: Report | None = None
    log_tail: str = ""
    history: Sequence[Finished] = ()


def succeeded(status: BuildStatus, build: Build, evidence: Evidence, at: Stamp) -> BuildStatus:
    """There is an image. Terminal, so it changes nothing of a status that is."""
    if is_terminal(status.conditions):
        return status
    report = evidence.report or Report()
    cache = _cache_result(status.cache, build, report, evidence.history)
    conditions = _cache_used(status.conditions, cache, report, build.spec.cache.mode, at)
    conditions = set_condition(
        conditions,
        ConditionType.SUCCEEDED,
        True,
        Reason.COMPLETED,
        _summary(report, evidence.report is not None),
        generation=at.generation,
        now=at.now,
    )
    image = Image(
        digest=report.digest,
        references=build.spec.output.images if build.spec.output.push else (),
        size_bytes=report.size_bytes,
    )
    return with_(
        _ended(status, build.metadata, evidence, at),
        at,
        image=image,
        cache=cache,
        conditions=set_settled(conditions),
    )


def failed(status: BuildStatus, metadata: Metadata, failure: Failed, evidence: Evidence, at: Stamp) -> BuildStatus:
    """There is no image. Terminal, so it changes nothing of a status that is."""
    if is_terminal(status.conditions):
        return status
    conditions = set_condition(
        status.conditions,
        ConditionType.SUCCEEDED,
        False,
        failure.reason,
        failure.message,
        generation=at.generation,
        now=at.now,
    )
    told: Failure | None = None
    if failure.reason is Reason.CANCELLED:
        # It was asked for: nothing has failed, and there is nothing to do.
        conditions = set_settled(conditions)
    else:
        conditions = set_stalled(
            conditions, failure.reason, failure.hint or failure.message, generation=at.generation, now=at.now
        )
        told = Failure(
            class_=failure.failure_class,
            reason=failure.reason.value,
            exit_code=failure.exit_code,
            message=failure.message[:_MESSAGE],
            log_tail=evidence.log_tail or None,
            hint=failure.hint[:_HINT] or None,
        )
    logs = status.logs
    if evidence.task is not None and failure.explained_by == FETCH and logs is not None:
        # The build container never ran: the log that explains the end is the other one.
        ref = TaskRef.parse(evidence.task.arn)
        logs = Logs(group=logs.group, stream=ref.stream(FETCH)) if ref else logs
    return with_(
        _ended(status, metadata, evidence, at, exit_code=failure.exit_code),
        at,
        failure=told,
        logs=logs,
        conditions=conditions,
    )


def _ended(
    status: BuildStatus, metadata: Metadata, evidence: Evidence, at: Stamp, exit_code: int | None = None
) -> BuildStatus:
    """What both ends have: the attempt's row, the times, the source."""
    task, report = evidence.task, evidence.report
    if task is not None and status.attempts:
        status = with_attempt(status, closed(status.attempts[-1], task, exit_code, at))
    created = created_at(metadata, at.now)
    # A row without a task is the note that there was none.
    first = status.attempts[0] if status.attempts and status.attempts[0].task_arn else None
    timing = Timing(
        queued_seconds=_between(created, moment(first.started_at) if first else None),
        provisioning_seconds=_between(task.created_at, _first_start(task, report, at.now)) if task else None,
        source_seconds=report.source_seconds if report else None,
        build_seconds=report.build_seconds if report else None,
        total_seconds=_between(created, (task.stopped_at if task else None) or at.now),
    )
    source = SourceStatus(commit=report.commit) if report is not None and report.commit else status.source
    return with_(status, at, timing=timing, source=source, completion_time=timestamp(at.now))


def _summary(report: Report, there: bool) -> str:
    if not there:
        return "built; the report is missing, so digest and use of the cache are not known"
    parts = [f"built {report.digest}" if report.digest else "built"]
    if report.build_seconds is not None:
        parts.append(f"in {report.build_seconds} s")
    if report.steps is not None:
        total, cached = report.steps
        parts.append(f"with {cached} of {total} steps from the cache")
    return " ".join(parts)


def _cache_result(
    known: CacheResult | None, build: Build, report: Report, history: Sequence[Finished]
) -> CacheResult | None:
    known = known or CacheResult()
    update: dict[str, Any] = {"imported": report.imported, "exported": report.exported}
    if report.steps is not None:
        total, cached = report.steps
        update["steps"] = Steps(total=total, cached=cached)
        update["hit_percent"] = 100 * cached // total if total else None
        update["saved_seconds"] = saved_seconds(build.spec.service, report, history)
    if known.reason is None and (trouble := _cache_trouble(report)) is not None:
        update["reason"] = trouble[0].value
    return known.model_copy(update=update)


def saved_seconds(service: str, report: Report, history: Sequence[Finished]) -> int | None:
    """How much shorter the build was than the last cold one of the same service; None when there is nothing to compare."""
    if report.build_seconds is None or report.steps is None or report.steps[1] == 0:
        return None
    for past in reversed(history):
        if past.service == service and past.cold and past.build_seconds is not None:
            return max(0, past.build_seconds - report.build_seconds)
    return None


def _cache_trouble(report: Report) -> tuple[Reason, str] | None:
    if report.import_error:
        return Reason.IMPORT_FAILED, report.import_error
    if report.export_error:
        return Reason.EXPORT_FAILED, report.export_error
    return None


def _cache_used(
    conditions: Sequence[Condition], cache: CacheResult | None, report: Report, mode: CacheMode, at: Stamp
) -> tuple[Condition, ...]:
    known = find_condition(conditions, ConditionType.CACHE_USED)
    if known is not None and known.status == "False":
        return tuple(conditions)
    unmounted = f"; {known.message}" if known is not None and known.message.startswith(UNMOUNTED) else ""
    if trouble := _cache_trouble(report):
        used, (reason, message) = False, trouble
    elif report.steps is None:
        # Not known: no condition is better than one that guesses.
        return remove_condition(conditions, ConditionType.CACHE_USED)
    else:
        used, reason = True, _worth(*report.steps)
        message = "; ".join(_told(cache, report, reason, mode))
    message += unmounted
    return set_condition(
        conditions, ConditionType.CACHE_USED, used, reason, message, generation=at.generation, now=at.now
    )


def _worth(total: int, cached: int) -> Reason:
    if total == 0:
        return Reason.NOTHING_TO_CACHE
    return Reason.COLD if cached == 0 else Reason.HIT if cached == total else Reason.PARTIAL_HIT


def _told(cache: CacheResult | None, report: Report, reason: Reason, mode: CacheMode) -> Iterator[str]:
    """What the message of a cache that was used says, part by part."""
    total, cached = report.steps or (0, 0)
    if reason is Reason.NOTHING_TO_CACHE:
        yield "the build has no step that this engine caches"
    else:
        yield f"{cached} of {total} steps from {cache.ref if cache and cache.ref else 'the cache'}"
    if report.steps_of_the_end:
        yield "the log is too long to be read whole, so the numbers are of its end"
    if reason is Reason.COLD and mode == "ReadOnly" and report.engine == "Kaniko":
        # It takes whatever keeps it from a layer for a layer that is not there, and of a build that writes nothing no push tells more.
        yield "Kaniko does not tell a cache that it cannot read from one that has no such layer"
    if report.doubt:
        yield report.doubt


def _first_start(task: Task, report: Report | None, now: datetime) -> datetime | None:
    """When the task's first container began.

    ECS tells only when the last one did, which in a build's task is at its very end; the report knows better. It comes from a place
    where user code ran: a moment outside the task's life is not believed.
    """
    if report is None or report.started_at is None or task.created_at is None:
        return task.started_at
    within = task.created_at - _SKEW <= report.started_at <= (task.stopped_at or now) + _SKEW
    return report.started_at if within else task.started_at


def _between(earlier: datetime | None, later: datetime | None) -> int | None:
    """Whole seconds; clocks of two machines may differ, so never below zero."""
    if earlier is None or later is None:
        return None
    return max(0, int((later - earlier).total_seconds()))
