"""Why a task stopped, from what ECS says of it: the rules and their order. The Build pass asks once the task is STOPPED.

Order matters. An interruption comes first, because a process that traps SIGTERM ends with 0. Exit codes come before the stop code,
because what a container itself did is surer than ECS's summary of the task. Containers are told apart by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .log_text import one_line
from .status import INFRASTRUCTURE_REASONS, POLICY_REASONS, Reason
from .task_state import Task, TaskContainer
from .tasks import BUILD, FETCH

FailureClass = Literal["User", "Infrastructure", "Policy"]

MESSAGE_LIMIT = 512
"""ECS's own words, as far as they go into a message."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a Build that has no image. `explained_by`: the container whose log tells people more."""

    reason: Reason
    message: str
    exit_code: int | None = None
    explained_by: str | None = None
    hint: str = ""
    final: bool = False
    """Not to be tried again, although the reason would allow it."""

    @property
    def failure_class(self) -> FailureClass:
        """Whose the failure is; retries look at this."""
        if self.reason in INFRASTRUCTURE_REASONS:
            return "Infrastructure"
        return "Policy" if self.reason in POLICY_REASONS else "User"


_INTERRUPTED_CODES = frozenset({"SpotInterruption", "TerminationNotice", "InfrastructureHealth"})
_INTERRUPTED = re.compile(
    r"Your Spot Task was interrupted|Host EC2 \(instance .+\) (stopped|terminated)", re.IGNORECASE
)

_FETCH: Mapping[int, tuple[Reason, str, str]] = {
    2: (
        Reason.SOURCE_NOT_FOUND,
        "the source was not found",
        "check spec.source: the repository and revision, or the bucket, key and version, must exist",
    ),
    3: (
        Reason.SOURCE_AUTH_FAILED,
        "access to the source was refused",
        "the executor's task role must be allowed to read the source",
    ),
    4: (
        Reason.DOCKERFILE_NOT_FOUND,
        "the Dockerfile was not found in the source",
        "check spec.contextDir and spec.dockerfile: dockerfile is relative to contextDir",
    ),
    5: (
        Reason.INVALID_SPEC,
        "the source was refused: a path leaves the source tree",
        "make the archive again without absolute paths, '..' and links that leave it",
    ),
}
"""Exit codes of the runner's `fetch`, which are a contract with it; any other is trouble on the way to the source."""

_START_RULES: tuple[tuple[re.Pattern[str], Reason, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), reason, hint)
    for pattern, reason, hint in (
        (
            r"OutOfMemory",
            Reason.OUT_OF_MEMORY,
            "raise the executor's memory in the BuildCache",
        ),
        (
            r"AccessDenied|is not authorized to perform|unable to assume the role",
            Reason.ACCESS_DENIED,
            "grant the missing permission to the executor's execution role, or to its task role for the file system",
        ),
        (
            r"CannotPull|CannotPullContainer|registry auth|pull image manifest",
            Reason.IMAGE_PULL_FAILED,
            "the image must exist and be reachable from the subnets, and the execution role must be allowed to pull it",
        ),
        (
            r"ResourceInitializationError.*(EFS|mount)|failed to mount|mount\.nfs",
            Reason.CACHE_MOUNT_FAILED,
            "check the file system's mount targets, the rule for port 2049 and the VPC's DNS settings; "
            "a new mount target needs 90 s until its name resolves",
        ),
        (
            r"Capacity is unavailable|RESOURCE:|EMPTY CAPACITY PROVIDER|insufficient .*capacity",
            Reason.CAPACITY_UNAVAILABLE,
            "the cluster has no room for a task of this size",
        ),
    )
)
"""Text of stoppedReason, or of a container's reason, when a task or container never ran: the first match decides."""

_KILLED = 137
_TERMINATED = 143


def outcome(task: Task) -> Failed | None:
    """Judge a stopped task: None when the build container ended with 0, so that there is an image.

    What we ourselves asked for (a deletion, a cancel, a timeout) must be looked at before: a task that we stopped has no say.
    """
    if task.stop_code in _INTERRUPTED_CODES or _INTERRUPTED.search(task.stopped_reason):
        return Failed(
            Reason.INTERRUPTED,
            _said("the task was interrupted", task.stopped_reason or task.stop_code),
            exit_code=task.exit_code(BUILD),
            hint="the capacity was taken away, nothing is wrong with the build: create the Build again",
        )
    fetch = task.container(FETCH)
    if fetch is not None and fetch.exit_code:
        return _fetch_failed(task, fetch, fetch.exit_code)
    build = task.container(BUILD)
    if build is not None and build.exit_code is not None:
        return _build_ended(task, build, build.exit_code)
    if task.stop_code == "UserInitiated":
        return _stopped_by_others(task, None)
    return _never_ran(task)


