"""One bad region or busy namespace does not delay another: hours of virtual time over the operator as shipped."""

from __future__ import annotations

import asyncio

import pytest

from buildcache.controller.objects import Key
from buildcache.controller.passes import Done
from tests.fakes.virtual import VirtualLoop, simulate

from .simulation import World, percentile, uid_of

HERE, DEAD = "eu-west-1", "us-east-1"


async def starts(world: World, cache: Key, *, builds: int, every: float, prefix: str = "new") -> list[float]:
    """Create Builds at a steady rate; the seconds from creation to RunTask of each."""
    created: dict[str, float] = {}
    region = world.regions[HERE]
    for number in range(builds):
        created[uid_of(cache.namespace, f"{prefix}-{number}")] = world.loop.time()
        world.build(f"{prefix}-{number}", cache)
        await asyncio.sleep(every)
    await asyncio.sleep(120)
    arrived = dict((uid, at) for at, uid in reversed(region.asked))
    assert created.keys() <= arrived.keys(), "all of them have been started"
    return [arrived[uid] - at for uid, at in created.items()]


async def alone(loop: VirtualLoop) -> float:
    world = World(loop, HERE, takes=lambda uid: 60)
    cache = world.cache("shop", HERE)
    async with world.running():
        return percentile(await starts(world, cache, builds=100, every=1), 0.99)


ALONE = simulate(alone)
"""p99 of what a Build takes from its creation to RunTask when there is nothing else."""


def test_c5_200_builds_and_50_caches_in_a_region_that_hangs_do_not_delay_builds_elsewhere() -> None:
    async def scenario(loop: VirtualLoop) -> float:
        world = World(loop, HERE, DEAD, takes=lambda uid: 60)
        cache = world.cache("shop", HERE)
        dead = [world.cache(f"dead-{number}", DEAD, "team-b") for number in range(50)]
        async with world.running():
            await asyncio.sleep(5)
            world.regions[DEAD].hangs = True
            for number in range(200):
                world.build(f"dead-{number}", dead[number % 50])
            took = await starts(world, cache, builds=150, every=1)
            # They are not lost: all of them start when the region is back.
            world.regions[DEAD].hangs = False
            await asyncio.sleep(420)
            assert len(world.regions[DEAD].started) == 200
            assert {uid for _, uid in world.regions[DEAD].started} == {
                uid_of("team-b", f"dead-{number}") for number in range(200)
            }
            return percentile(took, 0.99)

    assert simulate(scenario) <= 2 * ALONE


@pytest.mark.parametrize("limit", [8, 10_000])
def test_c5_400_builds_of_one_namespace_do_not_delay_another_one(limit: int) -> None:
    """Whether they wait for their cache's limit, or for the rate at which tasks may be started."""

    async def scenario(loop: VirtualLoop) -> float:
        world = World(loop, HERE, takes=lambda uid: 60)
        cache = world.cache("shop", HERE)
        crowded = world.cache("crowded", HERE, "team-b", limits={"maxConcurrentBuilds": limit})
        async with world.running():
            await asyncio.sleep(1)
            for number in range(400):
                world.build(f"crowd-{number}", crowded)
            return percentile(await starts(world, cache, builds=60, every=0.5), 0.99)

    # A turn at RunTask may come a moment later, since there are 25 of them a second for all.
    assert simulate(scenario) <= 2 * ALONE + 2 / 25


def test_c5_a_new_cache_is_looked_at_while_50_others_hang() -> None:
    async def scenario(loop: VirtualLoop) -> bool:
        world = World(loop, HERE, DEAD, takes=lambda uid: 60)
        for number in range(50):
            world.cache(f"dead-{number}", DEAD, "team-b")
        world.regions[DEAD].hangs = True
        async with world.running():
            await asyncio.sleep(1)
            world.cache("shop", HERE, quiet=False)
            await asyncio.sleep(0.2)
            return "shop" in world.caches.looked

    assert simulate(scenario)


