"""The order and end of containers: examples from the agent's rules, and properties over all definitions that can be registered."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.ecs.containers import (
    ESSENTIAL_EXITED,
    FAILED_TO_START,
    NEVER_STARTED_EXIT_CODE,
    Dependency,
    Progress,
    Spec,
    Step,
    next_step,
    problem,
    specs,
    stop_next,
)

FETCH = Spec("fetch", essential=False)
BUILD = Spec("build", essential=False, depends_on=(Dependency("fetch", "SUCCESS"),))
REPORT = Spec("report", depends_on=(Dependency("build", "COMPLETE"),))
CHAIN = (FETCH, BUILD, REPORT)
UNHURRIED = settings(deadline=None)
"""The machine may be busy with the rest of a lab."""

WAITING = Progress()
STARTING = Progress("starting")
RUNNING = Progress("running", started=True)


def stopped(exit_code: int | None = 0) -> Progress:
    return Progress("stopped", started=exit_code is not None, exit_code=exit_code)


def progress(**given_progress: Progress) -> Mapping[str, Progress]:
    return {spec.name: given_progress.get(spec.name, WAITING) for spec in CHAIN}


@pytest.mark.parametrize(
    ("state", "step"),
    [
        pytest.param(progress(), Step(start=("fetch",)), id="only what depends on nothing starts first"),
        pytest.param(progress(fetch=STARTING), Step(), id="nothing starts twice"),
        pytest.param(progress(fetch=RUNNING), Step(), id="SUCCESS waits for the end"),
        pytest.param(progress(fetch=stopped()), Step(start=("build",)), id="SUCCESS is met by exit 0"),
        pytest.param(
            progress(fetch=stopped(), build=stopped(1)),
            Step(start=("report",)),
            id="COMPLETE is met by any exit code",
        ),
        pytest.param(
            progress(fetch=stopped(), build=stopped(), report=stopped()),
            Step(stop=ESSENTIAL_EXITED),
            id="the end of the essential container is the end of the task",
        ),
        pytest.param(
            progress(fetch=stopped(), build=stopped(None)),
            Step(stop=FAILED_TO_START),
            id="COMPLETE is never met by a container that never started, and nothing else runs",
        ),
        pytest.param(
            progress(fetch=stopped(), build=stopped(), report=stopped(None)),
            Step(stop=FAILED_TO_START),
            id="an essential container that never started",
        ),
    ],
)
def test_the_three_containers_of_a_build(state: Mapping[str, Progress], step: Step) -> None:
    assert next_step(CHAIN, state) == step


def test_t54_a_failed_dependency_stops_its_dependent_as_the_agent_does() -> None:
    step = next_step(CHAIN, progress(fetch=stopped(2)))
    assert step.start == ()
    assert set(step.unreachable) == {"build"}
    assert "dependency graph" in step.unreachable["build"]
    # The agent reports 143 for it, so that COMPLETE of the container after it is met.
    after = progress(fetch=stopped(2), build=Progress("stopped", exit_code=NEVER_STARTED_EXIT_CODE))
    assert next_step(CHAIN, after).start == ("report",)


def test_start_is_met_by_a_container_that_ran_and_ended() -> None:
    both = (Spec("side", essential=False), Spec("main", depends_on=(Dependency("side", "START"),)))
    assert next_step(both, {"side": RUNNING, "main": WAITING}).start == ("main",)
    assert next_step(both, {"side": stopped(1), "main": WAITING}).start == ("main",)
    assert next_step(both, {"side": STARTING, "main": WAITING}).start == ()


def test_healthy_waits_for_the_health_check() -> None:
    both = (Spec("side", essential=False), Spec("main", depends_on=(Dependency("side", "HEALTHY"),)))
    assert next_step(both, {"side": RUNNING, "main": WAITING}) == Step()
    healthy = Progress("running", started=True, healthy=True)
    assert next_step(both, {"side": healthy, "main": WAITING}).start == ("main",)
    assert set(next_step(both, {"side": stopped(0), "main": WAITING}).unreachable) == {"main"}


def test_dependents_stop_before_what_they_depend_on() -> None:
    both = (Spec("side", essential=False), Spec("main", depends_on=(Dependency("side", "START"),)))
    assert stop_next(both, {"side": RUNNING, "main": RUNNING}) == ("main",)
    assert stop_next(both, {"side": RUNNING, "main": stopped()}) == ("side",)
    assert stop_next(both, {"side": stopped(), "main": stopped()}) == ()


def test_specs_are_read_from_definitions_as_registered() -> None:
    read = specs(
        [
            {"name": "fetch", "essential": False},
            {"name": "main", "dependsOn": [{"containerName": "fetch", "condition": "SUCCESS"}]},
        ]
    )
    assert read == (FETCH, Spec("main", depends_on=(Dependency("fetch", "SUCCESS"),)))


# --- properties: every definition that can be registered, every way its containers can go


@st.composite
def definitions(draw: st.DrawFn) -> tuple[Spec, ...]:
    count = draw(st.integers(1, 6))
    found: list[Spec] = []
    for number in range(count):
        earlier = draw(st.sets(st.sampled_from(found), max_size=3)) if found else set()
        depends_on = []
        for target in sorted(earlier, key=lambda spec: spec.name):
            conditions = ["START", "HEALTHY"] if target.essential else ["START", "HEALTHY", "COMPLETE", "SUCCESS"]
            depends_on.append(Dependency(target.name, draw(st.sampled_from(conditions))))
        essential = draw(st.booleans()) or (number == count - 1 and not any(spec.essential for spec in found))
        found.append(Spec(f"c{number}", essential, tuple(depends_on)))
    return tuple(draw(st.permutations(found)))


class Run:
    """Plays a runtime: starts what it is told to, and lets drawn things happen."""

    def __init__(self, containers: tuple[Spec, ...]) -> None:
        self.containers = containers
        self.progress = {spec.name: Progress() for spec in containers}
        self.started_order: list[str] = []

    def decide(self) -> tuple[str, str] | None:
        while True:
            step = next_step(self.containers, self.progress)
            for name in step.unreachable:
                assert self.progress[name] == Progress()
                self.progress[name] = Progress("stopped", exit_code=NEVER_STARTED_EXIT_CODE)
            for name in step.start:
                assert self.progress[name] == Progress(), "a container starts once"
                self.check_dependencies(name)
                self.progress[name] = Progress("starting")
                self.started_order.append(name)
            if step.stop is not None or not (step.start or step.unreachable):
                return step.stop

    def check_dependencies(self, name: str) -> None:
        (spec,) = [spec for spec in self.containers if spec.name == name]
        for dependency in spec.depends_on:
            target = self.progress[dependency.name]
            wanted = {
                "START": target.phase in ("running", "stopped"),
                "HEALTHY": target.phase == "running" and target.healthy,
                "COMPLETE": target.phase == "stopped" and target.exit_code is not None,
                "SUCCESS": target.phase == "stopped" and target.exit_code == 0,
            }
            assert wanted[dependency.condition], (dependency, target)

    def alive(self) -> list[str]:
        return [name for name, own in self.progress.items() if own.alive]


@UNHURRIED
@given(definitions(), st.data())
def test_every_task_ends_and_no_container_starts_before_its_dependencies_are_met(
    containers: tuple[Spec, ...], data: st.DataObject
) -> None:
    assert problem(containers) is None
    run = Run(containers)
    stop = run.decide()
    steps = 0
    while stop is None:
        steps += 1
        assert steps <= 4 * len(containers), "each container can only start, get healthy and stop once"
        assert run.alive(), "a task that does not stop has something alive"
        name = data.draw(st.sampled_from(run.alive()))
        own = run.progress[name]
        if own.phase == "starting":
            went = data.draw(st.sampled_from(["runs", "never starts"]))
            run.progress[name] = Progress("running", started=True) if went == "runs" else Progress("stopped")
        elif not own.healthy and data.draw(st.booleans()):
            run.progress[name] = Progress("running", started=True, healthy=True)
        else:
            run.progress[name] = Progress("stopped", started=True, exit_code=data.draw(st.sampled_from([0, 1, 137])))
        stop = run.decide()

    essential_ended = [
        spec.name for spec in containers if spec.essential and run.progress[spec.name].phase == "stopped"
    ]
    if stop == ESSENTIAL_EXITED:
        assert any(run.progress[name].exit_code is not None for name in essential_ended)
    else:
        assert stop == FAILED_TO_START
    while names := stop_next(containers, run.progress):
        for name in names:
            dependents = [spec.name for spec in containers if any(dep.name == name for dep in spec.depends_on)]
            assert not set(dependents) & set(run.alive())
        for name in names:
            run.progress[name] = Progress("stopped", started=True, exit_code=137)
    assert run.alive() == [], "everything alive can be stopped in order"


@UNHURRIED
@given(definitions())
def test_what_starts_does_not_depend_on_the_order_of_the_definition(containers: tuple[Spec, ...]) -> None:
    state = {spec.name: Progress() for spec in containers}
    assert set(next_step(containers, state).start) == set(next_step(containers[::-1], state).start)


@UNHURRIED
@given(definitions())
def test_a_circle_can_not_be_registered(containers: tuple[Spec, ...]) -> None:
    first = containers[0]
    circle = tuple(
        Spec(spec.name, essential=False, depends_on=(*spec.depends_on, Dependency(spec.name, "START")))
        if spec is first
        else spec
        for spec in containers
    )
    assert problem(circle) == "There is a circular dependency in the container definitions."
