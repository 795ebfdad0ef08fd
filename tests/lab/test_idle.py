"""Idle means idle: two minutes without any change cause no write to AWS and none to the API server."""

import time

import pytest

from tests.lab.world import WRITES, World, wait_for

pytestmark = pytest.mark.lab
QUIET = 120
"""Seconds without a change; the wait is what is tested, there is nothing to look for meanwhile."""


def test_a_ready_cache_and_ten_finished_builds_cause_no_writes(world: World, namespace: str) -> None:
    """Settled objects cost no write, and no request but the watches."""
    world.ready(namespace, fileSystem={}, registry={"retentionDays": 14})
    for number in range(10):
        world.create(namespace, "builds", world.build(f"web-{number}"))
    for number in range(10):
        world.ended(namespace, f"web-{number}")
    wait_for(
        "the cache's figures have settled",
        lambda: (
            world.get(namespace, "buildcaches", "shop")["status"].get("efficiency", {}).get("builds") == 10
            and world.get(namespace, "buildcaches", "shop")["status"]["queue"] == {"running": 0, "queued": 0}
        ),
    )
    calls, audit = world.calls_now(), world.audit_size()
    time.sleep(QUIET)
    assert [call["operation"] for call in world.calls(calls) if call["mutating"]] == []
    assert [entry["requestURI"] for entry in world.audit(audit) if entry["verb"] in WRITES] == []
