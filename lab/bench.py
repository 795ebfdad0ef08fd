"""`python -m lab bench-dispatch`: what a Build costs from its creation to RunTask and to its end, with warm caches.

The clock starts when the API server has answered the creation and stops when RunTask arrives at the AWS stand-in. Builds
are created on a fixed schedule (open loop), so that a stall of the operator counts for every Build behind it. The lab, its
AWS, the API server and this program share the machine with the operator: only the operator's own CPU time is counted.
"""

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from kubernetes import client, config
from rich.console import Console

from buildcache.api.meta import FINISHED_LABEL
from lab import bench_fairness, bench_memory, outside
from lab.bench_board import Board, wait
from lab.lab import Lab
from lab.outside import condition, control

API = ("buildcache.dev", "v1alpha1", "default")
ROLE = "arn:aws:iam::123456789012:role/build"
OPERATOR = "system:serviceaccount:buildcache-system:buildcache-operator"
WRITES = ("create", "update", "patch", "delete")
CALLS = ("RunTask", "StopTask", "DescribeTasks", "ListTasks", "GetLogEvents", "FilterLogEvents")
"""What is asked for Builds; the rest is the BuildCache's own look at its parts."""

CREATORS = 8
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """Builds that are created at a steady rate."""

    builds: int
    per_second: float
    task_seconds: float
    p50: float
    """Targets, in milliseconds."""
    p99: float | None


QUICK = Load(builds=100, per_second=5, task_seconds=5, p50=50, p99=None)
FULL = Load(builds=3600, per_second=20, task_seconds=60, p50=25, p99=120)
AT_ONCE = 1000
FINISHED, MEMORY_TARGET = 10_000, 10.0
CPU_TARGET, AWS_TARGET, WRITES_TARGET = 40.0, 2.0, 6.0
LOOKS_TARGET = 2.5
BUCKET = (25.0, 80.0)
"""RunTask on EC2 a second and at once, as the operator limits itself."""


def main(full: bool = False) -> int:
    """Starts a lab of its own, measures, prints the table; 1 when a target is missed."""
    console = Console()
    board = Board()
    load = FULL if full else QUICK
    with tempfile.TemporaryDirectory(prefix="buildcache-bench-") as folder:
        lab = Lab(Path(folder), runtime="simulated", progress=lambda line: console.print(f"lab: {line}"))
        try:
            info = lab.start()
            bench = Bench(info, console)
            last = bench.steady(load, board)
            if full:
                bench.finished(board)
                bench.at_once(board)
                bench.restart(board)
            bench_fairness.measure(info, console, board, bench_fairness.FULL if full else bench_fairness.QUICK)
        finally:
            lab.stop()
    if full:
        bench_memory.measure(console, board)
    title = f"dispatch: {load.builds} Builds at {load.per_second:g} a second, tasks of {load.task_seconds:g} s"
    board.show(console, title + (f"; then {AT_ONCE} at once" if full else ""))
    console.print(last, highlight=False, soft_wrap=True)
    return 0 if all(right for *_, right in board.rows) else 1


