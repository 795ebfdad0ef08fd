"""What executes tasks. `simulated.py` follows a plan; the Docker runtime runs real containers. Called by `agent.py`."""

from __future__ import annotations

from typing import Protocol

from lab.ecs.task import Task


class Runtime(Protocol):
    """Executes the containers of tasks and reports what happens to them through the task's methods.

    The way of a runtime through a task:

    1. `start(task)` returns at once and goes on elsewhere.
    2. `for name in task.ready()`: start these containers now. Each counts as alive from here until `container_stopped`.
    3. Report `container_started`, lines by `log`, `container_stopped`; after each report ask `task.ready()` again.
    4. `stop(task)` comes once when the task must stop, for whatever reason: stop every container that is alive, in the order
       of `task.to_stop()`; report each by `container_stopped`. A container whose start is still under way is stopped (or its
       start given up and reported by `container_stopped(name, None, reason)`) as soon as that is possible.

    The task reaches STOPPED by itself when it is stopping and no container is alive.
    """

    def start(self, task: Task) -> None:
        """Begin with a task that has reached PENDING. Must not block."""
        ...

    def stop(self, task: Task) -> None:
        """SIGTERM, then SIGKILL after the container's stopTimeout. Must not block. Also called when no container is alive yet."""
        ...

    def close(self) -> None:
        """Stop and remove everything of this runtime; no report comes after this returns."""
        ...
