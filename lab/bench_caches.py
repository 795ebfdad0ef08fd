"""`python -m lab bench-caches`: 100 BuildCaches at once, with AWS's rate limits of ECS in force."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from kubernetes import client, config
from rich.console import Console
from rich.table import Table

from lab.bench import ROLE
from lab.demo.cluster import GROUP, VERSION, Cluster
from lab.lab import Lab, LabInfo
from lab.outside import condition

CACHES = 100
NAMESPACE = "default"
DEADLINE = 600.0


def main() -> int:
    """A lab of its own; 1 when one does not become Ready or a user could have seen a throttling error."""
    console = Console()
    with tempfile.TemporaryDirectory(prefix="buildcache-bench-") as folder:
        lab = Lab(Path(folder), runtime="simulated", progress=lambda line: console.print(f"lab: {line}"), limits=True)
        try:
            return _measure(lab.start(), console)
        finally:
            lab.stop()


def _measure(info: LabInfo, console: Console) -> int:
    cluster = Cluster(info, NAMESPACE)
    objects = client.CustomObjectsApi(config.new_client_from_config(info["kubeconfig"]))
    body = _body(cluster)
    began = time.monotonic()
    for number in range(CACHES):
        cluster.create("buildcaches", {**body, "metadata": {"name": f"bench-{number}"}})
    ready: dict[str, float] = {}
    troubled: set[str] = set()
    while len(ready) < CACHES and time.monotonic() - began < DEADLINE:
        for each in objects.list_namespaced_custom_object(GROUP, VERSION, NAMESPACE, "buildcaches")["items"]:
            name = each["metadata"]["name"]
            if condition(each, "Ready").get("status") == "True":
                ready.setdefault(name, time.monotonic() - began)
            conditions: list[Mapping[str, Any]] = each.get("status", {}).get("conditions", [])
            if any(found["reason"] == "AwsUnavailable" or "hrottl" in found["message"] for found in conditions):
                troubled.add(name)
        time.sleep(0.5)
    calls = cluster.control("GET", "/calls?since=0")["calls"]
    throttled = sum(call["status"] == 400 and call["operation"] in ("RegisterTaskDefinition",) for call in calls)
    if len(ready) < CACHES:
        console.print(f"caches: {len(ready)}/{CACHES} ready within {DEADLINE:.0f} s", highlight=False)
        return 1
    waits = sorted(ready.values())
    console.print(_table(waits, Counter(call["operation"] for call in calls)))
    console.print(
        f"caches: {CACHES} ready, p50={median(waits):.1f}s p99={quantiles(waits, n=100)[98]:.1f}s "
        f"calls={len(calls) / CACHES:.0f}/cache throttled={throttled} seen={len(troubled)}",
        highlight=False,
    )
    return 1 if troubled else 0


def _table(waits: list[float], operations: Mapping[str, int]) -> Table:
    table = Table(title=f"{CACHES} BuildCaches created at once: p50 {median(waits):.1f} s, last {waits[-1]:.1f} s")
    table.add_column("AWS operation")
    table.add_column("calls", justify="right")
    table.add_column("for each cache", justify="right")
    for operation, count in sorted(operations.items(), key=lambda item: -item[1]):
        table.add_row(operation, str(count), f"{count / CACHES:.1f}")
    return table


def _body(cluster: Cluster) -> dict[str, Any]:
    ec2 = cluster.aws("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    executor = {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "taskRoleARN": ROLE, "executionRoleARN": ROLE}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "BuildCache",
        "spec": {
            "region": cluster.info["region"],
            "clusterARN": f"arn:aws:ecs:{cluster.info['region']}:{cluster.info['account']}:cluster/builds",
            "network": {"vpcID": vpc, "subnetIDs": sorted(subnet["SubnetId"] for subnet in subnets)[:2]},
            "registry": {"retentionDays": 30},
            "fileSystem": {},
            "executors": [executor],
        },
    }
