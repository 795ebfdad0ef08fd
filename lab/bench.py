"""`python -m lab bench-dispatch`: how long a Build waits between its creation and RunTask, with warm caches.

The clock starts when the API server has answered the creation and stops when RunTask arrives at the AWS stand-in. Builds
are created on a fixed schedule (open loop), so that a stall of the operator counts for every Build behind it.
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from statistics import quantiles
from typing import Any

import boto3
from kubernetes import client, config
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lab.lab import Lab

BUILDS = 100
PER_SECOND = 5
TARGET_P50 = 50.0
"""Milliseconds."""
API = ("buildcache.dev", "v1alpha1", "default")
ROLE = "arn:aws:iam::123456789012:role/build"


def main() -> int:
    """Starts a lab of its own, measures, prints the table; 1 when the median misses its target."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="buildcache-bench-") as folder:
        lab = Lab(Path(folder), runtime="simulated", progress=lambda line: console.print(f"lab: {line}"))
        try:
            waits = _measure(lab.start(), console)
        finally:
            lab.stop()
    p50, p90, p99 = (quantiles(waits, n=100)[index] for index in (49, 89, 98))
    table = Table(title=f"create → RunTask, {BUILDS} Builds at {PER_SECOND} a second")
    for column in ("p50", "p90", "p99", "max", "target p50"):
        table.add_column(column, justify="right")
    table.add_row(*(f"{value:.1f} ms" for value in (p50, p90, p99, max(waits))), f"< {TARGET_P50:.0f} ms")
    console.print(table)
    console.print(f"dispatch: p50={p50:.1f}ms p99={p99:.1f}ms builds={BUILDS}", highlight=False)
    return 0 if p50 < TARGET_P50 else 1


def _measure(info: Mapping[str, Any], console: Console) -> list[float]:
    """Milliseconds from the answer to each creation to the arrival of its RunTask."""
    objects = client.CustomObjectsApi(config.new_client_from_config(info["kubeconfig"]))
    _control(info, "POST", "/ecs/runtime", {"runtime": "simulated", "plan": {"start": 1, "build": 5}})
    objects.create_namespaced_custom_object(*API, "buildcaches", _cache(info))
    deadline = time.monotonic() + 60
    while not _ready(objects.get_namespaced_custom_object(*API, "buildcaches", "bench")):
        if time.monotonic() > deadline:
            raise SystemExit(
                "bench-dispatch: the BuildCache was not Ready within 60 s; see the operator's log in .lab/"
            )
        time.sleep(0.2)
    since = _control(info, "GET", "/calls?since=0")["next"]
    answered = []
    start = time.time()
    for number in track(range(BUILDS), description="creating Builds", console=console):
        time.sleep(max(0.0, start + number / PER_SECOND - time.time()))
        objects.create_namespaced_custom_object(*API, "builds", _build(number))
        answered.append(time.time())
    deadline = time.monotonic() + 60
    while len(arrived := _run_tasks(info, since)) < BUILDS:
        if time.monotonic() > deadline:
            raise SystemExit(f"bench-dispatch: {len(arrived)} of {BUILDS} Builds reached RunTask within 60 s")
        time.sleep(0.2)
    # First in, first out: the n-th RunTask belongs to the n-th Build. One may arrive before the creation's answer is read.
    return [max(0.0, (at - when) * 1000) for at, when in zip(arrived, answered, strict=True)]


def _run_tasks(info: Mapping[str, Any], since: int) -> list[float]:
    calls = _control(info, "GET", f"/calls?since={since}")["calls"]
    return sorted(call["at"] for call in calls if call["operation"] == "RunTask")


def _ready(body: Mapping[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _control(info: Mapping[str, Any], method: str, route: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{info['control']}{route}", data, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def _cache(info: Mapping[str, Any]) -> dict[str, Any]:
    ec2 = boto3.client(
        "ec2",
        endpoint_url=info["aws"],
        region_name=info["region"],
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )
    subnets = ec2.describe_subnets()["Subnets"]
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
            "limits": {"maxConcurrentBuilds": 1000},
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
