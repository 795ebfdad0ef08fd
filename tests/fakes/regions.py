"""AWS regions in virtual time: ECS with room for so many tasks, calls that last, and endpoints that hang as a blackholed one does.

Behind the real drivers: what they are given has the methods of boto3's clients and raises botocore's exceptions. Each client has a real
circuit breaker, asked at the same moments as by botocore.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ReadTimeoutError

from buildcache.aws.breaker import Breaker
from buildcache.core.report import PREFIX
from tests.fakes.builds import DIGEST

from .virtual import VirtualLoop, sleep

LATENCY, TIMEOUT, ATTEMPTS = 0.05, 20.0, 2
"""Seconds of a call, of a call that is not answered, and how often botocore makes it."""

STARTING = 2.0
"""Seconds from RunTask until the first container runs."""

Plan = Callable[[str], float]
"""How long the build of a Build (its UID) takes, in seconds."""


@dataclass
class _Task:
    arn: str
    request: Mapping[str, Any]
    created: datetime
    ends: datetime
    stopping: bool = False


class Region:
    """One region: its clients, its tasks, and whether it answers."""

    def __init__(self, loop: VirtualLoop, name: str, *, room: int, takes: Plan) -> None:
        self.name = name
        self.room = room
        """Tasks that fit at once."""
        self.hangs = False
        self.asked: list[tuple[float, str]] = []
        """When RunTask arrived, and for which Build."""
        self.started: list[tuple[float, str]] = []
        self.looks = 0
        self.ecs = Ecs(self)
        self.logs = Logs(self)
        self._loop = loop
        self._takes = takes
        self._tasks: dict[str, _Task] = {}
        self._tokens: dict[str, str] = {}
        self._breakers = {service: Breaker(loop.time) for service in ("ecs", "logs")}

    def call(self, service: str) -> None:
        """A call as botocore makes it."""
        breaker = self._breakers[service]
        for _ in range(ATTEMPTS):
            breaker.before_send()
            if not self.hangs:
                sleep(LATENCY)
                breaker.heard()
                return
            sleep(TIMEOUT)
            breaker.unheard()
        raise ReadTimeoutError(endpoint_url=f"https://{service}.{self.name}.amazonaws.com")

    @property
    def running(self) -> int:
        return sum(1 for task in self._tasks.values() if task.ends > self._loop.now())

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        uid = str(request["startedBy"])
        self.asked.append((self._loop.time(), uid))
        if (token := str(request["clientToken"])) in self._tokens:
            return {"tasks": [self.shown(self._tasks[self._tokens[token]])], "failures": []}
        if self.running >= self.room:
            return {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]}
        cluster = str(request["cluster"]).rpartition("/")[2]
        arn = f"arn:aws:ecs:{self.name}:111122223333:task/{cluster}/{len(self._tasks):032x}"
        now = self._loop.now()
        task = _Task(arn, request, now, now + timedelta(seconds=STARTING + self._takes(uid)))
        self._tasks[arn] = task
        self._tokens[token] = arn
        self.started.append((self._loop.time(), uid))
        return {"tasks": [self.shown(task)], "failures": []}

    def describe(self, arns: list[str]) -> dict[str, Any]:
        self.looks += 1
        known = [self.shown(self._tasks[arn]) for arn in arns if arn in self._tasks]
        return {"tasks": known, "failures": [{"arn": arn, "reason": "MISSING"} for arn in set(arns) - set(self._tasks)]}

    def shown(self, task: _Task) -> dict[str, Any]:
        now = self._loop.now()
        ended, begun = now >= task.ends, now >= task.created + timedelta(seconds=STARTING)
        state, code = ("STOPPED", 0) if ended else ("RUNNING" if begun else "PENDING", None)
        shown: dict[str, Any] = {
            "taskArn": task.arn,
            "startedBy": task.request["startedBy"],
            "taskDefinitionArn": task.request["taskDefinition"],
            "version": 3 if ended else 2 if begun else 1,
            "lastStatus": state,
            "desiredStatus": "STOPPED" if ended or task.stopping else "RUNNING",
            "createdAt": task.created,
            "containers": [{"name": name, "lastStatus": state} for name in ("fetch", "build", "report")],
        }
        if ended:
            shown |= {"stopCode": "EssentialContainerExited", "stoppedAt": task.ends, "startedAt": task.created}
            for container in shown["containers"]:
                container["exitCode"] = code
        return shown

    def stop(self, arn: str) -> dict[str, Any]:
        task = self._tasks[arn]
        task.stopping, task.ends = True, min(task.ends, self._loop.now() + timedelta(seconds=1))
        return {"task": self.shown(task)}


class Ecs:
    """The operations that the Build pass uses."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def run_task(self, **request: Any) -> dict[str, Any]:
        self._region.call("ecs")
        return self._region.run(request)

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> dict[str, Any]:
        self._region.call("ecs")
        return self._region.describe(tasks)

    def list_tasks(self, **_: Any) -> dict[str, Any]:
        self._region.call("ecs")
        return {"taskArns": []}

    def stop_task(self, *, cluster: str, task: str, reason: str) -> dict[str, Any]:
        self._region.call("ecs")
        return self._region.stop(task)

    def describe_clusters(self) -> None:
        """What a BuildCache's pass stands for here: a look at AWS."""
        self._region.call("ecs")


class Logs:
    """Every report is there."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def get_log_events(self, **_: Any) -> dict[str, Any]:
        self._region.call("logs")
        report = {"version": 1, "digest": DIGEST, "steps": {"total": 6, "cached": 6}, "buildSeconds": 2}
        return {"events": [{"message": PREFIX + json.dumps(report)}], "nextBackwardToken": "end"}

    def filter_log_events(self, **_: Any) -> dict[str, Any]:
        self._region.call("logs")
        return {"events": []}


class Regions:
    """Stands for `aws.clients.Session`."""

    def __init__(self, regions: Mapping[str, Region]) -> None:
        self._regions = regions

    def region(self, name: str) -> Region:
        return self._regions[name]