def _fetch_failed(task: Task, fetch: TaskContainer, code: int) -> Failed:
    if _out_of_memory(fetch):
        return _memory(fetch, code, FETCH)
    if code in _FETCH:
        reason, message, hint = _FETCH[code]
        return Failed(reason, message, exit_code=code, explained_by=FETCH, hint=hint)
    if task.stop_code == "UserInitiated":
        return _stopped_by_others(task, code)
    return Failed(
        Reason.TASK_FAILED_TO_START,
        _said(f"the source could not be fetched (exit code {code})", fetch.reason),
        exit_code=code,
        explained_by=FETCH,
        hint="the way to the source failed, not the source itself: see the log, then create the Build again",
    )


def _build_ended(task: Task, build: TaskContainer, code: int) -> Failed | None:
    if code == 0:
        # Also when the container `report` failed afterwards: the image is there, only the numbers are not.
        return None
    if _out_of_memory(build):
        return _memory(build, code, BUILD)
    if task.stop_code == "UserInitiated" and code in (_KILLED, _TERMINATED):
        return _stopped_by_others(task, code)
    if code == _KILLED:
        # Nobody asked for the stop, so the kernel killed it; the agent does not always say why (F31).
        return _memory(build, code, BUILD)
    return Failed(
        Reason.BUILD_STEP_FAILED,
        _said(f"the build failed with exit code {code}", build.reason),
        exit_code=code,
        explained_by=BUILD,
        hint="see failure.logTail, or the whole log at status.logs",
    )


def _out_of_memory(container: TaskContainer) -> bool:
    return "outofmemory" in container.reason.lower()


def _memory(container: TaskContainer, code: int, name: str) -> Failed:
    return Failed(
        Reason.OUT_OF_MEMORY,
        _said(f"the container {name} was killed for want of memory (exit code {code})", container.reason),
        exit_code=code,
        explained_by=name,
        hint="raise the executor's memory in the BuildCache, or build with less in parallel",
    )


def _stopped_by_others(task: Task, code: int | None) -> Failed:
    return Failed(
        Reason.INTERRUPTED,
        _said("the task was stopped from outside the operator", task.stopped_reason),
        exit_code=code,
        hint="somebody or something called StopTask: CloudTrail says who; then create the Build again",
        final=True,
    )


def _never_ran(task: Task) -> Failed:
    """No exit code of the build container: it never ran, or ECS lost sight of it. Never a success."""
    words = [task.stopped_reason, *(container.reason for container in task.containers if container.exit_code is None)]
    for pattern, reason, hint in _START_RULES:
        said = next((text for text in words if pattern.search(text)), None)
        if said is not None:
            return Failed(reason, _said("the task did not start", said), hint=hint)
    said = next((text for text in words if text), "")
    return Failed(
        Reason.TASK_FAILED_TO_START,
        _said("the build container never ran or left no exit code", said or task.stop_code),
        hint="ECS's own words are in the message; create the Build again when the cause is gone",
    )


def _said(what: str, words: str) -> str:
    said = one_line(words, MESSAGE_LIMIT)
    return f"{what}: {said}" if said else what


_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_PUSH = re.compile(r"push|export", re.IGNORECASE)
_PUSH_DENIED = re.compile(
    r"denied|403 Forbidden|401 Unauthorized|no basic auth credentials|not authorized to perform|insufficient_scope|"
    r"authorization failed",
    re.IGNORECASE,
)
_ERRORS = 5
"""Lines at the log's end that are looked at: an engine says last what it died of."""

_LAST_WORDS = 256


def explained(failed: Failed, log_tail: str) -> Failed:
    """The same failure with what only the log tells: its last words, a full disk, a refused push."""
    lines = [line for line in log_tail.split("\n") if line.strip()][-_ERRORS:]
    if not lines:
        return failed
    if failed.reason is Reason.BUILD_STEP_FAILED:
        if any(_DISK.search(line) for line in lines):
            return replace(
                failed,
                reason=Reason.OUT_OF_DISK,
                message="the task's disk is full",
                hint="raise ephemeralStorageGiB on Fargate, or the disk of the cluster's instances",
            )
        denied = next((line for line in lines if _PUSH.search(line) and _PUSH_DENIED.search(line)), None)
        if denied is not None:
            return replace(
                failed,
                reason=Reason.PUSH_DENIED,
                message=_said("the registry refused the push", denied),
                hint="the executor's task role must be allowed to push to spec.output.images, and the repository must exist",
            )
    return replace(failed, message=f"{failed.message}: {one_line(lines[-1], _LAST_WORDS)}")
