"""The poller: how many calls, which news, and that one bad task does not lose the others."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.status import Reason
from buildcache.core.task_state import Described, Missing, Task, TaskContainer
from buildcache.reconcile.poller import Place, Poller

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HERE = Place("eu-west-1", "builds")


class Ecs:
    """DescribeTasks, with what it is asked."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.calls: list[tuple[str, str, int]] = []
        self.trouble: dict[str, Exception] = {}
        self.bad: set[str] = set()

    def __call__(self, region: str, cluster: str, arns: Sequence[str]) -> Described:
        self.calls.append((region, cluster, len(arns)))
        if cluster in self.trouble:
            raise self.trouble[cluster]
        if self.bad & set(arns):
            raise Rejected(Reason.INVALID_SPEC, "InvalidParameterException: Invalid identifier")
        known = tuple(self.tasks[arn] for arn in arns if arn in self.tasks)
        return Described(known, frozenset(set(arns) - set(self.tasks)))


def running(arn: str, version: int = 1, status: str = "RUNNING") -> Task:
    return Task(arn=arn, started_by=f"uid-{arn}", version=version, last_status=status)


def watching(count: int, ecs: Ecs, place: Place = HERE, prefix: str = "t") -> Poller:
    poller = Poller(ecs)
    follow(poller, count, ecs, place, prefix)
    return poller


def follow(poller: Poller, count: int, ecs: Ecs, place: Place = HERE, prefix: str = "t") -> None:
    for number in range(count):
        arn = f"{prefix}{number}"
        ecs.tasks[arn] = running(arn)
        poller.latest(arn, place, f"key-{arn}", NOW)


def polled(poller: Poller, now: datetime) -> list[str]:
    """One poll of each region."""
    return [key for region in ("eu-west-1", "us-east-1") for key in poller.poll(region, lambda: now)]


def pause(poller: Poller) -> float | None:
    return poller.next_in().get("eu-west-1")


def test_nothing_to_follow_is_no_call() -> None:
    ecs = Ecs()
    poller = Poller(ecs)
    assert pause(poller) is None
    assert polled(poller, NOW) == []
    assert ecs.calls == []


def test_t61_500_tasks_are_five_calls() -> None:
    ecs = Ecs()
    poller = watching(500, ecs)
    assert len(polled(poller, NOW)) == 500
    assert ecs.calls == [("eu-west-1", "builds", 100)] * 5
    assert polled(poller, NOW) == [], "no change is no news"


@pytest.mark.parametrize(("count", "period"), [(1, 2.0), (100, 2.0), (101, 5.0)])
def test_period_grows_with_the_number(count: int, period: float) -> None:
    poller = watching(count, Ecs())
    polled(poller, NOW)
    assert pause(poller) == period


def test_tasks_that_only_a_status_tells_of_are_looked_at_soon_and_alone() -> None:
    """After a restart: the first look must not find some of a thousand, and the others a whole period later."""
    ecs = Ecs()
    poller = watching(150, ecs)
    polled(poller, NOW)
    ecs.calls.clear()
    follow(poller, 250, ecs, prefix="n")
    assert pause(poller) == 1.0
    assert len(polled(poller, NOW + timedelta(seconds=1))) == 250
    assert ecs.calls == [("eu-west-1", "builds", 100), ("eu-west-1", "builds", 100), ("eu-west-1", "builds", 50)]
    assert pause(poller) == 5.0
    ecs.calls.clear()
    polled(poller, NOW + timedelta(seconds=6))
    assert sum(size for _, _, size in ecs.calls) == 400


def test_a_task_that_was_shown_by_its_start_is_in_no_hurry() -> None:
    ecs = Ecs()
    poller = Poller(ecs)
    poller.told(running("t0", 1), HERE, "key-t0", NOW)
    assert pause(poller) == 2.0


