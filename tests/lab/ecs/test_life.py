"""The life of a task: states, outcomes, stopping, logs."""

import itertools
import json
from datetime import datetime
from typing import Any

import pytest

from lab.ecs.agent import Pace
from tests.lab.aws.served import Served, refused, served, unique, until
from tests.lab.ecs.tasks import (
    CLUSTER,
    containers,
    describe,
    exit_codes,
    followed,
    lines,
    parameters,
    plan,
    reached,
    register,
    run,
    running,
    single,
    statuses,
)

STATES = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


def test_a_task_goes_through_all_states_in_order_with_a_rising_version(aws: Served) -> None:
    plan(aws, start=0.5, build=1)
    arn = run(aws, register(aws, containerDefinitions=single()))
    seen: list[str] = []
    versions: list[int] = []
    times: list[set[str]] = []

    def look() -> str | None:
        task = describe(aws, arn)
        if task is None:
            return None
        if not seen or seen[-1] != task["lastStatus"]:
            seen.append(task["lastStatus"])
        versions.append(task["version"])
        times.append({key for key in task if key.endswith("At")})
        return str(task["lastStatus"])

    until(look, lambda status: status == "STOPPED")
    assert seen == [state for state in STATES if state in seen]
    assert {"PENDING", "RUNNING", "STOPPED"} <= set(seen)
    assert versions == sorted(versions)
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    assert times[-1] >= {"createdAt", "pullStartedAt", "pullStoppedAt", "startedAt", "stoppingAt", "stoppedAt"}
    assert times[-1] >= {"executionStoppedAt", "connectivityAt"}


def test_a_task_whose_containers_run_one_after_the_other_is_pending_until_the_last_one_starts(aws: Served) -> None:
    plan(aws, build=1)
    arn = run(aws)
    task = running(aws, arn)
    assert task["lastStatus"] == "PENDING"
    assert statuses(task) == {"fetch": "STOPPED", "build": "RUNNING", "report": "PENDING"}
    assert exit_codes(task) == {"fetch": 0, "build": None, "report": None}
    assert "startedAt" not in task
    assert "pullStoppedAt" in task
    ended = reached(aws, arn, "STOPPED")
    assert (ended["startedAt"] - ended["pullStoppedAt"]).total_seconds() >= 1


def test_a_good_build_ends_with_its_report_in_the_log(aws: Served) -> None:
    report = {"version": 1, "digest": "sha256:" + "a" * 64, "steps": {"total": 5, "cached": 5}}
    plan(aws, log=["#1 building", "#2 done"], report=report)
    task = reached(aws, run(aws, startedBy="me"), "STOPPED")
    assert exit_codes(task) == {"fetch": 0, "build": 0, "report": 0}
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"
    assert task["desiredStatus"] == "STOPPED"
    assert task["startedBy"] == "me"
    assert lines(aws, task, "build") == ["#1 building", "#2 done"]
    assert lines(aws, task, "report") == ["buildcache-report: " + json.dumps(report, separators=(",", ":"))]
    with refused("ResourceNotFoundException"):
        lines(aws, task, "fetch")


def test_a_plan_without_a_report_reports_a_good_build_and_null_reports_nothing(aws: Served) -> None:
    plan(aws)
    task = reached(aws, run(aws), "STOPPED")
    (line,) = lines(aws, task, "report")
    report = json.loads(line.removeprefix("buildcache-report: "))
    assert report["digest"].startswith("sha256:")
    assert task["createdAt"] < datetime.fromisoformat(report["startedAt"]) < task["startedAt"]
    plan(aws, report=None)
    with refused("ResourceNotFoundException"):
        lines(aws, reached(aws, run(aws), "STOPPED"), "report")


def test_t54_a_failed_build_is_seen_by_the_name_of_its_container(aws: Served) -> None:
    plan(aws, exitCodes={"build": 1})
    task = reached(aws, run(aws), "STOPPED")
    assert exit_codes(task) == {"fetch": 0, "build": 1, "report": 0}
    assert task["stopCode"] == "EssentialContainerExited"


def test_a_failed_fetch_keeps_the_build_from_starting(aws: Served) -> None:
    plan(aws, exitCodes={"fetch": 2})
    task = reached(aws, run(aws), "STOPPED")
    assert exit_codes(task) == {"fetch": 2, "build": 143, "report": 0}
    build = next(container for container in task["containers"] if container["name"] == "build")
    assert "dependency graph" in build["reason"]
    assert "runtimeId" not in build
    assert lines(aws, task, "fetch") == ["simulated: exit code 2"]


def test_t55_out_of_memory_is_137_with_its_reason(aws: Served) -> None:
    plan(aws, exitCodes={"build": 137})
    task = reached(aws, run(aws), "STOPPED")
    build = next(container for container in task["containers"] if container["name"] == "build")
    assert build["exitCode"] == 137
    assert build["reason"].startswith("OutOfMemoryError")


