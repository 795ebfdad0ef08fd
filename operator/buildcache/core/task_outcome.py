"""Why a task stopped, from what ECS reports: the rules and their order. The Build pass asks once the task is STOPPED.

Order matters. An interruption comes first, because a process that traps SIGTERM ends with 0. Then a build container that never ran,
whatever exit code ECS gives it. Exit codes come before the stop code, because what a container itself did is surer than ECS's summary of
the task. Containers are told apart by name.
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
_KANIKO_TERMINATED = ("Kaniko", 2)
"""Kaniko is the first process of its container and does not handle SIGTERM, which ends a Go program with 2."""

_BY_ITSELF = "EssentialContainerExited"


def outcome(task: Task, *, engine: str = "", reported: bool = False) -> Failed | None:
    """Why the task failed; None when its build succeeded. `reported`: the build's report has been read."""
    if task.stop_code in _INTERRUPTED_CODES or _INTERRUPTED.search(task.stopped_reason):
        return Failed(
            Reason.INTERRUPTED,
            _said("the task was interrupted", task.stopped_reason or task.stop_code),
            exit_code=task.exit_code(BUILD),
            hint="ECS took the capacity away; nothing is wrong with the build. Create a new Build",
        )
    fetch = task.container(FETCH)
    if fetch is not None and fetch.exit_code:
        return _fetch_failed(task, fetch, fetch.exit_code)
    build = task.container(BUILD)
    if build is not None and build.exit_code == 0:
        if reported or task.stop_code == _BY_ITSELF:
            # Also when the container `report` failed afterwards: the engine has finished, only the numbers are missing.
            return None
        # An engine that is stopped may end with 0 and have pushed nothing.
        return _stopped_by_others(task, 0)
    if build is not None and build.exit_code is not None and (fetch is None or fetch.exit_code is not None):
        return _build_failed(task, build, build.exit_code, engine)
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
        hint="the source itself may be right, but it could not be reached: see the log, then create a new Build",
    )


def _build_failed(task: Task, build: TaskContainer, code: int, engine: str) -> Failed:
    if _out_of_memory(build):
        return _memory(build, code, BUILD)
    if task.stop_code == "UserInitiated" and (code in (_KILLED, _TERMINATED) or (engine, code) == _KANIKO_TERMINATED):
        return _stopped_by_others(task, code)
    if code == _KILLED:
        return Failed(
            Reason.BUILD_STEP_FAILED,
            _said("the build container was killed (exit code 137) and ECS gives no reason", build.reason),
            exit_code=code,
            explained_by=BUILD,
            hint="most likely it ran out of memory: raise the executor's memory in the BuildCache. If that does not help, "
            "look for the kernel's OOM killer in the log of the container instance",
        )
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
        _said(f"the container {name} ran out of memory (exit code {code})", container.reason),
        exit_code=code,
        explained_by=name,
        hint="raise the executor's memory in the BuildCache, or let the build do less in parallel",
    )


def _stopped_by_others(task: Task, code: int | None) -> Failed:
    return Failed(
        Reason.INTERRUPTED,
        _said("the task was stopped from outside the operator", task.stopped_reason),
        exit_code=code,
        hint="CloudTrail shows who called StopTask. Then create a new Build",
        final=True,
    )


def _never_ran(task: Task) -> Failed:
    """The build container never ran, or ECS lost sight of it. Never a success.

    Where `fetch` did not start, its reason is the cause: the agent gives containers that depend on it an exit code of their own (143).
    """
    fetch = task.container(FETCH)
    first = fetch.reason if fetch is not None and fetch.exit_code is None else ""
    words = [first, task.stopped_reason, *(each.reason for each in task.containers if each.exit_code is None)]
    for pattern, reason, hint in _START_RULES:
        said = next((text for text in words if pattern.search(text)), None)
        if said is not None:
            return Failed(reason, _said("the task did not start", said), hint=hint)
    said = next((text for text in words if text), "")
    return Failed(
        Reason.TASK_FAILED_TO_START,
        _said("the build container never ran or left no exit code", said or task.stop_code),
        hint="the message has ECS's own words: fix the cause, then create a new Build",
    )


