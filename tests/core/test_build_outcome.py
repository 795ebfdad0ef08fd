"""Why a task stopped: the rules as a table, and that they are total."""

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.log_text import clean
from buildcache.core.status import BUILD_REASONS, ConditionType, Reason
from buildcache.core.task_outcome import explained, outcome
from buildcache.core.task_state import Task, TaskContainer

OOM = "OutOfMemoryError: Container killed due to memory usage"
EFS = (
    "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve "
    '"fs-0123.efs.eu-west-1.amazonaws.com"'
)
AUTH = (
    "ResourceInitializationError: unable to pull secrets or registry auth: AccessDeniedException: "
    "is not authorized to perform: ecr:GetAuthorizationToken"
)


def stopped(
    *containers: tuple[str, int | None, str], code: str = "EssentialContainerExited", reason: str = "", **more: Any
) -> Task:
    return Task(
        arn="arn:aws:ecs:eu-west-1:111122223333:task/builds/1",
        last_status="STOPPED",
        desired_status="STOPPED",
        stop_code=code,
        stopped_reason=reason,
        containers=tuple(TaskContainer(name, "STOPPED", exit_code, why) for name, exit_code, why in containers),
        **more,
    )


class Case(NamedTuple):
    id: str
    task: Task
    reason: Reason | None
    failure_class: str = ""
    exit_code: int | None = None


def ran(
    build: int | None, fetch: int = 0, report: int | None = 0, why: str = ""
) -> tuple[tuple[str, int | None, str], ...]:
    return ("report", report, ""), ("build", build, why), ("fetch", fetch, "")