def test_t53_a_task_that_fails_to_start_has_no_exit_codes(aws: Served) -> None:
    reason = "CannotPullContainerError: pull image manifest has been retried 5 time(s)"
    plan(aws, stopCode="TaskFailedToStart", stoppedReason=reason)
    task = reached(aws, run(aws), "STOPPED")
    assert exit_codes(task) == {"fetch": None, "build": None, "report": None}
    assert (task["stopCode"], task["stoppedReason"]) == ("TaskFailedToStart", reason)
    assert "startedAt" not in task


def test_t53_a_missing_log_group_fails_the_start(aws: Served) -> None:
    plan(aws)
    arn = run(aws, register(aws, containerDefinitions=containers("/no/such/group")))
    task = reached(aws, arn, "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert "/no/such/group" in task["stoppedReason"]


def test_t52_spot_interruption_with_exit_codes_0(aws: Served) -> None:
    plan(aws, stopCode="SpotInterruption", stoppedReason="Your Spot Task was interrupted.")
    task = reached(aws, run(aws), "STOPPED")
    assert set(exit_codes(task).values()) == {0}
    assert (task["stopCode"], task["stoppedReason"]) == ("SpotInterruption", "Your Spot Task was interrupted.")


def test_t52_interrupting_a_running_task(aws: Served) -> None:
    plan(aws, build=30)
    arn = run(aws)
    running(aws, arn)
    aws.aws.interrupt(arn)
    task = reached(aws, arn, "STOPPED")
    assert task["stopCode"] == "SpotInterruption"
    assert exit_codes(task) == {"fetch": 0, "build": 137, "report": None}
    with pytest.raises(ValueError, match="stopped already"):
        aws.aws.interrupt(arn)
    with pytest.raises(LookupError, match="no task"):
        aws.aws.interrupt(arn + "0")
    plan(aws)


@pytest.mark.parametrize(
    ("definitions", "status", "codes"),
    [
        pytest.param(single(), "RUNNING", {"build": 137}, id="one container"),
        pytest.param(containers(None), "PENDING", {"fetch": 0, "build": 137, "report": None}, id="one after the other"),
    ],
)
def test_t56_stopping_a_running_task_is_a_wish_first(
    aws: Served, definitions: list[dict[str, Any]], status: str, codes: dict[str, int | None]
) -> None:
    plan(aws, build=30)
    ecs = aws.client("ecs")
    arn = run(aws, register(aws, containerDefinitions=definitions), tags=[{"key": "a", "value": "b"}])
    running(aws, arn)
    reached(aws, arn, status)
    answer = ecs.stop_task(cluster=CLUSTER, task=arn, reason="cancelled by the user")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"]) == (status, "STOPPED")
    task = reached(aws, arn, "STOPPED")
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "cancelled by the user")
    assert exit_codes(task) == codes
    assert ("startedAt" in task) is (status == "RUNNING")
    assert task["tags"] == [], "StopTask deletes the tags of a task"
    ecs.get_waiter("tasks_stopped").wait(cluster=CLUSTER, tasks=[arn])
    plan(aws)


def test_t56_stopping_before_the_start_leaves_no_exit_codes(aws: Served) -> None:
    plan(aws, start=30)
    arn = run(aws)
    reached(aws, arn, "PENDING")
    aws.client("ecs").stop_task(cluster=CLUSTER, task=arn)
    task = reached(aws, arn, "STOPPED")
    assert set(exit_codes(task).values()) == {None}
    assert task["stopCode"] == "UserInitiated"
    plan(aws)


def test_t56_stopping_a_stopped_task_changes_nothing(aws: Served) -> None:
    plan(aws)
    arn = run(aws)
    reached(aws, arn, "STOPPED")
    answer = aws.client("ecs").stop_task(cluster=CLUSTER, task=arn, reason="late")["task"]
    assert answer["stopCode"] == "EssentialContainerExited"
    assert reached(aws, arn, "STOPPED")["stoppedReason"] == "Essential container in task exited"


def test_t56_a_task_that_is_not_there_can_not_be_stopped(aws: Served) -> None:
    with refused("InvalidParameterException", 400) as response:
        aws.client("ecs").stop_task(cluster=CLUSTER, task="0" * 32)
    assert "referenced task was not found" in response["Error"]["Message"]