def test_regions_and_clusters_are_asked_apart() -> None:
    ecs = Ecs()
    poller = watching(3, ecs)
    follow(poller, 2, ecs, Place("us-east-1", "builds"), "u")
    polled(poller, NOW)
    assert sorted(ecs.calls) == [("eu-west-1", "builds", 3), ("us-east-1", "builds", 2)]


def test_stopped_tasks_are_asked_for_no_more_and_stay_known() -> None:
    ecs = Ecs()
    poller = watching(2, ecs)
    ecs.tasks["t0"] = running("t0", 2, "STOPPED")
    polled(poller, NOW)
    ecs.tasks.clear()
    polled(poller, NOW + timedelta(seconds=2))
    assert ecs.calls[-1] == ("eu-west-1", "builds", 1)
    sighting = poller.latest("t0", HERE, "key-t0", NOW)
    assert isinstance(sighting.seen, Task)
    assert (sighting.seen.phase, sighting.stopped_since) == ("Stopped", NOW)
    poller.forget("t1", "key-t1")
    assert pause(poller) is None


def test_news_is_what_a_status_would_show() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    polled(poller, NOW)
    ecs.tasks["t0"] = running("t0", 7)
    assert polled(poller, NOW) == []
    ecs.tasks["t0"] = replace(running("t0", 8), containers=(TaskContainer("build", "RUNNING"),))
    assert polled(poller, NOW) == ["key-t0"]
    ecs.tasks["t0"] = replace(ecs.tasks["t0"], version=9, containers=(TaskContainer("build", "STOPPED", 1),))
    assert polled(poller, NOW) == ["key-t0"]


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING"])
def test_the_first_container_to_run_is_news_although_the_task_has_not_moved(status: str) -> None:
    """A task whose containers run one after the other stays PENDING until the last one has started."""
    ecs = Ecs()
    poller = watching(1, ecs)
    waiting = (TaskContainer("fetch", "PENDING"), TaskContainer("build", "PENDING"), TaskContainer("report", "PENDING"))
    ecs.tasks["t0"] = replace(running("t0", 2, status), containers=waiting)
    polled(poller, NOW)
    ecs.tasks["t0"] = replace(ecs.tasks["t0"], version=3)
    assert polled(poller, NOW) == []
    runs = replace(ecs.tasks["t0"], version=4, containers=(TaskContainer("fetch", "RUNNING"), *waiting[1:]))
    ecs.tasks["t0"] = runs
    assert polled(poller, NOW) == ["key-t0"]
    seen = poller.latest("t0", HERE, "key-t0", NOW).seen
    assert isinstance(seen, Task)
    assert (seen.last_status, seen.phase) == (status, "Running")


def test_t62_older_version_is_passed_over() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    poller.told(running("t0", 5, "STOPPED"), HERE, "key-t0", NOW)
    poller.told(running("t0", 4), HERE, "key-t0", NOW)
    seen = poller.latest("t0", HERE, "key-t0", NOW).seen
    assert isinstance(seen, Task)
    assert seen.phase == "Stopped"


def test_t50_missing_is_kept_with_its_time_and_ends_when_the_task_is_seen() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    task = ecs.tasks.pop("t0")
    assert polled(poller, NOW) == ["key-t0"]
    assert polled(poller, NOW + timedelta(minutes=9)) == []
    assert poller.latest("t0", HERE, "key-t0", NOW).seen == Missing(NOW)
    ecs.tasks["t0"] = task
    assert polled(poller, NOW) == ["key-t0"]
    assert poller.latest("t0", HERE, "key-t0", NOW).seen == task


def test_t61_f29_one_bad_id_does_not_lose_the_others() -> None:
    ecs = Ecs()
    poller = watching(50, ecs)
    ecs.bad.add("t17")
    assert len(polled(poller, NOW)) == 50
    assert poller.latest("t17", HERE, "key-t17", NOW).trouble.startswith("InvalidParameterException")
    seen = [poller.latest(f"t{number}", HERE, f"key-t{number}", NOW).seen for number in range(50)]
    assert seen.count(None) == 1
    assert len(ecs.calls) <= 1 + 2 * 6
    calls = len(ecs.calls)
    polled(poller, NOW + timedelta(seconds=2))
    assert len(ecs.calls) == calls + 1, "the bad one pauses"


