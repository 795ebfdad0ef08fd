"""A task and its runtime: what a runtime may report, in which order, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lab.ecs.task import Launch, Task
from tests.lab.ecs.tasks import containers


class Agent:
    """Runs due actions only when told to, and remembers what the task asked for."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.asked_to_stop = 0
        self.released = 0
        self.ended = 0
        self.logged: list[tuple[str, str, str]] = []

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append(action)

    def must_stop(self, task: Task) -> None:
        self.asked_to_stop += 1

    def deprovisioned(self, task: Task) -> None:
        self.released += 1

    def stopped(self, task: Task) -> None:
        self.ended += 1

    def write_log(self, group: str, stream: str, line: str) -> None:
        self.logged.append((group, stream, line))

    def run(self) -> None:
        while self.due:
            self.due.pop(0)()


@pytest.fixture
def agent() -> Agent:
    return Agent()


def pending(agent: Agent, definitions: list[dict[str, Any]] | None = None, **options: Any) -> Task:
    definition = {"containerDefinitions": definitions or containers("/g"), "family": "f"}
    arn = "arn:aws:ecs:us-east-1:1:task/builds/t1"
    task = Task(Launch(arn, "t1", "arn:aws:ecs:us-east-1:1:cluster/builds", definition, **options), agent)
    assert task.ready() == (), "nothing starts while the task is being provisioned"
    assert task.provisioned()
    return task


def exit_codes(task: Task) -> dict[str, int | None]:
    return {name: progress.exit_code for name, progress, _ in task.container_states()}


def finish(task: Task, *results: tuple[str, int]) -> None:
    for name, exit_code in results:
        assert task.ready() == (name,)
        task.container_started(name)
        task.container_stopped(name, exit_code)


def test_a_runtime_that_follows_the_order_brings_the_task_to_its_end(agent: Agent) -> None:
    task = pending(agent)
    finish(task, ("fetch", 0), ("build", 0), ("report", 0))
    assert task.ready() == ()
    agent.run()
    assert task.last_status == "STOPPED"
    assert (task.stop_code, task.stopped_reason) == ("EssentialContainerExited", "Essential container in task exited")
    assert (agent.asked_to_stop, agent.released, agent.ended) == (1, 1, 1)


def test_a_container_handed_out_is_not_handed_out_again(agent: Agent) -> None:
    task = pending(agent)
    assert task.ready() == ("fetch",)
    assert task.ready() == ()
    assert task.alive() == ("fetch",)


def test_running_begins_when_the_last_container_has_started(agent: Agent) -> None:
    task = pending(agent)
    finish(task, ("fetch", 0))
    task.ready()
    task.container_started("build")
    agent.run()
    assert task.last_status == "PENDING"
    assert "startedAt" not in task.times
    task.container_stopped("build", 0)
    agent.run()
    assert task.last_status == "PENDING", "the last one waits still"
    task.ready()
    task.container_started("report")
    assert task.last_status == "ACTIVATING"
    agent.run()
    assert task.last_status == "RUNNING"
    assert task.times["startedAt"] >= task.times["pullStoppedAt"]


def test_a_container_that_can_never_start_does_not_keep_the_task_pending(agent: Agent) -> None:
    side: list[dict[str, Any]] = [
        {"name": "first", "image": "i", "essential": False},
        {"name": "after", "image": "i", "essential": False},
        {"name": "main", "image": "i"},
    ]
    side[1]["dependsOn"] = [{"containerName": "first", "condition": "SUCCESS"}]
    task = pending(agent, side)
    assert task.ready() == ("first", "main")
    task.container_started("main")
    task.container_started("first")
    agent.run()
    assert task.last_status == "PENDING"
    task.container_stopped("first", 1)
    agent.run()
    assert task.last_status == "RUNNING"
    assert exit_codes(task) == {"first": 1, "after": 143, "main": None}


