"""One Build from its creation to its end in virtual time, whatever goes wrong at which call, and whatever a person does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