CASES = [
    Case("everything ended with 0", stopped(*ran(0)), None),
    Case("F31: 0 although the essential sidecar failed", stopped(*ran(0, report=1)), None),
    Case(
        "T54: by name, whatever the order",
        stopped(("report", 0, ""), ("fetch", 0, ""), ("build", 1, "")),
        Reason.BUILD_STEP_FAILED,
        "User",
        1,
    ),
    Case(
        "T52: interrupted, though the process ended with 0",
        stopped(*ran(0), code="SpotInterruption"),
        Reason.INTERRUPTED,
        "Infrastructure",
        0,
    ),
    Case(
        "F33: interruption told by words only",
        stopped(*ran(0), code="", reason="Your Spot Task was interrupted."),
        Reason.INTERRUPTED,
        "Infrastructure",
        0,
    ),
    Case(
        "T52: older stop code", stopped(*ran(143), code="TerminationNotice"), Reason.INTERRUPTED, "Infrastructure", 143
    ),
    Case(
        "the host is gone",
        stopped(*ran(None), code="", reason="Host EC2 (instance i-0abc) terminated."),
        Reason.INTERRUPTED,
        "Infrastructure",
    ),
    Case("T55: out of memory", stopped(*ran(137, why=OOM)), Reason.OUT_OF_MEMORY, "User", 137),
    Case("C20, F31: 137 without a reason", stopped(*ran(137)), Reason.BUILD_STEP_FAILED, "User", 137),
    Case(
        "a step ran out of memory, the engine ends with 1",
        stopped(*ran(1, why=OOM)),
        Reason.OUT_OF_MEMORY,
        "User",
        1,
    ),
    Case("F31: 143 without a stop is the build's own", stopped(*ran(143)), Reason.BUILD_STEP_FAILED, "User", 143),
    Case(
        "T60: somebody stopped it",
        stopped(*ran(137, report=None), code="UserInitiated", reason="by admin"),
        Reason.INTERRUPTED,
        "Infrastructure",
        137,
    ),
    Case("T60: somebody stopped it before it ran", stopped(code="UserInitiated"), Reason.INTERRUPTED, "Infrastructure"),
    Case(
        "T56: it ended by itself before the stop",
        stopped(*ran(2), code="UserInitiated"),
        Reason.BUILD_STEP_FAILED,
        "User",
        2,
    ),
    Case("source not found", stopped(*ran(None, fetch=2, report=None)), Reason.SOURCE_NOT_FOUND, "User", 2),
    Case("source refused", stopped(*ran(None, fetch=3, report=None)), Reason.SOURCE_AUTH_FAILED, "User", 3),
    Case("no Dockerfile", stopped(*ran(None, fetch=4, report=None)), Reason.DOCKERFILE_NOT_FOUND, "User", 4),
    Case(
        "no Dockerfile, with the stop code of a task that did not start",
        stopped(*ran(None, fetch=4, report=None), code="TaskFailedToStart"),
        Reason.DOCKERFILE_NOT_FOUND,
        "User",
        4,
    ),
    Case("unsafe archive", stopped(*ran(None, fetch=5, report=None)), Reason.INVALID_SPEC, "User", 5),
    Case(
        "fetch ran out of memory",
        stopped(("fetch", 137, OOM), ("build", None, ""), ("report", None, "")),
        Reason.OUT_OF_MEMORY,
        "User",
        137,
    ),
    Case(
        "T60: somebody stopped it while it fetched",
        stopped(("fetch", 137, ""), ("build", None, ""), code="UserInitiated"),
        Reason.INTERRUPTED,
        "Infrastructure",
        137,
    ),
    Case(
        "the way to the source is broken",
        stopped(*ran(None, fetch=1, report=None)),
        Reason.TASK_FAILED_TO_START,
        "Infrastructure",
        1,
    ),
    Case(
        "T53: image cannot be pulled",
        stopped(
            code="TaskFailedToStart",
            reason="CannotPullContainerError: pull image manifest has been retried 1 time(s): not found",
        ),
        Reason.IMAGE_PULL_FAILED,
        "Infrastructure",
    ),
    Case(
        "T53: image of one container cannot be pulled",
        stopped(("fetch", 0, ""), ("build", None, "CannotPullContainerError: not found"), ("report", None, "")),
        Reason.IMAGE_PULL_FAILED,
        "Infrastructure",
    ),
    Case(
        "F30: file system cannot be mounted",
        stopped(code="TaskFailedToStart", reason=EFS),
        Reason.CACHE_MOUNT_FAILED,
        "Infrastructure",
    ),
    Case(
        "F30: registry refuses the execution role",
        stopped(code="TaskFailedToStart", reason=AUTH),
        Reason.ACCESS_DENIED,
        "Infrastructure",
    ),
    Case(
        "F30: no capacity",
        stopped(code="TaskFailedToStart", reason="Capacity is unavailable at this time."),
        Reason.CAPACITY_UNAVAILABLE,
        "Infrastructure",
    ),
    Case(
        "network interface",
        stopped(code="TaskFailedToStart", reason="Unexpected EC2 error while attempting to Create Network Interface"),
        Reason.TASK_FAILED_TO_START,
        "Infrastructure",
    ),
    Case(
        "A1: fetch never started, and the agent gives what depends on it a code",
        stopped(
            ("fetch", None, "CannotPullContainerError: not found"),
            (
                "build",
                143,
                "CannotStartContainerError: dependency graph: failed to resolve container ordering dependency",
            ),
            ("report", None, ""),
            reason="Essential container in task exited",
        ),
        Reason.IMAGE_PULL_FAILED,
        "Infrastructure",
    ),
    Case(
        "A1: fetch never started for want of its log driver",
        stopped(
            ("fetch", None, "CannotStartContainerError: failed to initialize logging driver"),
            ("build", 143, ""),
            reason="Essential container in task exited",
        ),
        Reason.TASK_FAILED_TO_START,
        "Infrastructure",
    ),
    Case(
        "M10: stopped from outside, and the engine ended with 0",
        stopped(*ran(0, report=None), code="UserInitiated", reason="by admin"),
        Reason.INTERRUPTED,
        "Infrastructure",
        0,
    ),
    Case("M10: 0 without a stop code", stopped(*ran(0, report=None), code=""), Reason.INTERRUPTED, "Infrastructure", 0),
    Case("T53: exit code absent", stopped(*ran(None, report=None)), Reason.TASK_FAILED_TO_START, "Infrastructure"),
    Case("T51: no containers at all", stopped(code=""), Reason.TASK_FAILED_TO_START, "Infrastructure"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_outcome_rules(case: Case) -> None:
    failed = outcome(case.task)
    if case.reason is None:
        assert failed is None
        return
    assert failed is not None
    assert (failed.reason, failed.failure_class, failed.exit_code) == (case.reason, case.failure_class, case.exit_code)
    assert failed.message
    assert failed.hint, "a failure says what to do next"


@pytest.mark.parametrize("case", [case for case in CASES if case.id.startswith("A1:")], ids=lambda case: case.id)
def test_a1_what_never_ran_is_judged_by_the_reason_of_fetch(case: Case) -> None:
    failed = outcome(case.task)
    assert failed is not None
    assert (failed.reason, failed.exit_code) == (case.reason, None)
    assert case.task.containers[0].reason in failed.message


def test_m10_a_report_proves_success_whoever_stopped_the_task() -> None:
    task = stopped(*ran(0, report=None), code="UserInitiated", reason="by admin")
    failed = outcome(task)
    assert failed is not None
    assert failed.final, "not built again: its image may be in use"
    assert outcome(task, reported=True) is None


def test_k3_kaniko_that_is_stopped_from_outside_is_interrupted() -> None:
    task = stopped(*ran(2, report=None), code="UserInitiated", reason="by admin")
    kaniko, other = outcome(task, engine="Kaniko"), outcome(task, engine="BuildKit")
    assert kaniko is not None
    assert other is not None
    assert (kaniko.reason, other.reason) == (Reason.INTERRUPTED, Reason.BUILD_STEP_FAILED)
    by_itself = outcome(stopped(*ran(2)), engine="Kaniko")
    assert by_itself is not None
    assert by_itself.reason is Reason.BUILD_STEP_FAILED


def test_c20_killed_without_a_reason_is_not_said_to_be_out_of_memory() -> None:
    failed, told = outcome(stopped(*ran(137))), outcome(stopped(*ran(137, why=OOM)))
    assert failed is not None
    assert told is not None
    assert (failed.reason, told.reason) == (Reason.BUILD_STEP_FAILED, Reason.OUT_OF_MEMORY)
    assert "no reason" in failed.message
    assert "memory" in failed.hint


KANIKO_CHECK = (
    "error checking push permissions -- make sure you entered the correct tag name, and that you are authenticated correctly, "
    'and try again: checking push permission for "r/web:1": POST https://r/v2/web/blobs/uploads/: '
)
KANIKO_PUSH = "error pushing image: failed to push to destination r/web:1: PUT https://r/v2/web/manifests/1: "


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ("#12 ERROR: failed to copy: write /tmp/x: no space left on device", Reason.OUT_OF_DISK),
        ("ERROR: failed to push r/web:1: denied: User is not authorized to perform: ecr:PutImage", Reason.PUSH_DENIED),
        ("error pushing image: unexpected status code 403 Forbidden", Reason.PUSH_DENIED),
        ("npm ERR! 403 Forbidden - GET https://registry.example/left-pad", Reason.BUILD_STEP_FAILED),
        ("no space left on device\n" + "ok\n" * 9 + "ERROR: exit code: 2", Reason.BUILD_STEP_FAILED),
        ("", Reason.BUILD_STEP_FAILED),
    ],
)
def test_log_tells_what_an_exit_code_cannot(tail: str, reason: Reason) -> None:
    failed = outcome(stopped(*ran(1)))
    assert failed is not None
    assert explained(failed, tail).reason is reason


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (
            f"{KANIKO_CHECK}NAME_UNKNOWN: The repository with name 'web' does not exist in the registry",
            "create the repository",
        ),
        (f"{KANIKO_CHECK}UNAUTHORIZED: Not Authorized", "ecr:GetAuthorizationToken"),
        (f"{KANIKO_CHECK}unexpected status code 401 Unauthorized: Not Authorized", "ecr:GetAuthorizationToken"),
        (f"{KANIKO_CHECK}DENIED: User is not authorized to perform: ecr:InitiateLayerUpload", "task role"),
        (
            f"{KANIKO_PUSH}TAG_INVALID: The image tag '1' already exists in the 'web' repository and cannot be overwritten "
            "because the tag is immutable.",
            "new tag",
        ),
        (
            "ERROR: failed to push r/web:1: name unknown: The repository with name 'web' does not exist",
            "create the repository",
        ),
    ],
    ids=["Kaniko: no repository", "Kaniko: login", "Kaniko: 401", "Kaniko: denied", "Kaniko: immutable", "BuildKit"],
)
def test_k4_refused_push_has_the_hint_that_helps(line: str, hint: str) -> None:
    failed = outcome(stopped(*ran(1)))
    assert failed is not None
    told = explained(failed, f"INFO[0001] Retrieving image\n{line}")
    assert told.reason is Reason.PUSH_DENIED
    assert hint in told.hint


