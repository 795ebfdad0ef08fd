"""An ECS task as the operator has seen it: made by `aws/tasks.py`, kept by the poller, judged by `task_outcome.py`. Values only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from .tasks import STREAM_PREFIX

Phase = Literal["Provisioning", "Running", "Stopped"]

_PHASES: Mapping[str, Phase] = {
    "PROVISIONING": "Provisioning",
    "PENDING": "Provisioning",
    "ACTIVATING": "Provisioning",
    "STOPPED": "Stopped",
    "DELETED": "Stopped",
}

_ARN = re.compile(r"arn:(aws[a-z-]*):ecs:([a-z0-9-]+):([0-9]{12}):task/([A-Za-z0-9_-]{1,255})/([A-Za-z0-9-]{1,64})")

MISSING_GRACE = timedelta(minutes=5)
"""ECS reads are stale after writes: so long a task that ECS does not know is nothing to mention (T50)."""

RECORD_LIFE = timedelta(hours=1)
"""ECS shows a stopped task for at least this long."""


@dataclass(frozen=True, slots=True)
class TaskRef:
    """A task's ARN taken apart. ARNs of the old form, without the cluster, are not read: no cluster of today makes them."""

    arn: str
    region: str
    account: str
    cluster: str
    id: str

    @classmethod
    def parse(cls, arn: str | None) -> TaskRef | None:
        """Read an ARN; None when it is none of a task."""
        match = _ARN.fullmatch(arn or "")
        return None if match is None else cls(match[0], match[2], match[3], match[4], match[5])

    def is_near(self, cluster_arn: str) -> bool:
        """Tell whether the task is in the partition, region and account of that cluster.

        Not whether it is in the cluster itself: a BuildCache may be moved to another one while its Builds run.
        """
        return self.arn.split(":")[:5] == cluster_arn.split(":")[:5]

    def stream(self, container: str) -> str:
        """Name of a container's log stream."""
        return f"{STREAM_PREFIX}/{container}/{self.id}"


@dataclass(frozen=True, slots=True)
class TaskContainer:
    """One container of a task. A container that never ran has no exit code."""

    name: str
    status: str = ""
    exit_code: int | None = None
    reason: str = ""

    @property
    def has_run(self) -> bool:
        """Tell whether the container runs or has ended."""
        return self.status == "RUNNING" or self.exit_code is not None


@dataclass(frozen=True, slots=True)
class Task:
    """What ECS said of a task. `containers` may be empty until the task is placed."""

    arn: str
    started_by: str = ""
    version: int = 0
    last_status: str = "PROVISIONING"
    desired_status: str = "RUNNING"
    stop_code: str = ""
    stopped_reason: str = ""
    containers: tuple[TaskContainer, ...] = ()
    created_at: datetime | None = None
    started_at: datetime | None = None
    """When the last container had started, if ever."""
    stopped_at: datetime | None = None
    task_definition_arn: str = ""

    @property
    def phase(self) -> Phase:
        """Where the task is in its life. Between RUNNING and STOPPED, and in a state that is not known, it counts as running.

        ECS takes the minimum over all containers: a task whose containers run one after the other stays PENDING until the last one
        has started. Here it runs as soon as one of them does.
        """
        phase = _PHASES.get(self.last_status, "Running")
        if phase == "Provisioning" and any(container.has_run for container in self.containers):
            return "Running"
        return phase

    def container(self, name: str) -> TaskContainer | None:
        """Return the container of that name: ECS does not keep the order of the task definition."""
        return next((container for container in self.containers if container.name == name), None)

    def exit_code(self, name: str) -> int | None:
        """Return a container's exit code, None when it has none or is not there."""
        container = self.container(name)
        return None if container is None else container.exit_code


@dataclass(frozen=True, slots=True)
class Missing:
    """ECS does not know the task, for as long as we have looked since `since`."""

    since: datetime


Observation = Task | Missing
"""What the newest look at a task gave."""


@dataclass(frozen=True, slots=True)
class Described:
    """The answer to one look at many tasks: those that ECS knows, and the ARNs of those that it does not. One may be in neither."""

    tasks: tuple[Task, ...] = ()
    missing: frozenset[str] = frozenset()


def record_expired(missing: Missing, launched_at: datetime, now: datetime) -> bool:
    """Tell whether the task has ended so long ago that ECS forgot it.

    Soon after RunTask a missing task is only not visible yet, and a task that stops stays visible for an hour. So one that was
    launched more than an hour ago, and is still missing after the grace, has stopped.
    """
    return now - launched_at >= RECORD_LIFE and now - missing.since >= MISSING_GRACE
