"""The part of `bench-dispatch` on memory: 10,000 Builds that have not ended, 4 KiB each, through the first list and two repairs."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kubernetes import client, config
from rich.console import Console

from lab.bench_board import Board, wait
from lab.bench_fairness import World
from lab.lab import Lab
from lab.outside import control

GROUP, VERSION = "buildcache.dev", "v1alpha1"
BUILDS, TARGET = 10_000, 280.0
REPAIRS, EVERY = 2, 90.0
"""As shipped, repairs are ten minutes apart; nothing else of the operator is changed."""
OPERATOR = (
    sys.executable,
    "-c",
    f"from buildcache.controller import repair; repair.INTERVAL = {EVERY}; "
    "from buildcache.__main__ import main; raise SystemExit(main())",
)
CREATORS = 8


def measure(console: Console, board: Board) -> None:
    """Start a lab of its own: what is measured is the most that the operator has ever held."""
    with tempfile.TemporaryDirectory(prefix="buildcache-bench-") as folder:
        lab = Lab(Path(folder), runtime="simulated", progress=lambda line: None, operator_command=OPERATOR)
        try:
            info = lab.start()
            api = config.new_client_from_config(info["kubeconfig"])
            api.configuration.connection_pool_maxsize = CREATORS
            objects = client.CustomObjectsApi(api)
            world = World(info)
            world.cache(
                "default", "line", info["region"], limits={"maxConcurrentBuilds": 1, "maxQueuedBuilds": 100_000}
            )
            wait("the BuildCache is Ready", lambda: world.is_ready("default"))
            control(info, "POST", "/ecs/runtime", {"runtime": "simulated", "plan": {"start": 1, "build": 10_000}})
            control(info, "POST", "/operator/stop")
            console.print(f"bench: memory, {BUILDS} Builds are made first, about two minutes")
            with ThreadPoolExecutor(CREATORS) as creators:
                list(creators.map(lambda number: _create(objects, number), range(BUILDS)))
            pid = int(control(info, "POST", "/operator/start")["pid"])
            time.sleep(REPAIRS * EVERY + 60)
            board.add(
                f"{BUILDS} unfinished Builds of 4 KiB, {REPAIRS} repairs: peak memory", _peak(pid), TARGET, " MiB"
            )
        finally:
            lab.stop()


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def _create(objects: Any, number: int) -> None:
    """One of a long line."""
    arguments = [{"name": f"A{each}", "value": f"{number}.{each}." * 12} for each in range(32)]
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "Build",
        "metadata": {"name": f"waiting-{number}"},
        "spec": {
            "cacheRef": {"name": "line"},
            "service": "web",
            "source": {"inline": {"dockerfile": "FROM scratch"}},
            "output": {"push": False},
            "buildArgs": arguments,
            "timeouts": {"queue": "24h"},
        },
    }
    objects.create_namespaced_custom_object(GROUP, VERSION, "default", "builds", body)
