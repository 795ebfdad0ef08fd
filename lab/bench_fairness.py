"""The part of `bench-dispatch` on fairness: what a new Build waits while others are in trouble, against what it waits alone.

Once with hundreds of waiting Builds of one other namespace, once with Builds and BuildCaches in a region whose endpoint hangs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from kubernetes import client, config
from rich.console import Console

from lab import outside
from lab.bench_board import Board, wait
from lab.outside import condition, control

GROUP, VERSION = "buildcache.dev", "v1alpha1"
ROLE = "arn:aws:iam::123456789012:role/build"
DEAD = "eu-central-1"
TARGET = 2.0
"""Times as long as alone."""
EVERY = 0.25
"""Seconds between new Builds, by a fixed schedule: a stall counts for all that come in it."""
CREATORS = 8
NAMESPACES = ("fair-quiet", "fair-dead", "fair-crowd")


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many are in trouble, and how many new Builds are timed beside them."""

    builds: int
    caches: int
    waiting: int
    timed: int


# With some hundreds of samples the worst one alone does not make the p99.
QUICK = Crowd(builds=40, caches=5, waiting=80, timed=200)
FULL = Crowd(builds=200, caches=50, waiting=400, timed=300)


def measure(info: Mapping[str, Any], console: Console, board: Board, crowd: Crowd) -> None:
    """Fill the lines of the table; the cluster must be quiet."""
    world = World(info)
    control(info, "POST", "/ecs/runtime", {"runtime": "simulated", "plan": {"start": 1, "build": 1000}})
    console.print(f"bench: fairness, {crowd.caches} BuildCaches in another region are made first (one a second)")
    world.prepare(crowd)
    alone = world.p99(crowd.timed)
    board.add("a new Build alone: create → RunTask p99", alone, None, " ms")
    world.builds("fair-crowd", ["crowd"] * crowd.waiting)
    beside = world.p99(crowd.timed)
    board.add(f"beside {crowd.waiting} waiting Builds of one namespace: p99", beside, None, " ms")
    board.add("  times as long as alone", beside / alone, TARGET)
    world.remove("fair-crowd")
    # Last, as what waits for a region looks again minutes after it is back only.
    control(info, "POST", "/faults", [{"operation": "*", "kind": "hang", "region": DEAD, "times": -1}])
    world.builds("fair-dead", [f"dead-{number % crowd.caches}" for number in range(crowd.builds)])
    beside = world.p99(crowd.timed)
    board.add(f"beside {crowd.builds} Builds and {crowd.caches} caches in a dead region: p99", beside, None, " ms")
    board.add("  times as long as alone", beside / alone, TARGET)


class World:
    """One lab: namespaces, BuildCaches and Builds in it."""

    def __init__(self, info: Mapping[str, Any]) -> None:
        self._info = info
        api = config.new_client_from_config(info["kubeconfig"])
        api.configuration.connection_pool_maxsize = CREATORS
        self._core, self._api = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._number = 0

    def prepare(self, crowd: Crowd) -> None:
        """Make all BuildCaches, and wait until they are Ready."""
        for name in NAMESPACES:
            self._core.create_namespace({"metadata": {"name": name}})
        outside.aws(self._info, "ecs", DEAD).create_cluster(clusterName="builds")
        self.cache("fair-quiet", "quiet", self._info["region"])
        self.cache("fair-crowd", "crowd", self._info["region"], limits={"maxConcurrentBuilds": 8})
        for number in range(crowd.caches):
            self.cache("fair-dead", f"dead-{number}", DEAD)
        wait("the BuildCaches are Ready", lambda: all(map(self.is_ready, NAMESPACES)), 240)

    def p99(self, timed: int) -> float:
        """Milliseconds from creation to RunTask of new Builds in the quiet namespace."""
        since = int(control(self._info, "GET", "/calls?since=999999999")["next"])
        answered = []
        start = time.time()
        for number in range(timed):
            time.sleep(max(0.0, start + number * EVERY - time.time()))
            self._build("fair-quiet", "quiet")
            answered.append(time.time())

        def arrived() -> list[float]:
            calls = control(self._info, "GET", f"/calls?since={since}")["calls"]
            mine = [call for call in calls if call["operation"] == "RunTask" and call["region"] == self._info["region"]]
            return sorted(call["at"] for call in mine)

        wait("the new Builds have tasks", lambda: len(arrived()) >= timed, 300)
        # First in, first out; the first of a crowd ran before.
        waits = [max(0.1, (at - when) * 1000) for at, when in zip(arrived()[-timed:], answered, strict=True)]
        return quantiles(waits, n=100)[98]

    def builds(self, namespace: str, caches: list[str]) -> None:
        """Make one Build for each entry; back when the operator has seen all of them."""
        with ThreadPoolExecutor(CREATORS) as creators:
            list(creators.map(lambda cache: self._build(namespace, cache), caches))
        time.sleep(10)

    def remove(self, namespace: str) -> None:
        """Delete the Builds of a namespace, and wait for their end."""
        self._api.delete_collection_namespaced_custom_object(GROUP, VERSION, namespace, "builds")
        wait(f"the Builds of {namespace} are gone", lambda: not self._list(namespace, "builds"), 600)

    def _list(self, namespace: str, plural: str) -> list[Any]:
        found: list[Any] = self._api.list_namespaced_custom_object(GROUP, VERSION, namespace, plural)["items"]
        return found

    def is_ready(self, namespace: str) -> bool:
        """Tell whether all BuildCaches of a namespace are."""
        caches = self._list(namespace, "buildcaches")
        return all(condition(cache, "Ready").get("status") == "True" for cache in caches)

    def cache(self, namespace: str, name: str, region: str, **more: Any) -> None:
        """Make a BuildCache; `limits` beside those that let everything run."""
        subnet = outside.aws(self._info, "ec2", region).describe_subnets()["Subnets"][0]
        executor = {
            "name": "ec2",
            "engine": "BuildKit",
            "launchType": "EC2",
            "taskRoleARN": ROLE,
            "executionRoleARN": ROLE,
        }
        spec = {
            "region": region,
            "clusterARN": f"arn:aws:ecs:{region}:{self._info['account']}:cluster/builds",
            "network": {"vpcID": subnet["VpcId"], "subnetIDs": [subnet["SubnetId"]]},
            "executors": [executor],
            "reconcileInterval": "1m",
            "limits": {"maxConcurrentBuilds": 10000, "maxQueuedBuilds": 10000, **more.get("limits", {})},
        }
        self._create(namespace, "buildcaches", "BuildCache", name, spec)

    def _build(self, namespace: str, cache: str) -> None:
        self._number += 1
        spec = {
            "cacheRef": {"name": cache},
            "service": "web",
            "source": {"inline": {"dockerfile": "FROM scratch"}},
            "output": {"push": False},
        }
        self._create(namespace, "builds", "Build", f"fair-{self._number}", spec)

    def _create(self, namespace: str, plural: str, kind: str, name: str, spec: Any) -> None:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": name}, "spec": spec}
        self._api.create_namespaced_custom_object(GROUP, VERSION, namespace, plural, body)