def _said(what: str, words: str) -> str:
    said = one_line(words, MESSAGE_LIMIT)
    return f"{what}: {said}" if said else what


_DISK = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_NO_ENGINE = re.compile(
    r"could not connect to \S*buildkitd?\.sock after \d+ trials"
    r"|(?:error|ERROR): .*dial unix \S*buildkitd\.sock"
    r"|(?:error|ERROR): Cannot connect to the Docker daemon"
)
"""The engine's client found no daemon, at the start of a line: what a step of the Dockerfile prints has a prefix."""

_FIRST_CHECK = re.compile(
    r"error checking push permissions.*"
    r"(?:status code (?:429|5\d\d)|TOOMANYREQUESTS|: EOF|i/o timeout|TLS handshake timeout|connection re(?:set|fused))",
    re.IGNORECASE,
)
"""Kaniko asks the registry for permission before it builds, and ends where it gets no answer."""

_PUSH = re.compile(r"push|export", re.IGNORECASE)
_PUSH_REFUSED: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), message, hint)
    for pattern, message, hint in (
        (
            r"TAG[_ ]INVALID|(?:tag|repository) is immutable",
            "the tag exists already and the repository does not let it change",
            "use a new tag in spec.output.images, or make the tags of the repository mutable",
        ),
        (
            r"NAME[_ ]UNKNOWN|repository .*does not exist|RepositoryNotFound",
            "the repository of the image does not exist",
            "create the repository that spec.output.images names; a registry like ECR does not do it by itself",
        ),
        (
            r"UNAUTHORIZED|401 Unauthorized|no basic auth credentials|authorization failed",
            "the registry did not accept the credentials",
            "ECR: check region and account in spec.output.images, and that the executor's task role may get a login "
            "(ecr:GetAuthorizationToken). The operator logs in to ECR only",
        ),
        (
            r"denied|403 Forbidden|not authorized to perform|insufficient_scope",
            "the registry refused the push",
            "the executor's task role must be allowed to push to spec.output.images",
        ),
    )
)
"""What a registry answers to a push that it refuses: the first match decides. Kaniko prints its code, BuildKit its status too."""

_ERRORS = 5
"""Lines at the log's end that are looked at: an engine says last what it died of."""

_LAST_WORDS = 256


def explained(failed: Failed, log: str) -> Failed:
    """The same failure with what only the log tells: its last words, a full disk, a refused push, an engine that is not there."""
    lines = [line for line in log.split("\n") if line.strip()]
    if not lines:
        return failed
    last = lines[-_ERRORS:]
    if failed.reason is Reason.BUILD_STEP_FAILED:
        # buildctl prints the daemon's log after this line.
        if (words := next((line for line in lines if _NO_ENGINE.match(line)), None)) is not None:
            return replace(
                failed,
                reason=Reason.TASK_FAILED_TO_START,
                message=_said("the build engine did not start", words),
                hint="see the engine's log at status.logs; with buildkit.socketPath, check that buildkitd runs on the instance",
            )
        if (words := next((line for line in last if _FIRST_CHECK.search(line)), None)) is not None:
            return replace(
                failed,
                reason=Reason.TASK_FAILED_TO_START,
                message=_said("the registry did not answer before the build", words),
                hint="the registry throttles or has trouble of its own: create a new Build later",
            )
        if any(_DISK.search(line) for line in last):
            return replace(
                failed,
                reason=Reason.OUT_OF_DISK,
                message="the task's disk is full",
                hint="raise ephemeralStorageGiB on Fargate, or the disk of the cluster's instances",
            )
        for words in (line for line in last if _PUSH.search(line)):
            for pattern, message, hint in _PUSH_REFUSED:
                if pattern.search(words):
                    return replace(failed, reason=Reason.PUSH_DENIED, message=_said(message, words), hint=hint)
    return replace(failed, message=f"{failed.message}: {one_line(lines[-1], _LAST_WORDS)}")
