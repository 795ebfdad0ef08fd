"""One ECS task: its state, the reports of its runtime, and the states ECS derives from them. Made by `agent.py`, shown by `description.py`.

A task is as far as its slowest container, as the agent of AWS has it (agent/api/task, getEarliestKnownTaskStatusForContainers): one
whose containers run one after the other stays PENDING, without a startedAt, until the last one has started. Who follows tasks must
look at the containers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from lab.ecs import containers
from lab.ecs.containers import Progress

RISING = ("PROVISIONING", "PENDING", "ACTIVATING", "RUNNING")
DESCENT = {
    **dict.fromkeys(RISING, "DEACTIVATING"),
    # All its containers have started: it was RUNNING, however soon it ends.
    "ACTIVATING": "RUNNING",
    "DEACTIVATING": "STOPPING",
    "STOPPING": "DEPROVISIONING",
    "DEPROVISIONING": "STOPPED",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """What RunTask fixed for a task, in AWS's own shapes."""

    arn: str
    id: str
    cluster_arn: str
    definition: Mapping[str, Any]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    started_by: str | None = None
    client_token: str | None = None
    group: str = ""
    tags: Sequence[Mapping[str, str]] = ()
    launch_type: str | None = None
    capacity_provider: str | None = None
    platform_version: str | None = None
    availability_zone: str | None = None
    interface: Mapping[str, str] | None = None
    """The network interface of an awsvpc task: id, subnet, mac, address."""


