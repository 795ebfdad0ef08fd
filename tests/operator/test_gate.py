"""Passes begin with a whole view and not before: the first lists arrive in any order, in pieces, late, or are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.meta import FINALIZER
from buildcache.controller.watches import BLIND_AFTER, watch_paths
from tests.fakes.virtual import VirtualLoop, simulate

from .simulation import WORKERS, World

HERE = "eu-west-1"
LIMIT, HELD = 8, 8


def full(world: World, waiting: int) -> None:
    """A cache whose limit is reached, and Builds that wait; what runs comes last in a list that is ordered by name."""
    cache = world.cache("shop", HERE, limits={"maxConcurrentBuilds": LIMIT})
    for number in range(waiting):
        world.build(f"a-{number:04}", cache, quiet=True)
    for number in range(HELD):
        world.build(f"z-{number}", cache, quiet=True)
        (held,) = [body for body in world.kube.bodies("Build") if body["metadata"]["name"] == f"z-{number}"]
        held["metadata"]["finalizers"] = [FINALIZER]


@settings(max_examples=15, deadline=None)
@given(
    st.permutations(range(6)),
    st.lists(st.floats(0, 400), min_size=6, max_size=6),
    st.integers(0, 3),
    st.floats(0, 900),
)
def test_c2_a_limit_holds_however_the_first_list_arrives(
    order: list[int], pauses: list[float], refusals: int, opened_after: float
) -> None:
    """The watch layer delivers a list in pieces, minutes apart if it must; its watches may even open before the pieces have come."""

    async def scenario(loop: VirtualLoop) -> None:
        world = World(loop, HERE, takes=lambda uid: 100_000)
        full(world, waiting=40)
        world.kube.refuses_lists = refusals
        bodies = [("BuildCache", body) for body in world.kube.bodies("BuildCache")]
        bodies += [("Build", body) for body in world.kube.bodies("Build")]
        pieces = [bodies[number::6] for number in range(6)]

        async def deliver() -> None:
            for number, pause in zip(order, pauses, strict=True):
                await asyncio.sleep(pause)
                for kind, body in pieces[number]:
                    world.shell.seen(kind, None, body)  # type: ignore[arg-type]

        async with world.running(watched=False):
            delivery = asyncio.create_task(deliver())
            await asyncio.sleep(opened_after)
            assert world.kube.writes == 0, "nothing is decided while the watches are not open"
            for path in watch_paths(()):
                world.watches.opened(path)
            await delivery
            await asyncio.sleep(120)
        admitted = [body for body in world.kube.bodies("Build") if body["metadata"].get("finalizers")]
        assert len(admitted) == LIMIT

    simulate(scenario)


def test_c2_passes_begin_at_once_when_everything_is_there() -> None:
    async def scenario(loop: VirtualLoop) -> float:
        world = World(loop, HERE, takes=lambda uid: 100_000)
        cache = world.cache("shop", HERE)
        world.build("web", cache, quiet=True)
        async with world.running():
            await asyncio.sleep(10)
            return world.regions[HERE].asked[0][0]

    assert simulate(scenario) < 0.3


def test_c2_whoever_waited_while_there_was_no_operator_comes_in_the_order_of_creation() -> None:
    """A list has the order of names, here the opposite. As many as there are workers come at once."""

    async def scenario(loop: VirtualLoop) -> list[int]:
        world = World(loop, HERE, takes=lambda uid: 100_000)
        cache = world.cache("shop", HERE)
        for number in range(48):
            world.build(f"{99 - number}", cache, quiet=True)
            (body,) = [each for each in world.kube.bodies("Build") if each["metadata"]["name"] == f"{99 - number}"]
            body["metadata"]["creationTimestamp"] = f"2026-03-01T11:00:{number:02}Z"
        async with world.running():
            await asyncio.sleep(10)
        return [99 - int(uid.rpartition(".")[2]) for _, uid in world.regions[HERE].asked]

    asked = simulate(scenario)
    workers = WORKERS - WORKERS // 4
    assert [number // workers for number in asked] == [place // workers for place in range(48)]


def test_c2_a_namespace_that_cannot_be_listed_keeps_no_other_closed() -> None:
    async def scenario(loop: VirtualLoop) -> Mapping[str, int]:
        world = World(loop, HERE, takes=lambda uid: 100_000, namespaces=("team-a", "team-b"))
        for namespace in ("team-a", "team-b"):
            world.build("web", world.cache("shop", HERE, namespace), quiet=True)
        async with world.running(watched=False):
            for path in watch_paths(("team-a",)):
                world.watches.opened(path)
            for kind in ("BuildCache", "Build"):
                for body in world.kube.bodies(kind):
                    world.shell.seen(kind, None, body)
            await asyncio.sleep(60)
            only = len(world.regions[HERE].asked)
            for path in watch_paths(("team-b",)):
                world.watches.opened(path)
            await asyncio.sleep(60)
            return {"one": only, "both": len(world.regions[HERE].asked)}

    assert simulate(scenario) == {"one": 1, "both": 2}


def test_c2_p6_nothing_begins_while_the_watches_are_closed_and_all_of_it_when_they_are_open_again() -> None:
    async def scenario(loop: VirtualLoop) -> tuple[int, int]:
        world = World(loop, HERE, takes=lambda uid: 100_000)
        cache = world.cache("shop", HERE)
        async with world.running():
            await asyncio.sleep(5)
            world.watches.close_all()
            await asyncio.sleep(BLIND_AFTER + 2)
            world.build("web", cache)
            await asyncio.sleep(60)
            blind = len(world.regions[HERE].asked)
            for path in watch_paths(()):
                world.watches.opened(path)
            await asyncio.sleep(5)
            return blind, len(world.regions[HERE].asked)

    assert simulate(scenario) == (0, 1)
