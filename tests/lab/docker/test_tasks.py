"""ECS tasks as real containers: order, logs, exit codes, limits, stops and what is left of them."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lab.ecs.docker_runtime import OUT_OF_MEMORY, STOP_TIMEOUT, reason_of
from tests.lab.docker.engine import Engine, after, shell

pytestmark = pytest.mark.docker


def test_three_containers_run_in_order_over_one_volume(engine: Engine) -> None:
    result = engine.run(
        shell("fetch", "echo fetched | tee /workspace/source", essential=False),
        shell(
            "build",
            "cat /workspace/source; echo built >/workspace/out; exit 3",
            essential=False,
            **after("fetch", "SUCCESS"),
        ),
        shell("report", "cat /workspace/out", **after("build", "COMPLETE")),
    )
    assert result.exit_codes == {"fetch": 0, "build": 3, "report": 0}
    assert result.logs == {"fetch": ["fetched"], "build": ["fetched"], "report": ["built"]}
    assert result.task.stop_code == "EssentialContainerExited"
    assert result.task.last_status == "STOPPED"


def test_a_failed_fetch_stops_the_task_before_the_build(engine: Engine) -> None:
    result = engine.run(
        shell("fetch", "echo no such commit >&2; exit 2", essential=False),
        shell("build", "echo never", essential=False, **after("fetch", "SUCCESS")),
        shell("report", "echo reported", **after("build", "COMPLETE")),
    )
    assert result.exit_codes["fetch"] == 2
    assert result.logs["fetch"] == ["no such commit"]
    assert result.logs["build"] == []


def test_c20_T55_too_much_memory_is_137_and_says_why_where_docker_does(engine: Engine) -> None:
    greedy = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x$x; done"
    result = engine.run(shell("build", greedy, memory=48))
    assert result.exit_codes == {"build": 137}
    # Docker learns of the kill and of the exit on two ways, and on a busy machine the exit comes first: then ECS has no reason.
    assert result.reasons["build"] in (OUT_OF_MEMORY, None)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"ExitCode": 137, "OOMKilled": True, "Error": ""}, OUT_OF_MEMORY),
        ({"ExitCode": 137, "OOMKilled": False, "Error": ""}, None),
        ({"ExitCode": 1, "OOMKilled": False, "Error": "no such device"}, "no such device"),
    ],
)
def test_c20_the_reason_of_a_container_is_what_docker_says(state: dict[str, Any], reason: str | None) -> None:
    assert reason_of(state) == reason


def test_T53_an_image_that_cannot_be_pulled_fails_the_start(engine: Engine) -> None:
    missing = f"{engine.registry.address}/nobody/has:this"
    result = engine.run(shell("fetch", "echo hello", essential=False), {"name": "build", "image": missing})
    assert result.task.stop_code == "TaskFailedToStart"
    assert result.task.stopped_reason is not None
    assert result.task.stopped_reason.startswith("CannotPullContainerError: ")
    assert missing in result.task.stopped_reason
    assert set(result.exit_codes.values()) == {None}


def test_T53_a_program_that_is_not_in_the_image_never_starts(engine: Engine) -> None:
    result = engine.run({"name": "build", "entryPoint": ["/no/such/program"]})
    assert result.exit_codes == {"build": None}
    assert result.reasons["build"] is not None
    assert "CannotStartContainerError" in result.reasons["build"]
    assert result.task.stop_code == "TaskFailedToStart"


def test_a_stopped_task_gets_SIGTERM_and_may_end_by_itself(engine: Engine) -> None:
    task = engine.start_task(shell("build", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"))
    engine.line(task, "build", "up")
    assert task.stop("UserInitiated", "cancelled")
    result = engine.ended(task)
    assert result.exit_codes == {"build": 9}
    assert result.logs["build"] == ["up", "bye"]
    assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "cancelled")


def test_a_container_deaf_to_SIGTERM_is_killed_after_its_stopTimeout(engine: Engine) -> None:
    task = engine.start_task(shell("build", "trap '' TERM; echo up; while :; do sleep 0.05; done", stopTimeout=1))
    engine.line(task, "build", "up")
    began = time.monotonic()
    task.stop("UserInitiated", "cancelled")
    result = engine.ended(task)
    assert result.exit_codes == {"build": 137}
    assert result.reasons["build"] is None, "killed, but not for its memory"
    assert 0.9 < time.monotonic() - began < STOP_TIMEOUT - 5, "not the default time"


def test_a_task_stopped_before_anything_runs_leaves_nothing(engine: Engine) -> None:
    task = engine.start_task(shell("fetch", "sleep 60", essential=False), shell("build", "sleep 60"))
    task.stop("UserInitiated", "cancelled")
    engine.ended(task, seconds=45)


def test_overrides_win_and_the_agent_gives_what_a_role_would(engine: Engine) -> None:
    result = engine.run(
        {
            **shell("build", "echo definition"),
            "environment": [{"name": "A", "value": "definition"}, {"name": "B", "value": "kept"}],
        },
        overrides={
            "containerOverrides": [
                {
                    "name": "build",
                    "command": ["echo $A $B $AWS_REGION $AWS_ENDPOINT_URL $AWS_EXECUTION_ENV"],
                    "environment": [{"name": "A", "value": "override"}],
                }
            ]
        },
    )
    assert result.logs["build"] == ["override kept us-east-1 http://127.0.0.1:1 AWS_ECS_EC2"]


def test_every_line_of_many_short_containers_arrives(engine: Engine) -> None:
    tasks = [engine.start_task(shell("build", "seq 1 300")) for _ in range(12)]
    expected = [str(number) for number in range(1, 301)]
    for task in tasks:
        assert engine.ended(task).logs["build"] == expected


def test_a_last_line_without_a_line_break_arrives(engine: Engine) -> None:
    """Docker's own follower misses about every sixth (moby/moby#43860)."""
    names = [f"container-{number}" for number in range(30)]
    result = engine.run(*(shell(name, f"echo first; echo; printf {name}", essential=False) for name in names))
    assert result.logs == {name: ["first", "", name] for name in names}


def test_the_workspace_of_the_operator_image_is_writable_for_everybody(engine: Engine) -> None:
    script = (
        "id -u; touch /workspace/mine && echo written; python -c 'import buildcache, buildcache.runner'; git --version"
    )
    result = engine.run({**shell("fetch", script), "image": engine.images.operator})
    assert result.exit_codes == {"fetch": 0}, result.logs
    assert result.logs["fetch"][:2] == ["65532", "written"]


def test_a_file_system_outlives_the_tasks_that_mount_it(engine: Engine) -> None:
    volumes = [
        {
            "name": "workspace",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-1",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
            },
        }
    ]
    engine.run(shell("build", "echo kept >/workspace/file"), volumes=volumes)
    result = engine.run(shell("build", "cat /workspace/file"), volumes=volumes)
    assert result.logs["build"] == ["kept"]


def test_closing_a_runtime_kills_its_tasks_at_once_and_silently(engine: Engine) -> None:
    runtime, engine.ward.runtime = engine.ward.runtime, engine.new_runtime()
    engine.ward.runtime, old = runtime, engine.ward.runtime
    task = engine.task(shell("build", "trap '' TERM; echo up; while :; do sleep 0.05; done"))
    assert task.provisioned()
    old.start(task)
    engine.line(task, "build", "up")
    began = time.monotonic()
    old.close()
    assert time.monotonic() - began < STOP_TIMEOUT - 5, "killed, not asked to stop"
    assert engine.nothing_left()
    assert task.last_status in ("ACTIVATING", "RUNNING")
