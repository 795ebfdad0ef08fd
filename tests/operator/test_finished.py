"""Finished Builds: nothing waits for their list, the oldest beyond a limit go, changes are observed. In virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.meta import FINISHED_LABEL
from buildcache.controller.finished import LONGEST_INTERVAL, SHARE, SHORTEST_INTERVAL, interval
from buildcache.controller.objects import Key
from tests.fakes.virtual import VirtualLoop, simulate, sleep

from .conftest import condition
from .simulation import World

HERE = "eu-west-1"
TRACKED = {"argocd.argoproj.io/tracking-id": "shop:buildcache.dev/Build:team-a/web"}


def ended(
    world: World, name: str, cache: Key, minute: int, *, tracked: bool = False, spec: dict[str, Any] | None = None
) -> Key:
    """A finished Build of before."""
    metadata = {"name": name, "namespace": cache.namespace, "uid": name, "generation": 1}
    status = {
        "observedGeneration": 1,
        "completionTime": f"2026-03-01T{minute // 60:02}:{minute % 60:02}:00Z",
        "conditions": [condition("Succeeded", "True", "Completed")],
    }
    world.kube.create(
        "Build",
        {
            "metadata": {**metadata, "labels": {FINISHED_LABEL: "true"}, "annotations": TRACKED if tracked else {}},
            "spec": {"cacheRef": {"name": cache.name}, "service": "web", **(spec or {})},
            "status": status,
        },
        quiet=True,
    )
    return Key("Build", cache.namespace, name)


@pytest.mark.parametrize(
    ("took", "pause"), [(0.0, SHORTEST_INTERVAL), (2.0, 2.0 * SHARE), (9.0, 1800.0), (600.0, LONGEST_INTERVAL)]
)
def test_c9_the_interval_of_the_list_grows_with_what_it_costs(took: float, pause: float) -> None:
    assert interval(took) == pause


def test_c9_nothing_waits_for_the_list_of_finished_builds() -> None:
    """It takes ten minutes, or is refused for ever: caches are looked at and Builds start all the same."""

    async def scenario(loop: VirtualLoop) -> tuple[int, int]:
        world = World(loop, HERE, takes=lambda uid: 60)
        real = world.kube.pages

        def pages(kind: Any, namespaces: Any, selector: str = "") -> Any:
            if selector == FINISHED_LABEL:
                sleep(600)
            yield from real(kind, namespaces, selector)

        world.kube.pages = pages  # type: ignore[method-assign]
        cache = world.cache("shop", HERE)
        async with world.running():
            world.build("web", cache)
            await asyncio.sleep(5)
            return world.caches.looked.get("shop", 0), len(world.regions[HERE].started)

    assert simulate(scenario) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(
    minutes=st.lists(st.tuples(st.integers(0, 700), st.booleans()), max_size=40),
    limit=st.integers(1, 12),
    changed=st.booleans(),
)
def test_c9_the_oldest_beyond_the_limit_go_and_none_that_gitops_tracks(
    minutes: list[tuple[int, bool]], limit: int, changed: bool
) -> None:
    """Set from the beginning or changed later, in one cache of two."""

    async def scenario(loop: VirtualLoop) -> set[str]:
        world = World(loop, HERE, takes=lambda uid: 60)
        cache = world.cache("shop", HERE, limits={} if changed else {"keepFinishedBuilds": limit})
        other = world.cache("other", HERE)
        for number, (minute, tracked) in enumerate(minutes):
            ended(world, f"b{number:02}", cache, minute, tracked=tracked)
            ended(world, f"other{number:02}", other, minute)
        async with world.running():
            await asyncio.sleep(60)
            if changed:
                assert len(world.kube.bodies("Build")) == 2 * len(minutes)
                world.kube.change(cache, lambda body: body["spec"]["limits"].update(keepFinishedBuilds=limit))
                await asyncio.sleep(60)
            return {body["metadata"]["name"] for body in world.kube.bodies("Build")}

    names = [(minute, f"b{number:02}", tracked) for number, (minute, tracked) in enumerate(minutes)]
    kept = {name for _, name, _ in sorted(each for each in names if not each[2])[-limit:]}
    kept |= {name for _, name, tracked in names if tracked}
    assert simulate(scenario) == kept | {f"other{number:02}" for number in range(len(minutes))}


def test_c9_a_build_that_is_deleted_by_hand_does_not_take_another_one_with_it() -> None:
    """Finished Builds are not watched: what is known of them from a list may be old, so each list counts anew."""

    async def scenario(loop: VirtualLoop) -> set[str]:
        world = World(loop, HERE, takes=lambda uid: 60)
        cache = world.cache("shop", HERE, limits={"keepFinishedBuilds": 5})
        keys = [ended(world, f"b{number}", cache, number) for number in range(5)]
        async with world.running():
            await asyncio.sleep(60)
            world.kube.delete_as_user(keys[4])
            await asyncio.sleep(1)
            ended(world, "b5", cache, 10)
            await asyncio.sleep(SHORTEST_INTERVAL + 10)
            return {body["metadata"]["name"] for body in world.kube.bodies("Build")}

    assert simulate(scenario) == {"b0", "b1", "b2", "b3", "b5"}


def test_c12_a_change_of_a_finished_build_is_observed_once() -> None:
    async def scenario(loop: VirtualLoop) -> tuple[Any, int]:
        world = World(loop, HERE, takes=lambda uid: 60)
        key = ended(world, "web", world.cache("shop", HERE), 1, spec={"ttlAfterFinished": "10000d"})
        async with world.running():
            await asyncio.sleep(60)
            world.kube.change(key, lambda body: body["spec"].update(ttlAfterFinished="9000d"))
            await asyncio.sleep(SHORTEST_INTERVAL + 10)
            writes = world.kube.writes
            await asyncio.sleep(3 * SHORTEST_INTERVAL)
            return world.kube.get(key), world.kube.writes - writes

    body, more = simulate(scenario)
    assert body["metadata"]["generation"] == body["status"]["observedGeneration"] == 2
    assert {each["observedGeneration"] for each in body["status"]["conditions"]} == {2}
    assert body["status"]["conditions"][0]["reason"] == "Completed"
    assert more == 0
