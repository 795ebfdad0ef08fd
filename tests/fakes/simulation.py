"""The operator's real store, queue, workers, passes and poller before an API server and an ECS in memory, in virtual time.

Every write to the API server and every call of ECS has a number. A test says what goes wrong at which number, and what a person does
in the middle of which; a process that was killed is followed by a new one. Only kopf, boto3 and HTTP are missing.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import kubernetes
import urllib3
from botocore.exceptions import ClientError, ReadTimeoutError

from buildcache.api.meta import FINALIZER
from buildcache.controller.shell import Shell
from buildcache.controller.store import Store
from buildcache.controller.watches import Watches, watch_paths
from buildcache.controller.writer import Writer
from buildcache.core.build import finished
from buildcache.core.status import timestamp
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.executor import EcsExecutor
from buildcache.reconcile.outcome import Outcome
from tests.fakes.builds import START, build_body, cache_body
from tests.fakes.kube import GROUP, FakeKube
from tests.fakes.virtual_time import Ended, VirtualLoop

CLUSTERS = tuple(f"arn:aws:ecs:eu-west-1:111122223333:cluster/{name}" for name in ("builds", "others"))
TASK = "arn:aws:ecs:eu-west-1:111122223333:task/{cluster}/{id:032x}"


@dataclass
class Plan:
    """What the world does of itself. Times are seconds of a task's life."""

    faults: Mapping[int, str] = field(default_factory=dict)
    """Number of a call → `kill before`, `kill after`, `error` (no effect), `lost` (effect, no answer), `conflict` (API server)."""
    acts: Mapping[int, Callable[[Simulation], None]] = field(default_factory=dict)
    """Number of a call → what a person does after its effect and before its answer."""
    refusals: int = 0
    """RunTasks that find no room, before the first that does."""
    listed_after: float = 0.0
    """ECS lists and describes a new task late. Less than a minute."""
    placed_after: float = 5.0
    ends_after: float = 60.0
    stops_after: float = 10.0
    shows_containers: bool = False
    starts_running: bool = False
    watch_delay: float = 0.0


@dataclass
class SimTask:
    """A task and the times of its life."""

    arn: str
    started_by: str
    definition: str
    token: str
    created: float
    stop_at: float
    placed_at: float
    stop_asked: bool = False
    reason: str = ""