@pytest.mark.parametrize(
    "answer",
    [
        "unexpected status code 429 Too Many Requests",
        "TOOMANYREQUESTS: Rate exceeded",
        "unexpected status code 503 Service Unavailable",
        'Post "https://r/v2/web/blobs/uploads/": EOF',
    ],
)
def test_k4_registry_in_trouble_at_the_first_check_is_infrastructure(answer: str) -> None:
    failed = outcome(stopped(*ran(1)))
    assert failed is not None
    told = explained(failed, KANIKO_CHECK + answer)
    assert (told.reason, told.failure_class, told.final) == (Reason.TASK_FAILED_TO_START, "Infrastructure", False)


@pytest.mark.parametrize(
    "log",
    [
        "could not connect to unix:///run/buildkit/buildkitd.sock after 10 trials\n========== log ==========\n"
        + 'time="2026-11-24T10:00:00Z" level=warning msg="using host network as the default"\n' * 20,
        'ERROR: failed to list workers: Unavailable: connection error: desc = "transport: error while dialing: '
        'dial unix /run/buildkit/buildkitd.sock: connect: no such file or directory"',
        "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    ],
    ids=["daemonless", "daemon of the host", "Docker"],
)
def test_a3_engine_that_is_not_there_is_infrastructure(log: str) -> None:
    failed = outcome(stopped(*ran(1)))
    assert failed is not None
    told = explained(failed, log)
    assert (told.reason, told.failure_class, told.final) == (Reason.TASK_FAILED_TO_START, "Infrastructure", False)
    step = "#9 0.1 could not connect to unix:///run/buildkit/buildkitd.sock after 10 trials\nERROR: exit code: 1"
    assert explained(failed, step).reason is Reason.BUILD_STEP_FAILED, "what a step prints has a prefix"


def test_log_changes_no_other_verdict() -> None:
    failed = outcome(stopped(*ran(137, why=OOM)))
    assert failed is not None
    assert explained(failed, "no space left on device").reason is Reason.OUT_OF_MEMORY


def test_last_words_are_in_the_message() -> None:
    failed = outcome(stopped(*ran(None, fetch=2, report=None)))
    assert failed is not None
    assert explained(failed, "cloning\nno object s3://b/k\n").message == "the source was not found: no object s3://b/k"
    assert explained(failed, "") is failed


texts = st.one_of(
    st.text(max_size=60), st.sampled_from([OOM, EFS, "CannotPullContainerError", "Your Spot Task was interrupted."])
)
containers = st.builds(
    TaskContainer,
    name=st.sampled_from(["fetch", "build", "report", "other"]),
    exit_code=st.none() | st.integers(-1, 255),
    reason=texts,
)
tasks = st.builds(
    Task,
    arn=st.just("arn"),
    last_status=st.just("STOPPED"),
    stop_code=st.sampled_from(
        ["", "UserInitiated", "TaskFailedToStart", "EssentialContainerExited", "SpotInterruption", "New"]
    ),
    stopped_reason=texts,
    containers=st.lists(containers, max_size=4).map(tuple),
)


@given(tasks)
def test_outcome_is_total_and_success_needs_exit_code_0_of_build(task: Task) -> None:
    failed = outcome(task)
    if failed is None:
        assert task.exit_code("build") == 0
    else:
        assert failed.reason in BUILD_REASONS[ConditionType.STALLED]
        assert len(failed.message) <= 1024
        assert clean(failed.message) == failed.message
