"""The search for a task that no status names: what an empty list of ECS is worth."""

from __future__ import annotations

from datetime import timedelta

from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.core.build import LOOK_GRACE
from buildcache.reconcile import search
from buildcache.reconcile.search import Nothing, Search
from tests.fakes.builds import START, UID, cache_body
from tests.fakes.executor import FakeExecutor

CACHE = BuildCache.parse(cache_body())
STATUS = BuildStatus()
LATER = START + LOOK_GRACE + timedelta(seconds=1)


def test_c3_an_empty_list_is_final_after_the_time_that_ecs_may_take_to_list_a_task() -> None:
    searching = Search(FakeExecutor())
    assert searching.look(UID, STATUS, CACHE, START) == Nothing(final=False)
    assert searching.look(UID, STATUS, CACHE, LATER) == Nothing(final=True)


def test_c3_a_run_task_since_then_makes_an_empty_list_worth_nothing() -> None:
    for since in ("started", "uncertain"):
        searching = Search(FakeExecutor())
        searching.look(UID, STATUS, CACHE, START)
        if since == "uncertain":
            searching.uncertain(UID)
        else:
            searching.started(UID, "arn:aws:ecs:eu-west-1:111122223333:task/builds/1")
            # So many others since that this one is forgotten: ECS is asked again, and does not list it yet.
            for number in range(search.REMEMBERED):
                searching.started(f"other-{number}", "arn")
        assert searching.look(UID, STATUS, CACHE, LATER) == Nothing(final=False)