class Simulation(FakeKube):
    """One BuildCache, one Build, and processes of the operator that come and go."""

    def __init__(self, plan: Plan | None = None, **spec: Any) -> None:
        super().__init__()
        self._loop.close()  # of the HTTP server, which is not started here
        self.plan = plan or Plan()
        self.count = 0
        self.now = 0.0
        self.tasks: dict[str, SimTask] = {}
        self.tokens: dict[tuple[str, str], str] = {}
        self.refused = 0
        self._shell: Shell | None = None
        self._process: VirtualLoop | None = None
        self._store("buildcaches", {"kind": "BuildCache", **cache_body()}, None)
        self._store("builds", {"kind": "Build", **build_body(**spec)}, None)

    # What a person does

    def cancel(self) -> None:
        self._edit("builds", "web-1", lambda body: body["spec"].update(cancel=True))

    def remove(self) -> None:
        if self.build is not None and "deletionTimestamp" not in self.build["metadata"]:
            stamp = timestamp(self.moment())
            self._edit("builds", "web-1", lambda body: body["metadata"].update(deletionTimestamp=stamp))

    def move(self) -> None:
        """Name the other cluster in the BuildCache."""
        if (cache := self.get("buildcaches", "shop")) is not None:
            other = next(arn for arn in CLUSTERS if arn != cache["spec"]["clusterARN"])
            self._edit("buildcaches", "shop", lambda body: body["spec"].update(clusterARN=other))

    def touch(self) -> None:
        """Another client writes to the Build."""
        self._edit(
            "builds", "web-1", lambda body: body["metadata"].setdefault("annotations", {}).update(t=str(self.count))
        )

    # What a test asks

    @property
    def build(self) -> dict[str, Any] | None:
        return self.get("builds", "web-1")

    def reason(self) -> str:
        conditions = ((self.build or {}).get("status") or {}).get("conditions") or ()
        return next((str(each["reason"]) for each in conditions if each["type"] == "Succeeded"), "")

    def is_let_go(self) -> bool:
        return self.build is None or (
            FINALIZER not in self.build["metadata"].get("finalizers", ()) and self._has_ended()
        )

    def going(self) -> list[SimTask]:
        """Tasks that run."""
        return [task for task in self.tasks.values() if self.now < task.stop_at]

    def left_behind(self) -> list[SimTask]:
        """Tasks that run and that nothing will stop."""
        return [task for task in self.going() if self.is_let_go() and not task.stop_asked]

    def moment(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def run(self, seconds: float, done: Callable[[], bool] | None = None) -> None:
        """Let the time pass, with a new process after each that is killed; stop early when it is done."""
        end = self.now + seconds
        while self.now < end and not (done is not None and done()):
            with self._process_of_the_operator() as (loop, shell):
                if self._shell is None:
                    continue
                loop.run_until_complete(self._live(loop, shell, end, done))

    # Inside

    async def _live(self, loop: VirtualLoop, shell: Shell, end: float, done: Callable[[], bool] | None) -> None:
        shell.start()
        for key, body in list(self._objects.items()):
            shell.seen("BuildCache" if key[0] == "buildcaches" else "Build", None, copy.deepcopy(body))
        for path in watch_paths(()):
            shell.watches.opened(path)
        while loop.time() < end and not loop.killed and not (done is not None and done()):  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)
        if not loop.killed:
            await shell.stop()

    @contextmanager
    def _process_of_the_operator(self) -> Iterator[tuple[VirtualLoop, Shell]]:
        loop = VirtualLoop(self.now)
        self._process = loop
        store = Store(finished)
        session: Any = SimpleNamespace(region=lambda name: SimpleNamespace(ecs=SimEcs(self, name), logs=SimLogs()))
        executor = EcsExecutor(session)
        writer = Writer.__new__(Writer)
        writer._api = SimApi(self)
        shell = Shell(
            store=store,
            writer=writer,
            watches=Watches(watch_paths(()), loop.time),
            caches=_Idle(),
            builds=BuildReconciler(store, executor, cluster_id="test"),
            poller=executor.poller,
            capacity=executor.capacity,
            namespaces=(),
            workers=4,
            now=self._clock,
            credentials=lambda: "",
        )
        self._shell = shell
        try:
            yield loop, shell
        finally:
            self._clock()
            self._shell = self._process = None
            # A new process needs some time to be there.
            self.now += 2.0 if loop.killed else 0.0
            loop.killed = True
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    def _clock(self) -> datetime:
        if self._process is not None:
            self.now = self._process.time()
        return self.moment()

    def call(self, effect: Callable[[], Any], error: Callable[[], Exception], lost: Callable[[], Exception]) -> Any:
        """One numbered call: what goes wrong with it, its effect, and what happens elsewhere meanwhile."""
        self._clock()
        number, self.count = self.count, self.count + 1
        fault = self.plan.faults.get(number, "")
        if fault == "kill before":
            raise Ended
        if fault == "error":
            raise error()
        if fault == "conflict":
            self.touch()
        result = effect()
        if (act := self.plan.acts.get(number)) is not None:
            act(self)
        assert len(self.going()) <= 1, "two tasks at once"
        if fault == "kill after":
            raise Ended
        if fault == "lost":
            raise lost()
        return result

    def _has_ended(self) -> bool:
        conditions = ((self.build or {}).get("status") or {}).get("conditions") or ()
        return any(each["type"] == "Succeeded" and each["status"] != "Unknown" for each in conditions)

    def _edit(self, plural: str, name: str, edit: Callable[[dict[str, Any]], Any]) -> None:
        if self.get(plural, name, "team-a") is not None:
            self.change(plural, name, edit)

    def _tell(self, plural: str, kind: str, new: dict[str, Any], old: dict[str, Any] | None, silent: bool) -> None:
        shell, loop = self._shell, self._process
        if shell is not None and loop is not None and not loop.killed:
            name: Any = "BuildCache" if plural == "buildcaches" else "Build"
            loop.call_later(self.plan.watch_delay, shell.seen, name, kind, copy.deepcopy(new))


class _Idle:
    """The BuildCache is as it must be."""

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        return Outcome()


class SimApi:
    """What the writer needs of the Kubernetes client."""

    def __init__(self, world: Simulation) -> None:
        self._world = world

    def patch_namespaced_custom_object(self, *path: Any, _content_type: str, **_: Any) -> Any:
        return self._patch("", _content_type, *path)

    def patch_namespaced_custom_object_status(self, *path: Any, _content_type: str, **_: Any) -> Any:
        return self._patch("status", _content_type, *path)

    def get_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, **_: Any
    ) -> Any:
        return self._answer("GET", f"{GROUP}/namespaces/{namespace}/{plural}/{name}", None, "")

    def list_cluster_custom_object(self, group: str, version: str, plural: str, **_: Any) -> Any:
        return self._answer("GET", f"{GROUP}/{plural}", None, "")

    def _patch(
        self, part: str, kind: str, group: str, version: str, namespace: str, plural: str, name: str, patch: Any
    ) -> Any:
        path = "/".join(filter(None, (f"{GROUP}/namespaces/{namespace}/{plural}/{name}", part)))
        return self._world.call(
            lambda: self._answer("PATCH", path, patch, kind),
            lambda: kubernetes.client.ApiException(status=500),
            lambda: urllib3.exceptions.HTTPError("timed out"),
        )

    def _answer(self, method: str, path: str, body: Any, kind: str) -> Any:
        request: Any = SimpleNamespace(method=method, path=path, query={}, content_type=kind)
        status, answer = self._world._answer(request, copy.deepcopy(body))
        if status >= 400:
            error = kubernetes.client.ApiException(status=status)
            error.body = json.dumps(answer)
            raise error
        return answer


