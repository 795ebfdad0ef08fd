"""Background tasks: a bug ends none of them, and one that lasts is seen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from buildcache.controller import supervision
from buildcache.controller.metrics import Metrics
from buildcache.controller.supervision import ILL_AFTER, WELL_AFTER, Supervisor


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(supervision, "LONGEST_PAUSE", 0.004)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def failures(metrics: Metrics, task: str) -> float:
    return metrics.registry.get_sample_value("buildcache_background_task_failures_total", {"loop": task}) or 0.0


async def test_p7_a_task_that_fails_is_logged_counted_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    metrics, done, runs = Metrics(), asyncio.Event(), 0

    async def body() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise AttributeError("'str' object has no attribute 'get'")
        done.set()
        await asyncio.Event().wait()

    supervisor = Supervisor(metrics)
    with caplog.at_level(logging.ERROR):
        task = supervisor.start("repair list", body)
        await asyncio.wait_for(done.wait(), 5)
    assert failures(metrics, "repair list") == 3
    assert [record.__dict__["task"] for record in caplog.records] == ["repair list"] * 3
    assert all(record.exc_info for record in caplog.records)
    assert supervisor.problems() == []
    task.cancel()


async def test_p7_a_task_that_goes_on_failing_is_unhealthy_until_it_does_not() -> None:
    clock, broken, ran = Clock(), True, asyncio.Event()

    async def body() -> None:
        ran.set()
        if broken:
            raise ValueError
        await asyncio.Event().wait()

    async def next_run() -> None:
        ran.clear()
        await asyncio.wait_for(ran.wait(), 5)

    supervisor = Supervisor(Metrics(), clock)
    task = supervisor.start("poller", body)
    while clock.now < ILL_AFTER:
        assert supervisor.problems() == []
        clock.now += 30
        await next_run()
    clock.now += 60
    await next_run()
    assert "poller" in supervisor.problems()[0]
    broken = False
    await next_run()
    clock.now += WELL_AFTER
    assert supervisor.problems() == []
    task.cancel()


async def test_p7_a_task_that_is_gone_is_unhealthy() -> None:
    class Ended(BaseException):
        pass

    async def body() -> None:
        raise Ended

    supervisor = Supervisor(Metrics())
    task = supervisor.start("expiry", body)
    with pytest.raises(Ended):
        await task
    assert "expiry" in supervisor.problems()[0]
