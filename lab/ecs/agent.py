"""Launches tasks, drives them through their states and hands them to a runtime. Made by `lab.aws.cloud`; the task API asks it."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.ecs.account import Account
from lab.ecs.clock import Clock
from lab.ecs.runtime import Runtime
from lab.ecs.store import TaskStore
from lab.ecs.task import Launch, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take; real ones take minutes."""

    provisioning: float = 0.05
    """Seconds from RunTask until a runtime gets the task."""
    step: float = 0.02
    """Seconds of each further state that waits for nothing else."""
    blind_reads: int = 1
    """Reads after RunTask that answer MISSING …"""
    blind_seconds: float = 0.2
    """… but for no longer than this."""


class Agent:
    """The tasks of one account and region. Thread-safe."""

    def __init__(
        self, account: Account, runtime: Runtime, *, pace: Pace | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self.account = account
        self.pace = pace or Pace()
        self.tasks = TaskStore(now, blind_reads=self.pace.blind_reads, blind_seconds=self.pace.blind_seconds)
        self.launching = threading.Lock()
        """Held over a whole RunTask: a client token must not be used by two requests at once."""
        self.runtime = runtime
        """For tasks launched from now on."""
        self.containers_at_once: bool | None = None
        """Whether such a task names its containers from RunTask's answer on, or only when it is provisioned; None: by turns.

        ECS promises neither. Who sees both kinds cannot come to need the change from one to the other.
        """
        self._turns = itertools.cycle((True, False))
        self._runtimes: dict[str, Runtime] = {}
        self._clock = Clock("ecs")

    def launch(self, launch: Launch) -> Task:
        """Start one task."""
        at_once = next(self._turns) if self.containers_at_once is None else self.containers_at_once
        task = Task(launch, self, step_seconds=self.pace.step, containers_at_once=at_once)
        runtime = self.runtime
        self._runtimes[task.id] = runtime
        self.tasks.add(task)
        self._clock.later(self.pace.provisioning, lambda: self._begin(task, runtime))
        return task

    def interrupt(self, arn: str) -> None:
        """Take the Spot capacity away from under a running task."""
        task = self.tasks.by_arn(arn)
        if task is None:
            raise LookupError(f"no task {arn}; GET /tasks lists those there are")
        if not task.stop("SpotInterruption", "Your Spot Task was interrupted."):
            raise ValueError(f"task {arn} is stopping or stopped already, nothing is left to interrupt")

    def counts(self, cluster_arn: str) -> tuple[int, int]:
        """Return how many tasks of a cluster are running and pending."""
        states = [task.last_status for task in self.tasks.all() if task.launch.cluster_arn == cluster_arn]
        pending = sum(1 for state in states if state in ("PROVISIONING", "PENDING", "ACTIVATING"))
        return len(states) - pending - states.count("STOPPED"), pending

    def summary(self) -> list[dict[str, Any]]:
        """Return all tasks in the shape of the control surface's `GET /tasks`."""
        return [_summary(task) for task in self.tasks.all()]

    def close(self) -> None:
        """Drive no task any more."""
        self._clock.close()

    # --- what tasks ask for (task.Events)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Run `action` on the clock's thread."""
        self._clock.later(seconds, action)

    def must_stop(self, task: Task) -> None:
        """Let the runtime stop the containers."""
        self._runtimes[task.id].stop(task)

    def deprovisioned(self, task: Task) -> None:
        """Free the network interface."""
        if task.launch.interface is not None:
            self.account.release_interface(task.launch.interface["networkInterfaceId"])

    def stopped(self, task: Task) -> None:
        """Begin to forget the task."""
        self._runtimes.pop(task.id, None)
        self.tasks.stopped(task)

    def write_log(self, group: str, stream: str, line: str) -> None:
        """Write to CloudWatch Logs."""
        self.account.write_log(group, stream, line)

    def _begin(self, task: Task, runtime: Runtime) -> None:
        if not task.provisioned():
            return
        missing = self.account.missing_log_group(task.definition)
        if missing is not None:
            task.failed_to_start(
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                "failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not "
                f"exist. ({missing}) : exit status 1"
            )
            return
        if (unmountable := self.account.unmountable(task.definition)) is not None:
            task.failed_to_start(
                "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: "
                f"{unmountable} : unsuccessful EFS utils command execution; code: 32"
            )
            return
        runtime.start(task)


def _summary(task: Task) -> dict[str, Any]:
    with task.lock:
        return {
            "arn": task.arn,
            "startedBy": task.launch.started_by,
            "clientToken": task.launch.client_token,
            "status": task.last_status,
            "desiredStatus": task.desired_status,
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
            "containers": [
                {"name": name, "exitCode": progress.exit_code} for name, progress, _ in task.container_states()
            ],
        }
