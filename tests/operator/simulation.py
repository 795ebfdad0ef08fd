"""The operator in virtual time: store, queue, lanes, passes, reconciler, executor and poller as shipped, before simulated regions."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, cast

from botocore.exceptions import BotoCoreError

from buildcache.api.meta import FINALIZER
from buildcache.aws.clients import Session
from buildcache.controller.objects import Key
from buildcache.controller.shell import Shell
from buildcache.controller.store import Store
from buildcache.controller.watches import Watches, watch_paths
from buildcache.core.build import finished
from buildcache.core.status import BUILD_GROUP_PART, executor_part
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.executor import EcsExecutor
from buildcache.reconcile.outcome import Outcome
from tests.fakes.builds import REPOSITORY, ROLE, cache_body
from tests.fakes.memory_kube import MemoryKube
from tests.fakes.regions import Region, Regions
from tests.fakes.virtual import VirtualLoop

WORKERS = 16
"""As by default."""


class Caches:
    """Stands for the BuildCache pass: one look at AWS a minute."""

    def __init__(self, regions: Mapping[str, Region]) -> None:
        self._regions = regions
        self.looked: dict[str, int] = {}

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        if FINALIZER not in (body["metadata"].get("finalizers") or ()):
            return Outcome(finalizer="add")
        try:
            self._regions[body["spec"]["region"]].ecs.describe_clusters()
        except BotoCoreError:
            return Outcome(failed=True)
        name = body["metadata"]["name"]
        self.looked[name] = self.looked.get(name, 0) + 1
        return Outcome(again_after=60)


class World:
    """A cluster, some regions, and one operator."""

    def __init__(
        self,
        loop: VirtualLoop,
        *regions: str,
        room: int = 100_000,
        takes: Callable[[str], float],
        namespaces: tuple[str, ...] = (),
    ) -> None:
        self.loop = loop
        self.regions = {name: Region(loop, name, room=room, takes=takes) for name in regions}
        self.kube = MemoryKube(loop)
        self.watches = Watches(watch_paths(namespaces), loop.time)
        self.store = Store(finished)
        executor = EcsExecutor(cast(Session, Regions(self.regions)))
        self.caches = Caches(self.regions)
        self.shell = Shell(
            store=self.store,
            writer=self.kube,
            watches=self.watches,
            caches=self.caches,
            builds=BuildReconciler(self.store, executor, cluster_id="test"),
            poller=executor.poller,
            capacity=executor.capacity,
            namespaces=namespaces,
            workers=WORKERS,
            now=loop.now,
            credentials=lambda: "",
        )
        self.kube.seen = self.shell.seen

    @contextlib.asynccontextmanager
    async def running(self, *, watched: bool = True) -> AsyncIterator[None]:
        """The operator runs; `watched`: what exists has been listed, and the watches are open."""
        self.shell.start()
        if watched:
            self.watch()
        try:
            yield
        finally:
            for task in [*self.shell._loops, *self.shell.builds._tasks, *self.shell.caches._tasks]:
                task.cancel()

    def watch(self) -> None:
        for kind in ("BuildCache", "Build"):
            for body in self.kube.bodies(kind):
                self.shell.seen(kind, None, body)
        for path in watch_paths(()):
            self.watches.opened(path)

    def cache(self, name: str, region: str, namespace: str = "team-a", *, quiet: bool = True, **spec: Any) -> Key:
        """A BuildCache whose executors can be used; `cpu`: of its executor."""
        cpu = spec.pop("cpu", 2048)
        executor = {
            "name": "ec2",
            "engine": "BuildKit",
            "launchType": "EC2",
            "taskRoleARN": ROLE,
            "executionRoleARN": ROLE,
            "cpu": cpu,
        }
        body = cache_body(
            region=region,
            clusterARN=f"arn:aws:ecs:{region}:111122223333:cluster/builds",
            executors=[executor],
            limits={"maxConcurrentBuilds": 10_000, "maxQueuedBuilds": 10_000, **spec.pop("limits", {})},
            **spec,
        )
        body["metadata"] |= {"name": name, "namespace": namespace, "uid": f"uid-{namespace}-{name}"}
        definition = f"arn:aws:ecs:{region}:111122223333:task-definition/buildcache-{namespace}-{name}-ec2:1"
        body["status"] |= {
            "registry": {"repositoryURI": REPOSITORY},
            "parts": [
                {"name": executor_part("ec2"), "kind": "ecs/TaskDefinition", "id": definition, "state": "ACTIVE"},
                {"name": BUILD_GROUP_PART, "kind": "ec2/SecurityGroup", "id": "sg-0a1b2c3d4e5f60718"},
            ],
        }
        self.kube.create("BuildCache", body, quiet=quiet)
        return Key("BuildCache", namespace, name)

    def build(self, name: str, cache: Key, *, quiet: bool = False, **spec: Any) -> Key:
        """A Build whose UID is its namespace and name."""
        metadata = {
            "name": name,
            "namespace": cache.namespace,
            "uid": uid_of(cache.namespace, name),
            "generation": 1,
        }
        self.kube.create(
            "Build",
            {
                "metadata": metadata,
                "spec": {
                    "cacheRef": {"name": cache.name},
                    "service": "web",
                    "source": {"git": {"url": "https://github.com/acme/shop.git", "revision": "main"}},
                    "output": {"push": False},
                    **spec,
                },
                "status": {"observedGeneration": -1},
            },
            quiet=quiet,
        )
        return Key("Build", cache.namespace, name)

    def reason(self, key: Key) -> str:
        body = self.kube.get(key) or {}
        conditions = (body.get("status") or {}).get("conditions") or ()
        return next((str(each["reason"]) for each in conditions if each["type"] == "Succeeded"), "")


def uid_of(namespace: str, name: str) -> str:
    return f"{namespace}.{name}"


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