def test_one_cluster_in_trouble_does_not_keep_the_others() -> None:
    ecs = Ecs()
    poller = watching(2, ecs)
    follow(poller, 2, ecs, Place("eu-west-1", "gone"), "g")
    ecs.trouble["gone"] = Rejected(Reason.CLUSTER_NOT_FOUND, "Cluster not found.")
    assert set(polled(poller, NOW)) == {"key-t0", "key-t1", "key-g0", "key-g1"}
    assert poller.latest("g0", HERE, "key-g0", NOW).trouble == "Cluster not found."
    assert isinstance(poller.latest("t0", HERE, "key-t0", NOW).seen, Task)


def test_throttling_slows_down_and_is_no_news() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    polled(poller, NOW)
    ecs.trouble["builds"] = Unavailable("ThrottlingException")
    asked = 0
    for second in range(0, 120):
        before = len(ecs.calls)
        assert polled(poller, NOW + timedelta(seconds=second)) == []
        asked += len(ecs.calls) - before
    assert asked == 5, "at 0, 5, 15, 35 and 75 seconds"
    ecs.trouble.clear()
    ecs.tasks["t0"] = running("t0", 2, "STOPPED")
    assert polled(poller, NOW + timedelta(seconds=140)) == ["key-t0"]


def test_denied_is_news_once() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    ecs.trouble["builds"] = Denied("no")
    assert polled(poller, NOW) == ["key-t0"]
    assert polled(poller, NOW + timedelta(seconds=30)) == []


def test_f17_clock_set_back_does_not_stop_it() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    ecs.trouble["builds"] = Unavailable("down")
    polled(poller, NOW)
    ecs.trouble.clear()
    assert polled(poller, NOW - timedelta(hours=1)) == ["key-t0"]


def test_task_of_a_build_that_is_gone_is_forgotten_in_time() -> None:
    ecs = Ecs()
    poller = watching(2, ecs)
    ecs.tasks = {"t1": running("t1", 2, "STOPPED")}
    polled(poller, NOW)
    polled(poller, NOW + timedelta(hours=1))
    assert pause(poller) is None
    assert poller.latest("t1", HERE, "x", NOW).seen is None


def test_a_task_with_two_keys_wakes_both_and_stays_until_both_forget() -> None:
    ecs = Ecs()
    poller = watching(1, ecs)
    poller.latest("t0", HERE, "forger", NOW)
    assert set(polled(poller, NOW)) == {"key-t0", "forger"}
    poller.forget("t0", "forger")
    assert pause(poller) == 2.0


def test_passes_and_polls_may_run_at_once() -> None:
    ecs = Ecs()
    poller = watching(0, ecs)
    errors: list[BaseException] = []

    def work(prefix: str) -> None:
        try:
            for number in range(300):
                arn = f"{prefix}{number}"
                ecs.tasks[arn] = running(arn)
                poller.latest(arn, HERE, arn, NOW)
                if number % 3 == 0:
                    poller.forget(arn, arn)
        except BaseException as error:  # pragma: no cover - only when the test fails
            errors.append(error)

    threads = [threading.Thread(target=work, args=(prefix,)) for prefix in "abc"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        polled(poller, NOW)
    assert errors == []
    polled(poller, NOW)
    assert polled(poller, NOW) == []


def test_more_tasks_than_calls_have_their_turn_one_after_another() -> None:
    ecs = Ecs()
    poller = watching(6000, ecs)
    for turn in range(4):
        before = len(ecs.calls)
        polled(poller, NOW + timedelta(seconds=5 * turn))
        assert len(ecs.calls) - before <= 25
    assert sum(size for _, _, size in ecs.calls) == 8500, "each once, then those that were first again"
    assert all(sighting.seen for sighting in (poller.latest(f"t{n}", HERE, f"key-t{n}", NOW) for n in range(6000)))
