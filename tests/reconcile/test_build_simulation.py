"""One Build from its creation to its end in virtual time, whatever goes wrong at which call, and whatever a person does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fakes.simulation import Plan, Simulation

TIMEOUTS = {"queue": "20m", "start": "2m", "run": "5m"}
SLACK = 240.0
"""Seconds by which faults, backoff and StopTask itself may delay the end of a task beyond its timeouts."""

Act = Callable[[Simulation], None]
ACTS: dict[str, Act] = {
    "cancel": Simulation.cancel,
    "delete": Simulation.remove,
    "move": Simulation.move,
    "touch": Simulation.touch,
}
CALLS = st.integers(0, 13)
FAULTS = st.sampled_from(["kill before", "kill after", "error", "lost", "conflict"])


def lived(plan: Plan, seconds: float = 2400, **spec: Any) -> Simulation:
    """The world when the Build is done, and its tasks too."""
    world = Simulation(plan, timeouts=TIMEOUTS, retries=1, **spec)
    world.run(seconds, done=lambda: world.is_let_go() and not world.going())
    return world


def check(world: Simulation) -> None:
    assert world.is_let_go(), "a Build comes to an end"
    assert not world.left_behind(), "a task that runs has a Build that is held for it"
    assert len({task.token for task in world.tasks.values()}) == len(world.tasks), "one task for each attempt"
    for task in world.tasks.values():
        assert task.stop_at - task.created <= 120 + 300 + SLACK, "timeouts are enforced"


@settings(max_examples=60, deadline=None)
@given(
    faults=st.dictionaries(CALLS, FAULTS, max_size=3),
    acts=st.dictionaries(CALLS, st.sampled_from(sorted(ACTS)), max_size=2),
    refusals=st.integers(0, 2),
    listed_after=st.sampled_from([0.0, 1.0, 40.0, 58.0]),
    life=st.sampled_from([(1.0, 3.0), (5.0, 60.0), (5.0, 5000.0), (5000.0, 5000.0)]),
    shows_containers=st.booleans(),
    starts_running=st.booleans(),
    watch_delay=st.sampled_from([0.0, 0.5, 3.0]),
)
@example(
    # C3: refused for want of room, then started, with the cancel in the same moment: the status write is refused.
    faults={},
    acts={4: "cancel"},
    refusals=1,
    listed_after=40.0,
    life=(5.0, 5000.0),
    shows_containers=False,
    starts_running=False,
    watch_delay=0.0,
)
@example(
    # C3: the same with the operator killed in that moment.
    faults={4: "kill after"},
    acts={4: "cancel"},
    refusals=1,
    listed_after=40.0,
    life=(5.0, 5000.0),
    shows_containers=False,
    starts_running=False,
    watch_delay=0.0,
)
@example(
    # C17: the answer of RunTask is lost, and the BuildCache moves to another cluster.
    faults={2: "lost"},
    acts={2: "move"},
    refusals=0,
    listed_after=40.0,
    life=(5.0, 60.0),
    shows_containers=False,
    starts_running=False,
    watch_delay=0.0,
)
def test_c3_c17_m1_no_task_is_lost_doubled_or_left_behind(
    faults: Mapping[int, str],
    acts: Mapping[int, str],
    refusals: int,
    listed_after: float,
    life: tuple[float, float],
    shows_containers: bool,
    starts_running: bool,
    watch_delay: float,
) -> None:
    plan = Plan(
        faults=faults,
        acts={number: ACTS[name] for number, name in acts.items()},
        refusals=refusals,
        listed_after=listed_after,
        placed_after=life[0],
        ends_after=life[1],
        shows_containers=shows_containers,
        starts_running=starts_running,
        watch_delay=watch_delay,
    )
    check(lived(plan))


@pytest.mark.parametrize("shows_containers", [True, False])
def test_m1_start_timeout_is_enforced_on_a_task_that_never_changes(shows_containers: bool) -> None:
    world = Simulation(
        Plan(placed_after=5000, ends_after=5000, shows_containers=shows_containers),
        timeouts={"start": "20s"},
        retries=0,
    )
    world.run(60, done=lambda: world.is_let_go() and not world.going())
    (task,) = world.tasks.values()
    assert world.reason() == "StartTimeout"
    assert task.stop_at - task.created <= 20 + world.plan.stops_after + 2


def test_m1_t58_run_timeout_is_enforced_on_a_task_that_was_running_when_it_was_first_seen() -> None:
    """RunTask repeated after a crash answers with the task as it is."""
    world = Simulation(Plan(ends_after=5000, starts_running=True), timeouts={"run": "30s"}, retries=0)
    world.run(90, done=lambda: world.is_let_go() and not world.going())
    (task,) = world.tasks.values()
    assert world.reason() == "RunTimeout"
    assert task.stop_at - task.created <= 30 + world.plan.stops_after + 2


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_m9_task_that_stops_at_once_is_not_waited_for(act: str) -> None:
    world = Simulation(Plan(ends_after=5000, stops_after=0))
    world.run(20)
    since = world.now
    ACTS[act](world)
    world.run(60, done=world.is_let_go)
    assert world.is_let_go()
    assert world.now - since <= 5


def test_c17_nothing_is_started_in_another_cluster_while_the_former_one_may_have_the_task() -> None:
    world = Simulation(Plan(faults={2: "lost"}, acts={2: Simulation.move}, listed_after=40, ends_after=300))
    world.run(900, done=world.is_let_go)
    (task,) = world.tasks.values()
    assert world.reason() == "Completed"
    assert ":task/builds/" in task.arn


def test_c17_a_launch_without_effect_goes_to_the_cluster_that_the_cache_has_now() -> None:
    world = Simulation(Plan(faults={2: "kill before"}, acts={1: Simulation.move}))
    world.run(900, done=world.is_let_go)
    (task,) = world.tasks.values()
    assert world.reason() == "Completed"
    assert ":task/others/" in task.arn
