"""Builds in every situation of their lives, each phase with a Build of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from lab.chaos.cache import ROLE, place
from lab.chaos.history import History, follow, has_ended
from lab.chaos.life import until
from lab.demo.cluster import GROUP, VERSION, Cluster
from lab.errors import LabError
from lab.outside import condition

BUILDS, CACHES = "builds", "buildcaches"
CACHE = "chaos"
FINISHED_LABEL, FINALIZER = "buildcache.dev/finished", "buildcache.dev/finalizer"
DIGEST = f"sha256:{'7' * 64}"
REPORT = {"version": 1, "digest": DIGEST, "steps": {"total": 4, "cached": 3}, "exported": True, "imported": True}

LONG, SHORT = 600.0, 0.1
PULL = 3.0
"""Seconds until a task runs that is to be met before that."""
WORK = 4.0
"""Seconds that a task runs which is to be met running: two looks of the operator."""
PATIENCE = 60.0


class BuildLife:
    """Implements Subject. One BuildCache serves all lives."""

    title = "Build"
    resource = BUILDS
    PHASES: Sequence[str] = (
        "launch",  # a Build is created: its task is started
        "follow",  # the task is noted, and now it runs
        "finish",  # it was seen running, and ends well
        "expire",  # it has ended, and its ttlAfterFinished is over
        "cancel",  # it runs, and is cancelled
        "stopped",  # cancelled, and the operator comes back when the task has stopped
        "interrupt",  # it runs, and its Spot capacity goes: another attempt, which ends well
        "relaunch",  # the second attempt is noted, its task not started yet
        "withdraw",  # its task is started but not noted, and it is deleted before the operator comes back
        "delete",  # it runs, and is deleted with all that the phases before have left
    )
    is_chain = False
    _ONLY: Mapping[str, Collection[str]] = {
        "stopped": ("patch builds/status",),
        "interrupt": ("patch builds/status", "RunTask"),
        "relaunch": ("patch builds/status",),
        "withdraw": ("patch builds/status", "StopTask"),
    }
    """What the phase is for, where its other writes are those of another one."""

    def __init__(self, cluster: Cluster, phases: Sequence[str] = PHASES) -> None:
        """Of the phases some can be left out, but for the last one."""
        self.phases = phases
        self._cluster = cluster
        self._numbers = itertools.count(1)
        self._life = ""
        self._name = ""
        self._uids: dict[str, str] = {}
        self._strangers: frozenset[str] = frozenset()
        self._history = History()
        self._closers = ExitStack()
        cluster.create(CACHES, self._cache())
        self._wait("the BuildCache is Ready", self._is_ready)
        # Through a call each time: every life has a history of its own.
        self._closers.enter_context(follow(cluster, BUILDS, lambda build: self._history.take(build)))

    def close(self) -> None:
        """What the scenario itself made is gone."""
        self._clear()
        self._cluster.delete(CACHES, CACHE)
        self._wait("the BuildCache is gone", lambda: self._cluster.get(CACHES, CACHE) is None)
        self._closers.close()

    def hits(self, phase: str, operation: str) -> bool:
        """All but what another phase has."""
        return operation in self._ONLY.get(phase, (operation,))

    def begin(self) -> None:
        """Names that no other life had, and nothing of a life that went wrong."""
        self._clear()
        self._life, self._uids, self._history = f"life-{next(self._numbers)}", {}, History()
        self._strangers = frozenset(task["arn"] for task in self._cluster.control("GET", "/tasks"))

    def prepare(self, phase: str) -> None:
        """The Build of this phase, as far as it is to be when the fault comes."""
        self._name = f"{self._life}-{phase}"
        match phase:
            case "follow":
                self._create(start=PULL, build=LONG)
                self._wait("the task is noted", lambda: self._is("Provisioning"))
            case "finish":
                self._create(build=WORK)
                self._wait("the task is seen running", lambda: self._is("Running"))
            case "expire":
                self._create(build=SHORT, ttlAfterFinished="3s")
                self._wait("it has ended", lambda: self._is("Completed") and self._is_released())
            case "cancel" | "delete" | "interrupt" | "relaunch" | "stopped":
                self._create(build=LONG)
                self._wait("the task is seen running", lambda: self._is("Running"))
            case "withdraw":
                self._crash("RunTask", lambda: self._create(build=LONG))
        match phase:
            case "interrupt":
                self._plan(build=SHORT)
            case "relaunch":
                self._plan(start=LONG)
                self._interrupt()
                self._wait("another attempt is noted", lambda: len(self._attempts()) == 2)
            case "stopped":
                self._crash("StopTask", self._cancel)
                self._wait("the task has stopped", lambda: self._running(self._own()) == 0)

    def act(self, phase: str) -> None:
        """What the phase is named after; in the others time goes on."""
        match phase:
            case "launch":
                self._create(start=LONG)
            case "cancel":
                self._cancel()
            case "interrupt":
                self._interrupt()
            case "stopped":
                self._cluster.control("POST", "/operator/start")
            case "withdraw":
                self._cluster.delete(BUILDS, self._name)
                self._cluster.control("POST", "/operator/start")
            case "delete":
                self._delete_all()

    def is_done(self, phase: str) -> bool:
        """As far as the phase goes: told in the status, and nothing of ours on a Build that has ended."""
        match phase:
            case "launch" | "relaunch":
                attempts = self._attempts()
                noted = len(attempts) == (1 if phase == "launch" else 2) and "taskARN" in attempts[-1]
                return noted and self._is("Provisioning")
            case "follow":
                return self._is("Running")
            case "finish" | "interrupt":
                return self._is("Completed") and self._is_released()
            case "cancel" | "stopped":
                return self._is("Cancelled") and self._is_released()
            case "delete":
                return not self._cluster.names(BUILDS)
        return self._cluster.get(BUILDS, self._name) is None

    def explain(self) -> str:
        """Its conditions and attempts."""
        status = self._body().get("status", {})
        told = {each["type"]: f"{each['reason']}: {each['message']}" for each in status.get("conditions", [])}
        return json.dumps({"name": self._name, "conditions": told, "attempts": status.get("attempts", [])})

    def picture(self) -> object:
        """The Build of this phase, and the tasks of each of its attempts."""
        body, own = self._body(), self._own()
        status = body.get("status", {})
        succeeded = condition(body, "Succeeded")
        return {
            "succeeded": [succeeded.get("status"), succeeded.get("reason")],
            "held": FINALIZER in body.get("metadata", {}).get("finalizers", ()),
            "label": FINISHED_LABEL in body.get("metadata", {}).get("labels", {}),
            "digest": status.get("image", {}).get("digest"),
            "failure": status.get("failure", {}).get("reason"),
            "attempts": [
                [row["number"], row.get("stopCode"), sum(task["arn"] == row.get("taskARN") for task in own)]
                for row in self._attempts()
            ],
            "tasks": sorted(str(task["stopCode"]) for task in own),
            "running": self._running(own),
        }

    def broken(self) -> str | None:
        """A Build that changed after its end; more than one task for an attempt; a task of nobody, or that outlives its Build."""
        # In this order: whoever ends between the two looks is no reason for a complaint.
        owners, tasks = self._owners(), self._tasks()
        orphans = [task["arn"] for task in tasks if task["status"] != "STOPPED" and task["startedBy"] not in owners]
        told = self._history.broken(tasks, self._uids.values())
        return told or (f"these tasks run for no Build: {orphans}" if orphans else None)

    # --- what users do

    def _create(self, *, start: float = SHORT, build: float = SHORT, **spec: Any) -> None:
        self._plan(start=start, build=build)
        self._cluster.create(
            BUILDS,
            {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": "Build",
                "metadata": {"name": self._name},
                "spec": {
                    "cacheRef": {"name": CACHE},
                    "service": "web",
                    "source": {"inline": {"dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}},
                    "output": {"images": [f"{self._cluster.info['registry']}/team/web:{self._name}"]},
                    **spec,
                },
            },
        )
        self._uids[self._name] = self._body()["metadata"]["uid"]

    def _cancel(self) -> None:
        self._cluster.patch(BUILDS, self._name, {"spec": {"cancel": True}})

    def _delete_all(self) -> None:
        for name in self._cluster.names(BUILDS):
            self._cluster.delete(BUILDS, name)

    # --- what the lab does

    def _plan(self, *, start: float = SHORT, build: float = SHORT) -> None:
        plan = {"start": start, "build": build, "report": REPORT}
        self._cluster.control("POST", "/ecs/runtime", {"runtime": "simulated", "plan": plan})

    def _interrupt(self) -> None:
        for task in self._own():
            self._cluster.control("POST", "/tasks/interrupt", {"arn": task["arn"]})

    def _crash(self, operation: str, act: Callable[[], None]) -> None:
        """The operator dies after this call, and stays away."""
        self._cluster.control("POST", "/operator/crash", {"operation": operation, "when": "after"})
        act()
        self._wait(f"{operation} was called", lambda: self._cluster.control("GET", "/operator")["pid"] is None)

    def _clear(self) -> None:
        self._delete_all()
        self._wait("no Build is left", lambda: not self._cluster.names(BUILDS))

    # --- what there is

    def _wait(self, what: str, there: Callable[[], bool]) -> None:
        if not until(there, PATIENCE):
            raise LabError(f"not within {PATIENCE:.0f} s: {what}; {self.explain()}")

    def _is_ready(self) -> bool:
        return condition(self._cluster.get(CACHES, CACHE) or {}, "Ready").get("status") == "True"

    def _body(self) -> Mapping[str, Any]:
        return self._cluster.get(BUILDS, self._name) or {} if self._name else {}

    def _is(self, reason: str) -> bool:
        return condition(self._body(), "Succeeded").get("reason") == reason

    def _is_released(self) -> bool:
        metadata = self._body().get("metadata", {})
        return FINALIZER not in metadata.get("finalizers", ()) and FINISHED_LABEL in metadata.get("labels", {})

    def _attempts(self) -> Sequence[Mapping[str, Any]]:
        attempts: Sequence[Mapping[str, Any]] = self._body().get("status", {}).get("attempts", [])
        return attempts

    def _tasks(self) -> list[Mapping[str, Any]]:
        """Those that were started in this life."""
        return [task for task in self._cluster.control("GET", "/tasks") if task["arn"] not in self._strangers]

    def _own(self) -> list[Mapping[str, Any]]:
        return [task for task in self._tasks() if task["startedBy"] == self._uids.get(self._name)]

    def _owners(self) -> set[str]:
        """UIDs of the Builds that may have a task that runs."""
        bodies = {name: self._cluster.get(BUILDS, name) for name in self._cluster.names(BUILDS)}
        return {body["metadata"]["uid"] for body in bodies.values() if body is not None and not has_ended(body)}

    @staticmethod
    def _running(tasks: Iterable[Mapping[str, Any]]) -> int:
        return sum(task["status"] != "STOPPED" for task in tasks)

    def _cache(self) -> dict[str, Any]:
        engine = {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "cpu": 256, "memory": 2048}
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "BuildCache",
            "metadata": {"name": CACHE},
            "spec": {
                **place(self._cluster),
                "executors": [{**engine, "taskRoleARN": ROLE, "executionRoleARN": ROLE}],
            },
        }