class SimEcs:
    """What the operator's driver needs of an ECS client."""

    def __init__(self, world: Simulation, region: str) -> None:
        self._world = world

    def run_task(self, **request: Any) -> Any:
        return self._call("RunTask", lambda: self._run(request))

    def describe_tasks(self, *, cluster: str, tasks: list[str]) -> Any:
        world = self._world
        world._clock()
        seen = [arn for arn in tasks if arn in world.tasks and self._is_seen(world.tasks[arn], cluster)]
        failures = [{"arn": arn, "reason": "MISSING"} for arn in tasks if arn not in seen]
        return {"tasks": [self._told(world.tasks[arn]) for arn in seen], "failures": failures}

    def list_tasks(self, *, cluster: str, **filters: Any) -> Any:
        world = self._world
        world._clock()
        want_stopped = filters.get("desiredStatus") == "STOPPED"
        found = [
            task.arn
            for task in world.tasks.values()
            if self._is_seen(task, cluster)
            and (task.stop_asked or world.now >= task.stop_at) == want_stopped
            and filters.get("startedBy", task.started_by) == task.started_by
        ]
        return {"taskArns": found}

    def stop_task(self, *, cluster: str, task: str, reason: str) -> Any:
        return self._call("StopTask", lambda: self._stop(task, reason))

    def _call(self, operation: str, effect: Callable[[], Any]) -> Any:
        return self._world.call(
            effect,
            lambda: ClientError({"Error": {"Code": "ServerException", "Message": "try again"}}, operation),
            lambda: ReadTimeoutError(endpoint_url="https://ecs"),
        )

    def _run(self, request: Mapping[str, Any]) -> Any:
        world, plan = self._world, self._world.plan
        cluster = request["cluster"].rpartition("/")[2]
        token = (cluster, request["clientToken"])
        if token not in world.tokens:
            if world.refused < plan.refusals:
                world.refused += 1
                return {"tasks": [], "failures": [{"arn": "arn:aws:ecs:x", "reason": "RESOURCE:MEMORY"}]}
            arn = TASK.format(cluster=cluster, id=len(world.tasks))
            world.tokens[token] = arn
            world.tasks[arn] = SimTask(
                arn=arn,
                started_by=request["startedBy"],
                definition=request["taskDefinition"],
                token=request["clientToken"],
                created=world.now,
                placed_at=world.now + plan.placed_after,
                stop_at=world.now + plan.ends_after,
            )
        return {"tasks": [self._told(world.tasks[world.tokens[token]])], "failures": []}

    def _stop(self, arn: str, reason: str) -> Any:
        world = self._world
        task = world.tasks[arn]
        if not task.stop_asked and world.now < task.stop_at:
            task.stop_asked, task.reason = True, reason
            task.stop_at = world.now + world.plan.stops_after
        return {"task": self._told(task)}

    def _is_seen(self, task: SimTask, cluster: str) -> bool:
        here = f":task/{cluster}/" in task.arn
        return here and self._world.now >= task.created + self._world.plan.listed_after

    def _told(self, task: SimTask) -> dict[str, Any]:
        world, plan = self._world, self._world.plan
        stopped, placed = world.now >= task.stop_at, world.now >= task.placed_at
        told: dict[str, Any] = {
            "taskArn": task.arn,
            "startedBy": task.started_by,
            "taskDefinitionArn": task.definition,
            "version": 1 + placed + 2 * task.stop_asked + 4 * stopped,
            "createdAt": START + timedelta(seconds=task.created),
            "desiredStatus": "STOPPED" if stopped or task.stop_asked else "RUNNING",
        }
        if stopped:
            code = {"exitCode": 137 if task.stop_asked else 0}
            told |= {
                "lastStatus": "STOPPED",
                "stopCode": "UserInitiated" if task.stop_asked else "EssentialContainerExited",
                "stoppedReason": task.reason or "Essential container in task exited",
                "stoppedAt": START + timedelta(seconds=task.stop_at),
                "containers": [
                    {"name": name, "lastStatus": "STOPPED", **code} for name in ("fetch", "build", "report")
                ],
            }
        elif placed or plan.starts_running:
            told |= {"lastStatus": "RUNNING" if plan.starts_running else "PENDING"}
            state = {"fetch": "STOPPED", "build": "RUNNING", "report": "PENDING"}
            told["containers"] = [
                {"name": name, "lastStatus": status, **({"exitCode": 0} if name == "fetch" else {})}
                for name, status in state.items()
            ]
        else:
            told["lastStatus"] = "PROVISIONING"
            if plan.shows_containers:
                told["containers"] = [{"name": name, "lastStatus": "PENDING"} for name in ("fetch", "build", "report")]
        return told


class SimLogs:
    """CloudWatch without a line."""

    def get_log_events(self, **_: Any) -> Any:
        return {"events": [], "nextBackwardToken": "b", "nextForwardToken": "f"}