def test_a_task_that_ends_as_soon_as_it_is_activated_was_running_all_the_same(agent: Agent) -> None:
    task = pending(agent)
    finish(task, ("fetch", 0), ("build", 0), ("report", 0))
    seen = [task.last_status]
    while agent.due:
        agent.due.pop(0)()
        seen += [task.last_status] if seen[-1] != task.last_status else []
    assert seen == ["ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]
    assert "startedAt" in task.times


def test_a_task_stopped_while_it_is_pending_was_never_running(agent: Agent) -> None:
    task = pending(agent)
    finish(task, ("fetch", 0))
    task.ready()
    task.container_started("build")
    task.stop("UserInitiated", "cancelled")
    task.container_stopped("build", 137)
    agent.run()
    assert task.last_status == "STOPPED"
    assert exit_codes(task) == {"fetch": 0, "build": 137, "report": None}
    assert "startedAt" not in task.times


def test_a_stop_waits_for_a_container_whose_start_is_under_way(agent: Agent) -> None:
    task = pending(agent)
    task.ready()
    assert task.stop("UserInitiated", "cancelled")
    agent.run()
    assert task.last_status == "STOPPING"
    assert task.to_stop() == ("fetch",)
    task.container_started("fetch")
    assert task.ready() == ()
    task.container_stopped("fetch", 137)
    agent.run()
    assert task.last_status == "STOPPED"
    assert exit_codes(task) == {"fetch": 137, "build": None, "report": None}
    assert agent.ended == 1


def test_a_start_that_was_given_up_leaves_no_exit_code(agent: Agent) -> None:
    task = pending(agent)
    task.ready()
    task.stop("UserInitiated", "cancelled")
    task.container_stopped("fetch", None, "given up")
    agent.run()
    assert task.last_status == "STOPPED"
    assert exit_codes(task)["fetch"] is None


def test_a_start_that_fails_gives_up_what_was_handed_out(agent: Agent) -> None:
    task = pending(agent)
    task.ready()
    task.failed_to_start("CannotPullContainerError: no such image")
    agent.run()
    assert task.last_status == "STOPPED"
    assert (task.stop_code, task.stopped_reason) == ("TaskFailedToStart", "CannotPullContainerError: no such image")


def test_a_start_that_fails_waits_for_what_runs_already(agent: Agent) -> None:
    both = [{"name": name, "image": "i", "essential": name == "a"} for name in ("a", "b")]
    task = pending(agent, both)
    assert task.ready() == ("a", "b")
    task.container_started("a")
    task.failed_to_start("CannotPullContainerError: b")
    agent.run()
    assert task.last_status == "STOPPING"
    assert task.to_stop() == ("a",)
    task.container_stopped("a", 143)
    agent.run()
    assert task.last_status == "STOPPED"
    assert exit_codes(task) == {"a": 143, "b": None}


def test_the_end_of_a_container_that_is_not_essential_does_not_end_the_task(agent: Agent) -> None:
    both = [{"name": name, "image": "i", "essential": name == "a"} for name in ("a", "b")]
    task = pending(agent, both)
    task.ready()
    task.container_started("a")
    task.container_started("b")
    task.container_stopped("b", 1)
    assert not task.stopping
    task.container_stopped("a", 0)
    assert task.stopping


def test_late_and_double_reports_change_nothing(agent: Agent) -> None:
    task = pending(agent)
    task.ready()
    task.container_stopped("fetch", 0)
    task.container_stopped("fetch", 5, "late")
    task.container_started("fetch")
    assert exit_codes(task)["fetch"] == 0
    finish(task, ("build", 0), ("report", 0))
    agent.run()
    version = task.version
    task.failed_to_start("late")
    assert not task.stop("UserInitiated", "late")
    agent.run()
    assert (task.version, task.stop_code, agent.ended) == (version, "EssentialContainerExited", 1)


def test_a_stop_before_the_task_is_provisioned_starts_nothing(agent: Agent) -> None:
    definition = {"containerDefinitions": containers("/g"), "family": "f"}
    task = Task(Launch("arn:task/builds/t1", "t1", "arn:cluster/builds", definition), agent)
    task.stop("UserInitiated", "cancelled")
    assert not task.provisioned()
    assert task.ready() == ()
    agent.run()
    assert task.last_status == "STOPPED"


def test_overrides_win_over_the_definition(agent: Agent) -> None:
    overrides = {
        "containerOverrides": [
            {"name": "build", "command": ["mine"], "environment": [{"name": "NAME", "value": "mine"}]},
            {"name": "fetch", "environment": [{"name": "SOURCE", "value": "{}"}]},
        ]
    }
    task = pending(agent, overrides=overrides)
    assert task.command_for("build") == ["mine"]
    assert task.environment_for("build") == {"NAME": "mine", "KEPT": "yes"}
    assert task.command_for("fetch") == ["fetch"]
    assert task.environment_for("fetch") == {"NAME": "fetch", "KEPT": "yes", "SOURCE": "{}"}
    assert task.command_for("report") == ["report"]
    bare = pending(agent, [{"name": "a", "image": "i"}])
    assert bare.command_for("a") is None
    assert bare.environment_for("a") == {}


def test_lines_go_to_the_stream_of_the_container_and_without_awslogs_nowhere(agent: Agent) -> None:
    pending(agent).log("build", "line")
    assert agent.logged == [("/g", "build/build/t1", "line")]
    pending(agent, containers("/g", driver="json-file")).log("build", "line")
    pending(agent, containers(None)).log("build", "line")
    assert len(agent.logged) == 1


def test_a_health_check_lets_dependents_start(agent: Agent) -> None:
    both: list[dict[str, Any]] = [
        {"name": "side", "image": "i", "essential": False},
        {"name": "main", "image": "i", "dependsOn": [{"containerName": "side", "condition": "HEALTHY"}]},
    ]
    task = pending(agent, both)
    task.ready()
    task.container_started("side")
    assert task.ready() == ()
    task.container_healthy("side", True)
    assert task.ready() == ("main",)


def test_a_fixed_fate_is_what_the_task_is_found_stopped_by_unless_a_user_stops_it(agent: Agent) -> None:
    spot = ("SpotInterruption", "Your Spot Task was interrupted.")
    task = pending(agent)
    task.meets(*spot)
    finish(task, ("fetch", 0), ("build", 0), ("report", 0))
    assert (task.stop_code, task.stopped_reason) == spot
    other = pending(agent)
    other.meets(*spot)
    other.stop("UserInitiated", "cancelled")
    assert other.stop_code == "UserInitiated"
