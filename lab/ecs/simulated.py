"""The runtime that only follows a plan: for tests and for scale. One thread for all tasks, however many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from lab.ecs.clock import Clock
from lab.ecs.task import Task

BUILD = "build"
REPORT = "report"
KILLED = 137
"""Exit code of a container that did not heed SIGTERM."""
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a simulated task goes."""

    start: float = 0.1
    """Seconds from PENDING until the first container runs: image pulls and the like."""
    build: float = 0.3
    """Seconds that the container `build` runs; all others end at once."""
    exit_codes: Mapping[str, int] = field(default_factory=dict)
    """Exit code of each container, 0 where none is given. One that fails says so in its log, but for `build`, whose log is `log`."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Reason of each stopped container; 137 means out of memory where none is given."""
    log: tuple[str, ...] = ()
    """Lines that the container `build` writes."""
    report: Mapping[str, Any] | None = None
    """What the container `report` writes; None: nothing."""
    default_report: bool = True
    """Write a report of a good build instead of `report`."""
    stop_code: str | None = None
    """What the task is found stopped by instead of the end of its essential container; TaskFailedToStart: nothing runs at all."""
    stopped_reason: str | None = None
    containers_at_once: bool | None = None
    """Whether RunTask's answer names the containers, or no answer while the task is PROVISIONING; None: by turns."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Plan:
        """Read a plan of the control surface; ValueError says what is wrong with it."""
        known = {
            "start",
            "build",
            "exitCodes",
            "reasons",
            "log",
            "report",
            "stopCode",
            "stoppedReason",
            "containersAtOnce",
        }
        if set(data) - known:
            raise ValueError(
                f"a plan has no field {', '.join(sorted(set(data) - known))}, only {', '.join(sorted(known))}"
            )
        for key in ("start", "build"):
            if not isinstance(data.get(key, 0), int | float):
                raise ValueError(f"{key} of a plan is a number of seconds, not {data[key]!r}")
        if not isinstance(data.get("containersAtOnce"), bool | None):
            raise ValueError(f"containersAtOnce of a plan is true or false, not {data['containersAtOnce']!r}")
        return cls(
            start=float(data.get("start", DEFAULT.start)),
            build=float(data.get("build", DEFAULT.build)),
            exit_codes=dict(data.get("exitCodes") or {}),
            reasons=dict(data.get("reasons") or {}),
            log=tuple(data.get("log") or ()),
            report=data.get("report"),
            default_report="report" not in data,
            stop_code=data.get("stopCode"),
            stopped_reason=data.get("stoppedReason"),
            containers_at_once=data.get("containersAtOnce"),
        )

    def report_for(self, task: Task) -> Mapping[str, Any] | None:
        """Return the report that this task prints."""
        if not self.default_report:
            return self.report
        return {
            "version": 1,
            "digest": "sha256:" + hashlib.sha256(task.id.encode()).hexdigest(),
            "sizeBytes": 10_000_000,
            "steps": {"total": 6, "cached": 0},
            "imported": False,
            "exported": True,
            "startedAt": _first_start(task),
            "sourceSeconds": 0,
            "buildSeconds": round(self.build),
        }


DEFAULT = Plan()


class Simulated:
    """Implements `runtime.Runtime`."""

    def __init__(self, plan: Plan = DEFAULT) -> None:
        self.plan = plan
        """For tasks that start from now on."""
        self._clock = Clock("simulated")

    def start(self, task: Task) -> None:
        """Let the task follow the plan."""
        plan = self.plan
        self._clock.later(plan.start, lambda: self._begin(task, plan))

    def stop(self, task: Task) -> None:
        """Kill what runs, dependents first."""
        self._clock.later(0, lambda: self._kill(task))

    def close(self) -> None:
        """Let no task go on."""
        self._clock.close()

    def _begin(self, task: Task, plan: Plan) -> None:
        if plan.stop_code == "TaskFailedToStart":
            task.failed_to_start(plan.stopped_reason or "Task failed to start")
            return
        if plan.stop_code is not None:
            task.meets(plan.stop_code, plan.stopped_reason or plan.stop_code)
        self._go_on(task, plan)

    def _go_on(self, task: Task, plan: Plan) -> None:
        for name in task.ready():
            task.container_started(name)
            self._write(task, name, plan)
            self._clock.later(plan.build if name == BUILD else 0, partial(self._end, task, name, plan))

    def _write(self, task: Task, name: str, plan: Plan) -> None:
        if name == BUILD:
            for line in plan.log:
                task.log(name, line)
        report = plan.report_for(task) if name == REPORT else None
        if report is not None:
            task.log(name, "buildcache-report: " + json.dumps(report, separators=(",", ":")))

    def _end(self, task: Task, name: str, plan: Plan) -> None:
        if name not in task.alive():
            return
        exit_code = plan.exit_codes.get(name, 0)
        if exit_code != 0 and name != BUILD:
            # As the real runner does; who reads logs waits a while for the line that explains a failure.
            task.log(name, f"simulated: exit code {exit_code}")
        reason = plan.reasons.get(name) or (OUT_OF_MEMORY if exit_code == KILLED else None)
        task.container_stopped(name, exit_code, reason)
        self._go_on(task, plan)

    def _kill(self, task: Task) -> None:
        while names := task.to_stop():
            for name in names:
                task.container_stopped(name, KILLED)


def _first_start(task: Task) -> str:
    """When the first container began, as the runner writes it: all images have been pulled by then."""
    began = datetime.fromtimestamp(task.times["pullStoppedAt"], UTC)
    return began.isoformat(timespec="milliseconds").replace("+00:00", "Z")