def test_c5_a_region_that_hangs_is_asked_by_one_call_at_a_time() -> None:
    async def scenario(loop: VirtualLoop) -> tuple[int, int]:
        world = World(loop, HERE, DEAD, takes=lambda uid: 60)
        dead = world.cache("dead", DEAD, "team-b")
        async with world.running():
            await asyncio.sleep(1)
            world.regions[DEAD].hangs = True
            for number in range(60):
                world.build(f"dead-{number}", dead)
            busy = []
            for _ in range(300):
                await asyncio.sleep(1)
                busy.append(len(loop._asleep))
            return max(busy[:25]), max(busy[60:])

    first, later = simulate(scenario)
    assert first <= 12
    assert later <= 2, "the trial, and perhaps a write to Kubernetes"


def test_c5_builds_in_a_region_that_hangs_back_off_and_say_so_once() -> None:
    """What the API server and the processor do for them, everyone else waits for."""

    async def scenario(loop: VirtualLoop) -> tuple[int, int]:
        world = World(loop, HERE, DEAD, takes=lambda uid: 60)
        dead = world.cache("dead", DEAD, "team-b")
        async with world.running():
            await asyncio.sleep(1)
            world.regions[DEAD].hangs = True
            for number in range(200):
                world.build(f"dead-{number}", dead)
            passes, make = 0, world.shell.builds._passes.make

            def counted(key: Key) -> Done:
                nonlocal passes
                passes += 1
                return make(key)

            world.shell.builds._passes.make = counted  # type: ignore[method-assign]
            before = world.kube.writes
            await asyncio.sleep(120)
            return passes, world.kube.writes - before

    passes, writes = simulate(scenario)
    assert passes <= 200 * 9, "two minutes of a backoff that doubles from a second"
    assert writes <= 200 * 3 + 10, (
        "where the task will be, the finalizer, and that AWS does not answer; beside those of the BuildCache"
    )


@pytest.mark.parametrize("hangs", [False, True])
def test_c6_the_end_of_a_build_is_seen_while_another_region_hangs(hangs: bool) -> None:
    """500 tasks that run in a region that does not answer: the ends elsewhere are seen as if it were not there."""

    async def scenario(loop: VirtualLoop) -> float:
        world = World(loop, HERE, DEAD, takes=lambda uid: 30 if uid.startswith("team-a") else 100_000)
        cache = world.cache("shop", HERE)
        dead = world.cache("dead", DEAD, "team-b")
        async with world.running():
            for number in range(500):
                world.build(f"dead-{number}", dead)
            await asyncio.sleep(60)
            assert world.regions[DEAD].running == 500
            world.regions[DEAD].hangs = hangs
            waits = []
            for number in range(20):
                key = world.build(f"new-{number}", cache)
                await asyncio.sleep(31)
                while world.reason(key) != "Completed":
                    await asyncio.sleep(0.05)
                    assert (world.kube.get(key) or {}).get("status"), "it is there"
                started = {uid: at for at, uid in world.regions[HERE].started}
                waits.append(loop.time() - started[uid_of("team-a", key.name)] - 32)
            return percentile(waits, 0.99)

    assert simulate(scenario) <= 2.5, "a period of the poller and the pass"


def test_c6_a_region_is_asked_once_and_then_paused_from_the_end_of_the_poll() -> None:
    async def scenario(loop: VirtualLoop) -> list[float]:
        world = World(loop, DEAD, takes=lambda uid: 100_000)
        dead = world.cache("dead", DEAD)
        async with world.running():
            for number in range(500):
                world.build(f"dead-{number}", dead)
            await asyncio.sleep(60)
            world.regions[DEAD].hangs = True
            began = loop.time()
            looks = []
            real = world.regions[DEAD].call

            def call(service: str) -> None:
                looks.append(loop.time() - began)
                real(service)

            world.regions[DEAD].call = call  # type: ignore[method-assign]
            await asyncio.sleep(600)
            return looks

    looks = simulate(scenario)
    # Five batches: with one poll asking for all of them there would be five timeouts in a row; a pause that counts from the
    # beginning of a poll would be over at its end.
    assert len(looks) < 60