class Events(Protocol):
    """What a task tells and asks its agent; none of these is called with the task's lock held by another thread's wish to wait."""

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` on the agent's clock thread."""
        ...

    def must_stop(self, task: Task) -> None:
        """The task has begun to stop: its runtime must stop its containers."""
        ...

    def deprovisioned(self, task: Task) -> None:
        """All containers are gone: the network interface goes too."""
        ...

    def stopped(self, task: Task) -> None:
        """The task has reached STOPPED."""
        ...

    def write_log(self, group: str, stream: str, line: str) -> None:
        """Append a line to a CloudWatch log stream, which is made when it is missing."""
        ...


class Task:
    """Thread-safe. Runtimes call the methods of the first part; the agent calls those of the second."""

    def __init__(
        self, launch: Launch, events: Events, *, step_seconds: float = 0.02, containers_at_once: bool = True
    ) -> None:
        """With `containers_at_once`, RunTask's answer names the containers; else no answer does while the task is PROVISIONING."""
        self.launch = launch
        self.arn = launch.arn
        self.id = launch.id
        self.definition = launch.definition
        self.overrides = launch.overrides
        self.lock = threading.RLock()
        self.last_status = "PROVISIONING"
        self.desired_status = "RUNNING"
        self.version = 1
        self.tags: list[Mapping[str, str]] = [dict(tag) for tag in launch.tags]
        self.stop_code: str | None = None
        self.stopped_reason: str | None = None
        self.times: dict[str, float] = {"createdAt": time.time()}
        self.renderings: dict[bool, tuple[int, str]] = {}
        self._definitions = {entry["name"]: entry for entry in launch.definition["containerDefinitions"]}
        self._specs = containers.specs(launch.definition["containerDefinitions"])
        self._progress = {spec.name: Progress() for spec in self._specs}
        self._reasons: dict[str, str] = {}
        self._fate: tuple[str, str] | None = None
        self._events = events
        self._step = step_seconds
        self._containers_at_once = containers_at_once
        self._descent_is_due = False

    # --- for runtimes

    @property
    def stopping(self) -> bool:
        """True from the moment ECS wants the task stopped."""
        return self.desired_status == "STOPPED"

    @property
    def shows_containers(self) -> bool:
        """Whether ECS names the containers of the task."""
        return self._containers_at_once or self.last_status != "PROVISIONING"

    def container_definition(self, name: str) -> Mapping[str, Any]:
        """Return the container definition as registered."""
        definition: Mapping[str, Any] = self._definitions[name]
        return definition

    def environment_for(self, name: str) -> dict[str, str]:
        """Merge the environment of the definition with that of the override, which wins."""
        both = (*self._definitions[name].get("environment", ()), *self._override(name).get("environment", ()))
        return {entry["name"]: entry.get("value", "") for entry in both}

    def command_for(self, name: str) -> list[str] | None:
        """Return the command of the override or the definition; None means the image's own."""
        command = self._override(name).get("command") or self._definitions[name].get("command")
        return list(command) if command else None

    def ready(self) -> tuple[str, ...]:
        """Hand out the containers to start now, each once. They count as alive until `container_stopped`."""
        with self.lock:
            if self.stopping or self.last_status == "PROVISIONING":
                return ()
            names = self._decide()
            for name in names:
                self._progress[name] = replace(self._progress[name], phase="starting")
            return names

    def to_stop(self) -> tuple[str, ...]:
        """Name the containers to stop now: dependents before what they depend on."""
        with self.lock:
            return containers.stop_next(self._specs, self._progress)

    def alive(self) -> tuple[str, ...]:
        """Name the containers that were handed out by `ready` and have not stopped."""
        with self.lock:
            return tuple(name for name, progress in self._progress.items() if progress.alive)

    def container_started(self, name: str) -> None:
        """The container's process runs."""
        with self.lock:
            if self._progress[name].phase == "stopped":
                return
            self._progress[name] = replace(self._progress[name], phase="running", started=True)
            self.times.setdefault("pullStoppedAt", time.time())
            self.version += 1
            self._activate()

    def container_healthy(self, name: str, healthy: bool) -> None:
        """The container's health check has given a verdict."""
        with self.lock:
            self._progress[name] = replace(self._progress[name], healthy=healthy)
            self.version += 1

    def container_stopped(self, name: str, exit_code: int | None, reason: str | None = None) -> None:
        """The container is gone. Without an exit code it never started."""
        with self.lock:
            self._record_stop(name, exit_code, reason)
            if not self.stopping:
                self._decide()
            self._activate()
            self._settle()

    def failed_to_start(self, stopped_reason: str) -> None:
        """Nothing can run: an image cannot be pulled, a volume not mounted. Containers handed out but not started are given up."""
        with self.lock:
            for name, progress in self._progress.items():
                if progress.phase == "starting":
                    self._record_stop(name, None, stopped_reason)
            self._begin_stop("TaskFailedToStart", stopped_reason)
            self._settle()

    def log(self, name: str, line: str) -> None:
        """Write a line of the container's output to its awslogs stream; without awslogs it is dropped."""
        configuration = self._definitions[name].get("logConfiguration") or {}
        if configuration.get("logDriver") != "awslogs":
            return
        options = configuration.get("options") or {}
        prefix = options.get("awslogs-stream-prefix")
        stream = f"{prefix}/{name}/{self.id}" if prefix else f"{self.id}-{name}"
        self._events.write_log(options["awslogs-group"], stream, line)

    def meets(self, stop_code: str, stopped_reason: str) -> None:
        """Fix what the task will be found stopped by, whatever ends it (a user's StopTask excepted). For simulated tasks."""
        with self.lock:
            self._fate = (stop_code, stopped_reason)

    # --- for the agent

    def provisioned(self) -> bool:
        """Move from PROVISIONING to PENDING; False when the task is stopping already."""
        with self.lock:
            if self.stopping:
                return False
            self._move("PENDING")
            self.times["pullStartedAt"] = time.time()
            return True

    def stop(self, stop_code: str, stopped_reason: str) -> bool:
        """Want the task stopped; False when it was stopping already."""
        with self.lock:
            if self.stopping:
                return False
            self._begin_stop(stop_code, stopped_reason)
            return True

    def container_states(self) -> list[tuple[str, Progress, str | None]]:
        """Name, progress and reason of each container, in the order of the definition."""
        with self.lock:
            return [(spec.name, self._progress[spec.name], self._reasons.get(spec.name)) for spec in self._specs]

    # --- inner

    def _override(self, name: str) -> Mapping[str, Any]:
        for override in self.overrides.get("containerOverrides") or ():
            if override.get("name") == name:
                found: Mapping[str, Any] = override
                return found
        return {}

    def _move(self, status: str) -> None:
        self.last_status = status
        self.version += 1
        if status == "RUNNING":
            self.times["startedAt"] = time.time()

    def _activate(self) -> None:
        """Move on from PENDING when every container has started or stopped."""
        if self.last_status != "PENDING" or self.stopping:
            return
        if all(progress.phase in ("running", "stopped") for progress in self._progress.values()):
            self._move("ACTIVATING")
            self._events.later(self._step, self._running)

    def _running(self) -> None:
        with self.lock:
            if self.last_status == "ACTIVATING" and not self.stopping:
                self._move("RUNNING")

    def _record_stop(self, name: str, exit_code: int | None, reason: str | None) -> None:
        if self._progress[name].phase == "stopped":
            return
        self._progress[name] = replace(self._progress[name], phase="stopped", exit_code=exit_code)
        if reason:
            self._reasons[name] = reason
        self.version += 1

    def _decide(self) -> tuple[str, ...]:
        while True:
            step = containers.next_step(self._specs, self._progress)
            if step.stop is not None:
                self._begin_stop(*step.stop)
                return ()
            if not step.unreachable:
                return step.start
            for name, reason in step.unreachable.items():
                self._record_stop(name, containers.NEVER_STARTED_EXIT_CODE, reason)

    def _begin_stop(self, stop_code: str, stopped_reason: str) -> None:
        if self.stopping:
            return
        if self._fate is not None and stop_code != "UserInitiated":
            stop_code, stopped_reason = self._fate
        self.desired_status = "STOPPED"
        self.stop_code = stop_code
        self.stopped_reason = stopped_reason
        self.times["stoppingAt"] = time.time()
        self.version += 1
        self._events.later(0, lambda: self._events.must_stop(self))
        self._descend_after(self._step)

    def _settle(self) -> None:
        """Go on downwards when the last container has stopped; `_descend` rests in STOPPING until then."""
        if self.last_status == "STOPPING" and not self.alive():
            self._descend_after(0)

    def _descend_after(self, seconds: float) -> None:
        if not self._descent_is_due:
            self._descent_is_due = True
            self._events.later(seconds, self._descend)

    def _descend(self) -> None:
        with self.lock:
            self._descent_is_due = False
            if self.last_status == "STOPPED" or (self.last_status == "STOPPING" and self.alive()):
                return
            if self.last_status == "STOPPING":
                self.times["executionStoppedAt"] = time.time()
                self._events.later(0, lambda: self._events.deprovisioned(self))
            self._move(DESCENT[self.last_status])
            if self.last_status != "STOPPED":
                self._descend_after(self._step)
                return
            self.times["stoppedAt"] = time.time()
        self._events.stopped(self)