class Bench:
    """One lab with a BuildCache that is Ready."""

    def __init__(self, info: Mapping[str, Any], console: Console) -> None:
        self._info = info
        self._console = console
        self._pid = int(info["operator"]["pid"])
        self._api = client.CustomObjectsApi(config.new_client_from_config(info["kubeconfig"]))
        self._api.api_client.configuration.connection_pool_maxsize = CREATORS
        self._number = 0
        self._api.create_namespaced_custom_object(*API, "buildcaches", _cache(info))
        wait(
            "the BuildCache is Ready",
            self._is_ready,
        )
        self._empty = self._memory()

    def steady(self, load: Load, board: Board) -> str:
        """Create Builds at a rate and follow them to their ends; returns the last line of the output."""
        self._simulate(load.task_seconds)
        since, audit = self._next_call(), Path(self._info["audit"]).stat().st_size
        cpu, began = self._cpu(), time.time()
        answered = self._create(load.builds, load.per_second)
        share = 100 * (self._cpu() - cpu) / (time.time() - began)
        wait("every Build has a task", lambda: len(self._arrived(since)) >= load.builds, 120)
        backlog = max(0.0, max(self._arrived(since)) - max(answered))
        wait("every Build has ended", lambda: self._unfinished() == 0, load.task_seconds + 120)
        waits = [max(0.0, (at - when) * 1000) for at, when in zip(self._arrived(since), answered, strict=True)]
        p50, p90, p99 = (quantiles(waits, n=100)[index] for index in (49, 89, 98))
        every = [call["operation"] for call in self._calls(since)]
        calls = [operation for operation in every if operation in CALLS]
        writes, conflicts = self._writes(audit)
        per_call, per_write = len(calls) / load.builds, writes / load.builds
        board.add("create → RunTask p50", p50, load.p50, " ms")
        board.add("create → RunTask p90", p90, None, " ms")
        board.add("create → RunTask p99", p99, load.p99, " ms")
        board.add("RunTask after the last creation", backlog, 1.0, " s")
        board.add("operator's share of one core", share, CPU_TARGET, " %")
        board.add("AWS calls a Build", per_call, AWS_TARGET)
        for operation in sorted(set(calls)):
            board.add(f"  {operation}", calls.count(operation) / load.builds, None)
        board.add("AWS calls for the BuildCache, in all", len(every) - len(calls), None)
        board.add("Kubernetes writes a Build", per_write, WRITES_TARGET)
        board.add("409 answers", conflicts, 0)
        board.add("memory once all are finished, above empty", self._memory() - self._empty, None, " MiB")
        return (
            f"dispatch: p50={p50:.1f}ms p99={p99:.1f}ms cpu={share:.0f}% aws={per_call:.2f}/build "
            f"writes={per_write:.2f}/build"
        )

    def finished(self, board: Board) -> None:
        """Have FINISHED finished Builds and start the operator anew: they may not take any of its memory."""
        (sample,) = self._api.list_namespaced_custom_object(*API, "builds", label_selector=FINISHED_LABEL, limit=1)[
            "items"
        ]
        missing = FINISHED - self._number
        self._console.print(f"bench: {missing} more finished Builds, about a minute")
        control(self._info, "POST", "/operator/kill")
        numbers = range(self._number, self._number + missing)
        self._number += missing
        with ThreadPoolExecutor(CREATORS) as creators:
            list(creators.map(partial(self._create_finished, sample["status"]), numbers))
        self._pid = int(control(self._info, "POST", "/operator/start")["pid"])
        wait("the operator has listed them", self._is_idle, 120)
        board.add(f"memory with {FINISHED} finished, above empty", self._memory() - self._empty, MEMORY_TARGET, " MiB")

    def _create_finished(self, status: Any, number: int) -> None:
        build = _build(number)
        build["metadata"]["labels"] = {FINISHED_LABEL: "true"}
        self._api.create_namespaced_custom_object(*API, "builds", build)
        name = build["metadata"]["name"]
        self._api.patch_namespaced_custom_object_status(*API, "builds", name, {"status": status})

    def _is_ready(self) -> bool:
        cache = self._api.get_namespaced_custom_object(*API, "buildcaches", "bench")
        return condition(cache, "Ready").get("status") == "True"

    def _is_idle(self) -> bool:
        before = self._cpu()
        time.sleep(3)
        return before > 1 and self._cpu() - before < 0.1

    def at_once(self, board: Board) -> None:
        """1,000 Builds in one moment: started as fast as the bucket allows, then followed by few calls."""
        self._simulate(300)
        since = self._next_call()
        began = time.time()
        self._create(AT_ONCE, None)
        wait("all of them have a task", lambda: len(self._arrived(since)) >= AT_ONCE, 180)
        rate, burst = BUCKET
        board.add(
            f"{AT_ONCE} at once: until the last RunTask",
            max(self._arrived(since)) - began,
            (AT_ONCE - burst) / rate * 1.2,
            " s",
        )
        time.sleep(10)
        since = self._next_call()
        time.sleep(30)
        looks = [call for call in self._calls(since) if call["operation"] == "DescribeTasks"]
        board.add(f"{AT_ONCE} running: DescribeTasks a second", len(looks) / 30, LOOKS_TARGET)

    def restart(self, board: Board) -> None:
        """Kill -9 while 1,000 run: a new Build is started soon, and all running ones are followed; no second task."""
        before = len(control(self._info, "GET", "/tasks"))
        control(self._info, "POST", "/operator/kill")
        since = self._next_call()
        began = time.time()
        self._pid = int(control(self._info, "POST", "/operator/start")["pid"])
        self._create(1, None)
        wait("the new Build has a task", lambda: len(self._arrived(since)) >= 1, 60)
        board.add("restart: process start → RunTask of a new Build", self._arrived(since)[0] - began, 2, " s")
        wait("all are followed", lambda: len(self._looks(since)) >= AT_ONCE / 100, 60)
        board.add(
            "restart: process start → all running followed", self._looks(since)[AT_ONCE // 100 - 1] - began, 5, " s"
        )
        time.sleep(10)
        board.add("restart: second tasks", len(control(self._info, "GET", "/tasks")) - before - 1, 0)

    def _create(self, builds: int, per_second: float | None) -> list[float]:
        """When each creation was answered, in order. Some at a time, so that a slow answer does not delay the schedule."""
        start = time.time()

        def one(number: int) -> float:
            if per_second is not None:
                time.sleep(max(0.0, start + (number - first) / per_second - time.time()))
            self._api.create_namespaced_custom_object(*API, "builds", _build(number))
            return time.time()

        first = self._number
        self._number += builds
        with ThreadPoolExecutor(CREATORS) as creators:
            return sorted(creators.map(one, range(first, first + builds)))

    def _simulate(self, seconds: float) -> None:
        control(self._info, "POST", "/ecs/runtime", {"runtime": "simulated", "plan": {"start": 1, "build": seconds}})

    def _next_call(self) -> int:
        return int(control(self._info, "GET", "/calls?since=999999999")["next"])

    def _calls(self, since: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = control(self._info, "GET", f"/calls?since={since}")["calls"]
        return found

    def _arrived(self, since: int) -> list[float]:
        """When each RunTask came. First in, first out: the n-th belongs to the n-th Build; one may precede its creation's answer."""
        return sorted(call["at"] for call in self._calls(since) if call["operation"] == "RunTask")

    def _looks(self, since: int) -> list[float]:
        return [call["at"] for call in self._calls(since) if call["operation"] == "DescribeTasks"]

    def _unfinished(self) -> int:
        with urllib.request.urlopen(self._info["operator"]["metrics"], timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return next(
            int(float(line.split()[-1])) for line in lines if line.startswith('buildcache_objects{kind="Build"}')
        )

    def _cpu(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _memory(self) -> float:
        status = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))

    def _writes(self, offset: int) -> tuple[int, int]:
        writes = conflicts = 0
        with Path(self._info["audit"]).open("rb") as log:
            log.seek(offset)
            for line in log:
                if b"builds" not in line:
                    continue
                entry = json.loads(line)
                kind = entry.get("objectRef", {}).get("resource")
                if entry["user"]["username"] == OPERATOR and kind == "builds" and entry["verb"] in WRITES:
                    writes += 1
                    conflicts += entry["responseStatus"]["code"] == 409
        return writes, conflicts


def _cache(info: Mapping[str, Any]) -> dict[str, Any]:
    subnets = outside.aws(info, "ec2").describe_subnets()["Subnets"]
    executor = {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "taskRoleARN": ROLE, "executionRoleARN": ROLE}
    return {
        "apiVersion": "buildcache.dev/v1alpha1",
        "kind": "BuildCache",
        "metadata": {"name": "bench"},
        "spec": {
            "region": info["region"],
            "clusterARN": f"arn:aws:ecs:{info['region']}:{info['account']}:cluster/builds",
            "network": {"vpcID": subnets[0]["VpcId"], "subnetIDs": [subnets[0]["SubnetId"]]},
            "executors": [executor],
            "limits": {"maxConcurrentBuilds": 10000, "maxQueuedBuilds": 10000},
        },
    }


def _build(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "buildcache.dev/v1alpha1",
        "kind": "Build",
        "metadata": {"name": f"bench-{number}"},
        "spec": {
            "cacheRef": {"name": "bench"},
            "service": "web",
            "source": {"inline": {"dockerfile": "FROM scratch"}},
            "output": {"push": False},
        },
    }
