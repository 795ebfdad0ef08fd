"""The task and log drivers: what ECS and CloudWatch answer, as values."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from buildcache.aws import task_logs, tasks
from buildcache.aws.tasks import Refused
from buildcache.core import kaniko_log
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.status import Reason
from buildcache.core.task_state import Task, TaskContainer

ARN = "arn:aws:ecs:eu-west-1:111122223333:task/builds/{}"
REQUEST = {"cluster": "builds", "taskDefinition": "family:1", "clientToken": "token", "startedBy": "uid"}
MADE = datetime(2026, 3, 1, tzinfo=UTC)


def client(service: str) -> Any:
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="eu-west-1")
    return session.client(service)


@pytest.fixture
def ecs() -> Any:
    return client("ecs")


@pytest.fixture
def answers(ecs: Any) -> Any:
    with Stubber(ecs) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def test_first_answer_of_run_task_has_little_in_it(ecs: Any, answers: Stubber) -> None:
    answers.add_response(
        "run_task", {"tasks": [{"taskArn": ARN.format(1), "startedBy": "uid"}], "failures": []}, REQUEST
    )
    task = tasks.run_task(ecs, REQUEST)
    assert isinstance(task, Task)
    assert (task.phase, task.containers) == ("Provisioning", ())


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ([{"reason": "RESOURCE:MEMORY", "arn": "a"}, {"reason": "RESOURCE:MEMORY", "arn": "b"}], "RESOURCE:MEMORY"),
        ([{"reason": "Capacity is unavailable at this time."}], "Capacity is unavailable at this time."),
        ([], "ECS started no task"),
    ],
)
def test_t49_f23_good_answer_without_task_is_a_refusal(ecs: Any, answers: Stubber, failures: Any, message: str) -> None:
    answers.add_response("run_task", {"tasks": [], "failures": failures})
    assert tasks.run_task(ecs, REQUEST) == Refused(Reason.WAITING_FOR_CAPACITY, message)


def test_t07_f25_conflict_gives_the_task_of_the_token(ecs: Any, answers: Stubber) -> None:
    answers.add_client_error(
        "run_task", "ConflictException", "in use", 400, modeled_fields={"resourceIds": [ARN.format(7)]}
    )
    assert tasks.run_task(ecs, REQUEST) == Task(arn=ARN.format(7), started_by="uid")


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("ThrottlingException", "Rate exceeded", Reason.THROTTLED),
        (
            "InvalidParameterException",
            "No Container Instances were found in your cluster.",
            Reason.WAITING_FOR_CAPACITY,
        ),
    ],
)
def test_errors_that_are_a_wait(ecs: Any, answers: Stubber, code: str, message: str, expected: Reason) -> None:
    answers.add_client_error("run_task", code, message, 400)
    refused = tasks.run_task(ecs, REQUEST)
    assert isinstance(refused, Refused)
    assert refused.reason is expected


@pytest.mark.parametrize("code", ["ClientException", "InvalidParameterException"])
@pytest.mark.parametrize(
    "message", ["TaskDefinition is inactive", "TaskDefinition not found.", "Unable to describe task definition."]
)
def test_m2_definition_that_is_gone_is_a_wait_for_the_cache(
    ecs: Any, answers: Stubber, code: str, message: str
) -> None:
    answers.add_client_error("run_task", code, message, 400)
    refused = tasks.run_task(ecs, REQUEST)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.WAITING_FOR_CACHE


@pytest.mark.parametrize("reason", ["ATTRIBUTE", "MISSING", "INACTIVE", "LOCATION"])
def test_a12_failures_that_waiting_does_not_change_are_not_about_room(ecs: Any, answers: Stubber, reason: str) -> None:
    answers.add_response(
        "run_task", {"tasks": [], "failures": [{"reason": reason, "arn": "a", "detail": "ecs.capability.task-eni"}]}
    )
    with pytest.raises(Rejected, match=f"{reason}: ecs.capability.task-eni") as raised:
        tasks.run_task(ecs, REQUEST)
    assert raised.value.reason is Reason.TASK_FAILED_TO_START


def test_a12_one_instance_without_room_is_enough_to_wait_for_it(ecs: Any, answers: Stubber) -> None:
    failures = [{"reason": "ATTRIBUTE", "arn": "a"}, {"reason": "RESOURCE:CPU", "arn": "b"}]
    answers.add_response("run_task", {"tasks": [], "failures": failures})
    assert tasks.run_task(ecs, REQUEST) == Refused(Reason.WAITING_FOR_CAPACITY, "ATTRIBUTE; RESOURCE:CPU")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("AccessDeniedException", 400, Denied),
        ("ClusterNotFoundException", 400, Rejected),
        ("InvalidParameterException", 400, Rejected),
        ("ServerException", 500, Unavailable),
        ("ConflictException", 400, Unavailable),
    ],
    ids=["denied", "F34: no cluster", "bad parameter", "server", "conflict that names no task"],
)
def test_errors_that_end_the_pass(ecs: Any, answers: Stubber, code: str, status: int, error: type[Exception]) -> None:
    answers.add_client_error("run_task", code, "said", status)
    with pytest.raises(error):
        tasks.run_task(ecs, REQUEST)


def test_described_task_as_value(ecs: Any, answers: Stubber) -> None:
    answers.add_response(
        "describe_tasks",
        {
            "tasks": [
                {
                    "taskArn": ARN.format(1),
                    "startedBy": "uid",
                    "version": 9,
                    "lastStatus": "STOPPED",
                    "desiredStatus": "STOPPED",
                    "stopCode": "EssentialContainerExited",
                    "createdAt": MADE,
                    "stoppedAt": MADE,
                    "containers": [{"name": "build", "lastStatus": "STOPPED", "exitCode": 0}, {"name": "report"}],
                }
            ],
            "failures": [{"arn": ARN.format(2), "reason": "MISSING"}, {"arn": ARN.format(3), "reason": "OTHER"}],
        },
    )
    described = tasks.describe_tasks(ecs, "builds", [ARN.format(number) for number in (1, 2, 3)])
    (task,) = described.tasks
    assert (task.version, task.phase, task.created_at, task.started_at) == (9, "Stopped", MADE, None)
    assert task.containers == (TaskContainer("build", "STOPPED", 0), TaskContainer("report"))
    assert described.missing == {ARN.format(2)}


def test_running_task_that_is_not_described_yet_is_found(ecs: Any, answers: Stubber) -> None:
    answers.add_response("list_tasks", {"taskArns": [ARN.format(1)]}, {"cluster": "builds", "startedBy": "uid"})
    answers.add_response("describe_tasks", {"tasks": [], "failures": [{"arn": ARN.format(1), "reason": "MISSING"}]})
    assert tasks.find_task(ecs, "builds", "uid", ["family"]) == Task(arn=ARN.format(1), started_by="uid")


def test_stopped_task_is_found_among_others_on_a_later_page(ecs: Any, answers: Stubber) -> None:
    stopped = {"cluster": "builds", "family": "family", "desiredStatus": "STOPPED"}
    answers.add_response("list_tasks", {"taskArns": []}, {"cluster": "builds", "startedBy": "uid"})
    answers.add_response("list_tasks", {"taskArns": [ARN.format(1)], "nextToken": "more"}, stopped)
    answers.add_response("describe_tasks", {"tasks": [{"taskArn": ARN.format(1), "startedBy": "other"}]})
    answers.add_response("list_tasks", {"taskArns": [ARN.format(2)]}, {**stopped, "nextToken": "more"})
    answers.add_response("describe_tasks", {"tasks": [{"taskArn": ARN.format(2), "startedBy": "uid"}]})
    found = tasks.find_task(ecs, "builds", "uid", ["family"])
    assert found is not None
    assert found.arn == ARN.format(2)


def test_f32_stop_of_a_task_that_is_gone(ecs: Any, answers: Stubber) -> None:
    answers.add_client_error("stop_task", "InvalidParameterException", "The referenced task was not found.", 400)
    assert tasks.stop_task(ecs, "builds", ARN.format(1), "why") is None


class Logs:
    """GetLogEvents: pages from the newest backwards."""

    def __init__(self, *pages: list[str], ends: bool = True) -> None:
        self.pages = pages
        self.ends = ends
        self.calls = 0

    def get_log_events(self, **request: Any) -> Any:
        number = int(request.get("nextToken", "0"))
        self.calls += 1
        lines = self.pages[number] if number < len(self.pages) else []
        following = number if self.ends and number >= len(self.pages) else number + 1
        return {"events": [{"message": line} for line in lines], "nextBackwardToken": str(following)}


def read(logs: Logs, count: int = 100, enough: Callable[[Any], bool] | None = None) -> tuple[str, ...] | None:
    stand_in: Any = logs
    return task_logs.last_lines(stand_in, "group", "stream", count, *([enough] if enough else []))


def test_t65b_empty_pages_are_not_the_end() -> None:
    assert read(Logs(["c"], [], [], ["a", "b"])) == ("a", "b", "c")


def test_t65c_same_token_is_the_end() -> None:
    logs = Logs(["a"])
    assert read(logs) == ("a",)
    assert logs.calls == 2


def test_lines_are_read_forward_from_token_to_token() -> None:
    logs: Any = boto3.Session(region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x").client("logs")
    page = {"nextForwardToken": "f/1", "nextBackwardToken": "b/1"}
    asked = {"logGroupName": "group", "logStreamName": "stream", "startFromHead": True}
    with Stubber(logs) as stubber:
        stubber.add_response("get_log_events", {**page, "events": [{"message": "a"}]}, asked)
        stubber.add_response("get_log_events", {**page, "events": []}, {**asked, "nextToken": "f/1"})
        stubber.add_client_error("get_log_events", "ResourceNotFoundException", "no such stream", 400)
        assert task_logs.next_lines(logs, "group", "stream", None) == (("a",), "f/1")
        assert task_logs.next_lines(logs, "group", "stream", "f/1") == ((), "f/1")
        assert task_logs.next_lines(logs, "group", "stream", None) == ((), None)


def test_endless_empty_pages_are_given_up() -> None:
    logs = Logs(["a"], ends=False)
    assert read(logs) == ("a",)
    assert logs.calls < 10


def test_t68_no_more_is_read_than_asked_for() -> None:
    logs = Logs(*[[f"{page}-{line}" for line in range(100)] for page in range(50)])
    lines = read(logs, 150)
    assert lines is not None
    assert (len(lines), lines[-1], logs.calls) == (150, "0-99", 2)
    assert read(Logs(["x" * 1_000_000]), 1) == ("x" * task_logs.LINE_LIMIT,)


def test_a5_a_log_without_end_is_read_in_part_and_a_page_at_a_time() -> None:
    megabyte = ["INFO[0001] RUN make", *["x" * 10_000] * 100]
    logs = Logs(*[megabyte] * 200)
    stand_in: Any = logs
    tracemalloc.start()
    log = task_logs.log(stand_in, "group", "stream", kaniko_log.kept, 4_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(log.lines), log.whole, logs.calls) == (4, False, 5)
    assert peak < 4_000_000, "a few megabytes, however long the log is"


def test_a5_k10_a_log_that_ends_in_time_is_read_whole_and_in_order() -> None:
    stand_in: Any = Logs(["INFO[0003] c", "noise"], [], ["INFO[0001] a", "INFO[0002] b"])
    log = task_logs.log(stand_in, "group", "stream", kaniko_log.kept, 1000)
    assert log == task_logs.Log(("INFO[0001] a", "INFO[0002] b", "INFO[0003] c"), whole=True)


def test_a5_of_kanikos_own_lines_too_only_so_many_are_kept() -> None:
    logs = Logs(*[["INFO[0001] RUN make"] * 5000 for _ in range(50)])
    stand_in: Any = logs
    log = task_logs.log(stand_in, "group", "stream", kaniko_log.kept, 10**9)
    assert (len(log.lines), log.whole, logs.calls) == (task_logs.KEPT, False, 3)


def test_a5_a_tail_of_long_lines_is_not_searched_to_the_beginning() -> None:
    logs = Logs(*[["x" * 250_000] * 4 for _ in range(200)])
    lines = read(logs)
    assert lines is not None
    assert (len(lines), logs.calls) == (8, 2)


def test_one_call_when_the_page_has_what_is_looked_for() -> None:
    logs = Logs(["wanted"], ["older"])
    assert read(logs, enough=lambda page: "wanted" in page) == ("wanted",)
    assert logs.calls == 1


def test_t65a_missing_stream_is_none() -> None:
    logs = client("logs")
    with Stubber(logs) as stubber:
        stubber.add_client_error(
            "get_log_events", "ResourceNotFoundException", "The specified log stream does not exist.", 400
        )
        assert task_logs.last_lines(logs, "group", "stream", 5) is None
