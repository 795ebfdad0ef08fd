"""Which container of a task starts next and when the task must stop: the rules of the ECS agent as pure functions.

Used by `task.py`, and through it by every runtime. The rules follow the agent's dependency graph (aws/amazon-ecs-agent,
agent/engine/dependencygraph, pull requests 3218 and 3927): a dependency that can never be met stops its dependent with exit code
143 although it never started, and only an essential container takes the task down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
Phase = Literal["waiting", "starting", "running", "stopped"]

NEVER_STARTED_EXIT_CODE = 143
"""What the agent reports for a container whose dependency failed, as if it had got SIGTERM."""

ESSENTIAL_EXITED = ("EssentialContainerExited", "Essential container in task exited")
FAILED_TO_START = ("TaskFailedToStart", "Task failed to start")


@dataclass(frozen=True, slots=True)
class Dependency:
    """The container `name` must have reached `condition` first."""

    name: str
    condition: Condition


@dataclass(frozen=True, slots=True)
class Spec:
    """What a container definition says about order and end."""

    name: str
    essential: bool = True
    depends_on: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a container has come."""

    phase: Phase = "waiting"
    started: bool = False
    exit_code: int | None = None
    healthy: bool = False

    @property
    def alive(self) -> bool:
        """True from the moment the runtime was told to start it until it has stopped."""
        return self.phase in ("starting", "running")


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from the progress of all containers."""

    start: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Containers that can never start, each with its reason."""
    stop: tuple[str, str] | None = None
    """Stop code and stopped reason of the task, when it must stop now."""


def specs(definitions: Iterable[Mapping[str, Any]]) -> tuple[Spec, ...]:
    """Read the order rules from container definitions as registered."""
    return tuple(
        Spec(
            name=definition["name"],
            essential=bool(definition.get("essential", True)),
            depends_on=tuple(
                Dependency(entry["containerName"], entry["condition"]) for entry in definition.get("dependsOn") or ()
            ),
        )
        for definition in definitions
    )


def problem(containers: Sequence[Spec]) -> str | None:
    """Return why these order rules cannot be registered, or None."""
    by_name = {spec.name: spec for spec in containers}
    for spec in containers:
        for dependency in spec.depends_on:
            if dependency.condition not in get_args(Condition):
                return f"Invalid dependsOn condition '{dependency.condition}' for container '{spec.name}'."
            target = by_name.get(dependency.name)
            if target is None:
                return f"Container '{spec.name}' depends on container '{dependency.name}', which does not exist."
            if target.essential and dependency.condition in ("SUCCESS", "COMPLETE"):
                return "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container."
    if not _ordered(containers):
        return "There is a circular dependency in the container definitions."
    return None


def next_step(containers: Sequence[Spec], progress: Mapping[str, Progress]) -> Step:
    """Decide for a task that is not stopping yet."""
    for spec in containers:
        own = progress[spec.name]
        if spec.essential and own.phase == "stopped":
            return Step(stop=FAILED_TO_START if own.exit_code is None else ESSENTIAL_EXITED)

    start: list[str] = []
    unreachable: dict[str, str] = {}
    for spec in containers:
        if progress[spec.name].phase != "waiting":
            continue
        failed = next((dep for dep in spec.depends_on if _never(dep, progress[dep.name])), None)
        if failed is not None:
            unreachable[spec.name] = (
                "CannotStartContainerError: dependency graph: failed to resolve container ordering dependency "
                f"[{failed.name}] for target [{spec.name}] as dependency did not exit successfully."
            )
        elif all(_met(dep, progress[dep.name]) for dep in spec.depends_on):
            start.append(spec.name)
    if start or unreachable:
        return Step(start=tuple(start), unreachable=unreachable)
    if not any(own.alive for own in progress.values()):
        # Nothing runs and nothing can start: the agent gives the task up rather than leave it pending for ever.
        return Step(stop=FAILED_TO_START)
    return Step()


def stop_next(containers: Sequence[Spec], progress: Mapping[str, Progress]) -> tuple[str, ...]:
    """Name the containers to stop now: those alive that no other live container depends on."""
    needed = {dependency.name for spec in containers if progress[spec.name].alive for dependency in spec.depends_on}
    return tuple(spec.name for spec in containers if progress[spec.name].alive and spec.name not in needed)


def _met(dependency: Dependency, target: Progress) -> bool:
    match dependency.condition:
        case "START":
            # The agent lets a dependent start however its dependency has ended (its pull request 3927).
            return target.started or target.phase == "stopped"
        case "COMPLETE":
            return target.phase == "stopped" and target.exit_code is not None
        case "SUCCESS":
            return target.phase == "stopped" and target.exit_code == 0
        case "HEALTHY":
            return target.phase == "running" and target.healthy


def _never(dependency: Dependency, target: Progress) -> bool:
    if target.phase != "stopped":
        return False
    match dependency.condition:
        case "SUCCESS":
            return target.exit_code != 0
        case "HEALTHY":
            return True
        case "START" | "COMPLETE":
            return False


def _ordered(containers: Sequence[Spec]) -> bool:
    done: set[str] = set()
    left = list(containers)
    while left:
        free = [spec for spec in left if all(dependency.name in done for dependency in spec.depends_on)]
        if not free:
            return False
        done.update(spec.name for spec in free)
        left = [spec for spec in left if spec.name not in done]
    return True
