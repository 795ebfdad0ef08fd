"""When ECS has no room: the oldest is first, for each size, however long it takes. Virtual time, everything of the operator as shipped."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.controller.objects import Key
from buildcache.reconcile.capacity import FIRST_PAUSE, GRACE, LONGEST_PAUSE, Capacity, Size
from tests.fakes.virtual import START, VirtualLoop, simulate

from .simulation import World, uid_of

HERE = "eu-west-1"
SIZE = Size(HERE, "builds", "EC2", "linux/amd64", 2048, 8192)


def test_c4_30_builds_in_a_full_cluster_start_in_their_order_and_all_of_them_run() -> None:
    """Room for 3, ten minutes each: the last has its turn after an hour and a half."""

    async def scenario(loop: VirtualLoop) -> tuple[list[str], set[str]]:
        world = World(loop, HERE, room=3, takes=lambda uid: 600)
        cache = world.cache("shop", HERE)
        keys = []
        async with world.running():
            for number in range(30):
                keys.append(world.build(f"b{number:02}", cache, timeouts={"queue": "2h", "start": "10m", "run": "1h"}))
                await asyncio.sleep(1)
            await asyncio.sleep(7200)
        return [uid for _, uid in world.regions[HERE].started], {world.reason(key) for key in keys}

    started, reasons = simulate(scenario)
    assert started == [uid_of("team-a", f"b{number:02}") for number in range(30)]
    assert reasons == {"Completed"}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), room=st.integers(1, 4))
def test_c4_nobody_overtakes_whoever_comes_goes_or_is_cancelled(seed: int, room: int) -> None:
    """Builds of two sizes and three namespaces come at odd times, some are cancelled or deleted while they wait."""
    chance = random.Random(seed)

    async def scenario(loop: VirtualLoop) -> None:
        takes = {f"team-{team}.{size}{n}": chance.uniform(5, 200) for team in "abc" for size in "sl" for n in range(8)}
        world = World(loop, HERE, room=room, takes=lambda uid: takes[uid])
        caches = {
            (team, size): world.cache(f"shop-{size}", HERE, f"team-{team}", cpu=512 if size == "s" else 4096)
            for team in "abc"
            for size in "sl"
        }
        created: dict[str, float] = {}
        gone: set[str] = set()
        async with world.running():
            for uid in chance.sample(sorted(takes), 24):
                namespace, _, name = uid.partition(".")
                created[uid] = loop.time()
                world.build(name, caches[namespace[-1], name[0]], timeouts={"queue": "5h", "start": "10m", "run": "1h"})
                await asyncio.sleep(chance.uniform(1, 60))
                if chance.random() < 0.15 and uid not in {each for _, each in world.regions[HERE].started}:
                    gone.add(uid)
                    key = Key("Build", namespace, name)
                    if chance.random() < 0.5:
                        world.kube.delete_as_user(key)
                    else:
                        world.kube.change(key, lambda body: body["spec"].update(cancel=True))
            await asyncio.sleep(9000)
        started = [uid for _, uid in world.regions[HERE].started]
        assert len(started) == len(set(started)), "one task each"
        assert set(created) - gone <= set(started), "all of them ran"
        for size in "sl":
            order = [uid for uid in started if uid.partition(".")[2][0] == size and uid not in gone]
            assert order == sorted(order, key=lambda uid: created[uid])

    simulate(scenario)


def test_c4_a_task_that_stops_wakes_the_oldest_at_once() -> None:
    async def scenario(loop: VirtualLoop) -> float:
        world = World(loop, HERE, room=1, takes=lambda uid: 1000)
        cache = world.cache("shop", HERE)
        async with world.running():
            for name in ("first", "second", "third"):
                world.build(name, cache, timeouts={"queue": "5h", "start": "10m", "run": "1h"})
                await asyncio.sleep(1)
            await asyncio.sleep(1100)
        (_, _), (second, uid), *_ = world.regions[HERE].started
        assert uid == uid_of("team-a", "second")
        ended = world.regions[HERE].started[0][0] + 1002
        assert len(world.regions[HERE].asked) < 40, "the first in the line asks now and then, the others not at all"
        return second - ended

    assert simulate(scenario) <= 2.5, "a period of the poller and the pass"


def test_c4_who_does_not_come_when_it_is_its_turn_holds_up_nobody_for_long() -> None:
    """Its BuildCache is suspended, or it is gone and nobody has told."""
    capacity = Capacity()
    for name in ("gone", "second"):
        assert capacity.wait(SIZE, name, START, START) is None or name == "second"
        capacity.refused(SIZE, name, START, START)
    assert capacity.wait(SIZE, "second", START, START + FIRST_PAUSE) is not None, "one is before it"
    assert capacity.wait(SIZE, "second", START, START + FIRST_PAUSE + 2 * GRACE) is None


def test_c4_sizes_and_clusters_do_not_wait_for_each_other() -> None:
    capacity = Capacity()
    capacity.refused(SIZE, "large", START, START)
    assert capacity.wait(SIZE, "also large", START, START) is not None
    for other in (SIZE._replace(memory=512), SIZE._replace(cluster="other"), SIZE._replace(region="us-east-1")):
        assert capacity.wait(other, "other", START, START) is None


def test_c4_the_first_in_line_asks_less_and_less_often_while_nothing_changes() -> None:
    capacity, now, asked = Capacity(), START, 0
    capacity.refused(SIZE, "first", START, now)
    for _ in range(3600):
        now += timedelta(seconds=1)
        if capacity.wait(SIZE, "first", START, now) is None:
            asked += 1
            capacity.refused(SIZE, "first", START, now)
    assert asked <= 3600 / LONGEST_PAUSE.total_seconds() + 5


def test_c4_lines_take_no_memory_when_everybody_has_left() -> None:
    capacity = Capacity()
    for number in range(100):
        capacity.refused(SIZE, f"uid-{number}", START, START)
    for number in range(100):
        capacity.left(f"uid-{number}", START)
    capacity.woken()
    assert (capacity._lines, capacity._sizes, capacity._woken) == ({}, {}, {})


def test_c4_an_older_build_that_comes_later_goes_first() -> None:
    """Another attempt of a Build that was created before the others."""
    capacity = Capacity()
    capacity.refused(SIZE, "young", START, START)
    assert capacity.wait(SIZE, "old", START - timedelta(hours=1), START) is not None
    later = START + FIRST_PAUSE
    assert capacity.wait(SIZE, "young", START, later) is not None
    assert capacity.wait(SIZE, "old", START - timedelta(hours=1), later) is None