@pytest.mark.parametrize("at_once", [True, False])
def test_m1_t51_a_task_being_provisioned_has_containers_or_none_in_every_answer(at_once: bool) -> None:
    """No answer differs from the one before it until the task moves: who waits for a change waits as long as on AWS."""
    with served(pace=Pace(provisioning=60, blind_reads=0)) as aws:
        plan(aws, containersAtOnce=at_once)
        answered = aws.client("ecs").run_task(**parameters(aws, register(aws)))["tasks"][0]
        described = describe(aws, answered["taskArn"])
        assert described is not None
        assert described["lastStatus"] == answered["lastStatus"] == "PROVISIONING"
        assert answered["containers"] == described["containers"]
        assert list(statuses(described)) == (["fetch", "build", "report"] if at_once else [])


def test_m1_t51_without_a_plan_for_it_tasks_have_containers_at_once_by_turns() -> None:
    with served(pace=Pace(provisioning=60)) as aws:
        plan(aws)
        ecs, request = aws.client("ecs"), parameters(aws, register(aws))
        answers = [ecs.run_task(**{**request, "clientToken": unique()})["tasks"][0] for _ in range(4)]
    assert {len(task["containers"]) for task in answers} == {0, 3}
    assert [len(task["containers"]) for task in answers[:2]] == [len(task["containers"]) for task in answers[2:]]


def test_t51_a_task_has_its_containers_when_it_is_provisioned(aws: Served) -> None:
    plan(aws, containersAtOnce=False)
    followed(aws, run(aws), lambda task: len(task["containers"]) == 3)


def test_a_plan_is_for_tasks_that_start_from_now_on(aws: Served) -> None:
    plan(aws, build=2, exitCodes={"build": 1})
    first = run(aws)
    running(aws, first)
    plan(aws, build=0.01)
    second = run(aws)
    assert exit_codes(reached(aws, second, "STOPPED"))["build"] == 0
    assert exit_codes(reached(aws, first, "STOPPED"))["build"] == 1


@pytest.mark.parametrize(
    "bad",
    [
        ("simulated", {"duration": 3}),
        ("simulated", {"build": "long"}),
        ("podman", {}),
        ("docker", {}),
    ],
)
def test_a_runtime_that_is_not_there_is_refused(aws: Served, bad: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        aws.aws.set_runtime(*bad)


def test_the_control_surface_lists_all_tasks(aws: Served) -> None:
    plan(aws, exitCodes={"build": 1})
    request = parameters(aws, register(aws), startedBy="me")
    arn = aws.client("ecs").run_task(**request)["tasks"][0]["taskArn"]
    reached(aws, arn, "STOPPED")
    (mine,) = [task for task in aws.aws.tasks() if task["arn"] == arn]
    assert mine == {
        "arn": arn,
        "startedBy": "me",
        "clientToken": request["clientToken"],
        "status": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "containers": [
            {"name": "fetch", "exitCode": 0},
            {"name": "build", "exitCode": 1},
            {"name": "report", "exitCode": 0},
        ],
    }


def _mounting(aws: Served, *, point: bool = True, target: bool = True) -> list[dict[str, Any]]:
    """A volume of a new file system through a new access point."""
    efs = aws.client("efs")
    system = efs.create_file_system(CreationToken=unique())["FileSystemId"]
    until(
        lambda: efs.describe_file_systems(FileSystemId=system)["FileSystems"][0]["LifeCycleState"], "available".__eq__
    )
    access_point = efs.create_access_point(ClientToken=unique(), FileSystemId=system)["AccessPointId"]
    until(
        lambda: efs.describe_access_points(AccessPointId=access_point)["AccessPoints"][0]["LifeCycleState"],
        "available".__eq__,
    )
    if target:
        efs.create_mount_target(FileSystemId=system, SubnetId=aws.aws.world.subnet_ids[0])
        until(
            lambda: efs.describe_mount_targets(FileSystemId=system)["MountTargets"][0]["LifeCycleState"],
            "available".__eq__,
        )
    if not point:
        efs.delete_access_point(AccessPointId=access_point)
    authorization = {"accessPointId": access_point, "iam": "ENABLED"}
    configuration = {"fileSystemId": system, "transitEncryption": "ENABLED", "authorizationConfig": authorization}
    return [{"name": "caches", "efsVolumeConfiguration": configuration}]


def test_a_task_starts_with_its_file_system(aws: Served) -> None:
    plan(aws)
    task = reached(aws, run(aws, register(aws, volumes=_mounting(aws))), "STOPPED")
    assert task["stopCode"] == "EssentialContainerExited"


@pytest.mark.parametrize(
    ("missing", "words"),
    [({"point": False}, "access denied by server"), ({"target": False}, "Failed to resolve")],
    ids=["no access point", "no mount target"],
)
def test_a_file_system_that_cannot_be_mounted_fails_the_start(
    aws: Served, missing: dict[str, bool], words: str
) -> None:
    plan(aws)
    task = reached(aws, run(aws, register(aws, volumes=_mounting(aws, **missing))), "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("ResourceInitializationError: failed to invoke EFS utils commands")
    assert words in task["stoppedReason"]
