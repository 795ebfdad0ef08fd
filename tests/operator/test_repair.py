"""The repair list: what it finds is in test_store.py and test_shell.py; here is what it costs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

from buildcache.controller.objects import Key
from buildcache.controller.repair import Repair
from buildcache.controller.store import Store
from buildcache.core.build import finished

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
BUILDS, PAGE = 2000, 100


def body(number: int) -> dict[str, Any]:
    """A Build of 4 KiB."""
    return {
        "metadata": {
            "name": f"web-{number}",
            "namespace": "team-a",
            "uid": f"uid-{number}",
            "resourceVersion": str(number + 1),
            "creationTimestamp": "2026-01-01T10:00:00Z",
        },
        "spec": {
            "cacheRef": {"name": "shop"},
            "service": "web",
            "buildArgs": [{"name": f"A{each}", "value": f"{number}-{each} " * 10} for each in range(32)],
        },
        "status": {"observedGeneration": -1},
    }


class Lists:
    """A writer that only lists, and makes each page when it is asked for."""

    def pages(self, kind: str, namespaces: tuple[str, ...], selector: str = "") -> Iterator[list[dict[str, Any]]]:
        for start in range(0, BUILDS, PAGE):
            yield [body(number) for number in range(start, start + PAGE)]


def test_c8_a_repair_keeps_no_bodies() -> None:
    store = Store(finished)
    for number in range(BUILDS):
        store.seen("Build", None, body(number))
    repair = Repair(store, Lists())  # type: ignore[arg-type]
    assert repair.make("Build", "") == []
    tracemalloc.start()
    try:
        assert repair.make("Build", "") == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    one_page = PAGE * 4096 * 4
    assert peak < 2 * one_page, f"{peak / 2**20:.1f} MiB"


def test_c8_a_build_is_kept_in_twice_its_size() -> None:
    """Four kibibytes of arguments, parsed, take sixteen."""
    tracemalloc.start()
    try:
        store = Store(finished)
        for number in range(BUILDS):
            store.seen("Build", None, body(number))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < BUILDS * 4096 * 2, f"{kept / BUILDS:.0f} bytes each"


def test_c8_a_pass_gets_the_whole_build_and_others_do_without_its_arguments() -> None:
    store = Store(finished)
    store.seen("Build", None, body(1))
    assert store.get(Key("Build", "team-a", "web-1")) == body(1)
    assert store.read(Key("Build", "team-a", "web-1"), body(1), store.begin_read()) == body(1)
    (seen,) = store.builds_of("team-a", "shop")
    assert seen["spec"] == {name: value for name, value in body(1)["spec"].items() if name != "buildArgs"}


def test_c8_what_kubectl_applied_is_not_kept() -> None:
    store = Store(finished)
    applied = body(1)
    applied["metadata"]["annotations"] = {LAST_APPLIED: "{}" * 1000, "team": "a"}
    store.seen("Build", "ADDED", applied)
    kept = store.get(Key("Build", "team-a", "web-1")) or {}
    assert kept["metadata"]["annotations"] == {"team": "a"}
    assert LAST_APPLIED in applied["metadata"]["annotations"], "the event is somebody else's"


def test_c8_a_repair_of_one_namespace_doubts_nothing_elsewhere() -> None:
    store = Store(finished)
    other = body(1)
    other["metadata"] |= {"namespace": "team-b", "uid": "other"}
    store.seen("Build", "ADDED", other)
    store.seen("Build", "ADDED", {**body(2), "metadata": {**body(2)["metadata"], "name": "gone", "uid": "gone"}})
    listed: set[Key] = set()
    assert store.repaired("Build", "team-a", listed, store.begin_read()) == [Key("Build", "team-a", "gone")]
    assert not store.is_doubted(Key("Build", "team-b", "web-1"))
