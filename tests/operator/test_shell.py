"""Event → pass → write, with everything real but AWS and the API server; and every way in which a write can fail."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import kopf
import pytest

from buildcache.api.meta import FINALIZER, FINISHED_LABEL
from buildcache.controller.logs import JsonFormatter
from buildcache.controller.objects import Key
from buildcache.controller.shell import Shell
from buildcache.controller.worker import HURRIES
from buildcache.reconcile.outcome import Outcome
from tests.fakes.kube import FakeKube

from .conftest import Operator, Start, completed, condition, running

SPEC = {"cacheRef": {"name": "shop"}, "service": "web"}


async def test_who_is_next_is_looked_at_when_one_ends(start: Start) -> None:
    """Nobody waits for a timer when there is room: neither after an end nor after a deletion."""

    def wait_for_room(body: Mapping[str, Any]) -> Outcome:
        name = body["metadata"]["name"]
        if name in ended:
            return completed(body)
        return running(body)

    ended: set[str] = set()
    async with start(builds=wait_for_room) as operator:
        operator.kube.create("buildcaches", "shop", spec={"limits": {"maxConcurrentBuilds": 2}})
        for name in ("one", "two"):
            operator.kube.create("builds", name, spec=SPEC)
        await operator.until(lambda: all(operator.reason(name) == "Running" for name in ("one", "two")))
        # A pass that does nothing leaves it in the line.
        operator.builds.refused |= {"three", "four"}
        for name in ("three", "four"):
            operator.kube.create("builds", name, spec=SPEC)
        await operator.until(lambda: operator.builds.passes_of("four"))
        await operator.quiet()
        passes = operator.builds.passes_of("three")
        assert operator.shell._store.line_of("team-a", "shop").running == 2
        operator.kube.delete("builds", "one")
        await operator.until(lambda: operator.builds.passes_of("three") > passes)
        operator.builds.refused.clear()
        ended.add("two")
        operator.shell.builds.add(Key("Build", "team-a", "two"), forced=True)
        await operator.until(lambda: operator.reason("three") == operator.reason("four") == "Running")


async def test_a_build_is_held_then_run_then_shown(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        body = operator.kube.get("builds", "web")
        assert body is not None
        assert body["metadata"]["finalizers"] == [FINALIZER]
        # No second event was awaited and nothing was read: two passes, two writes.
        assert operator.builds.passes_of("web") == 2
        await operator.quiet()
        assert [(request.method, request.status) for request in operator.kube.writes()] == [("PATCH", 200)] * 2
        assert operator.builds.passes_of("web") == 2, "the echo of an own write must not be worked on"


async def test_a_finished_build_leaves_the_watch_and_memory_and_costs_two_more_writes(start: Start) -> None:
    async with start(builds=completed) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        body = await operator.until(
            lambda: (
                FINISHED_LABEL in ((operator.kube.get("builds", "web") or {})["metadata"]["labels"])
                and operator.kube.get("builds", "web")
            )
        )
        assert not body["metadata"]["finalizers"]
        await operator.quiet()
        assert len(operator.kube.writes()) == 3
        assert operator.shell._store.count("Build") == 0
        assert [each.name for each in operator.shell._store.finished_of("team-a", "shop")] == ["web"]
        assert [request.path for request in operator.kube.requests if request.path.endswith("/web")] == [
            "/apis/buildcache.dev/v1alpha1/namespaces/team-a/builds/web"
        ] * 2, "no GET"


@pytest.mark.parametrize("answer", [409, 422, 500, 503, 413, 403, "lost"])
@pytest.mark.parametrize("path_end", ["/builds/web", "/builds/web/status"])
async def test_one_failed_patch_ends_no_objects_care__F06_F07_F09_F10_F12(
    start: Start, answer: int | str, path_end: str
) -> None:
    async with start() as operator:
        operator.kube.fail("PATCH", path_end, answer)
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert FINALIZER in (operator.kube.get("builds", "web") or {})["metadata"]["finalizers"]


@pytest.mark.parametrize("answer", [409, 422, 500, "lost"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_finished_build_gets_its_label_whichever_patch_fails__F12(
    start: Start, answer: int | str, nth: int
) -> None:
    async with start(builds=completed) as operator:
        operator.kube.fail("PATCH", "/builds/web/status" if nth == 2 else "/builds/web", answer)
        if nth == 3:
            operator.kube.faults[0].times = 0
        operator.kube.create("builds", "web", spec=SPEC)
        if nth == 3:
            await operator.until(lambda: operator.reason("web"))
        await operator.until(lambda: FINISHED_LABEL in (operator.kube.get("builds", "web") or {})["metadata"]["labels"])
        assert operator.reason("web") == "Completed"


async def test_one_object_that_cannot_be_written_does_not_stop_the_others__F09(start: Start) -> None:
    async with start() as operator:
        operator.kube.fail("PATCH", "/builds/bad/status", 500, times=1000)
        operator.kube.create("builds", "bad", spec=SPEC)
        for number in range(20):
            operator.kube.create("builds", f"good-{number}", spec=SPEC)
        await operator.until(lambda: all(operator.reason(f"good-{number}") == "Running" for number in range(20)))
        assert operator.reason("bad") == ""
        operator.kube.faults.clear()
        await operator.until(lambda: operator.reason("bad") == "Running")


async def test_a_throttled_write_waits_as_long_as_the_server_says__F11(start: Start) -> None:
    async with start() as operator:
        operator.kube.fail("PATCH", "/builds/web", 429, headers={"Retry-After": "2"})
        began = time.monotonic()
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert time.monotonic() - began > 2
        tries = [request for request in operator.kube.writes() if request.path.endswith("/builds/web")]
        assert len(tries) == 2, "no hot loop"


async def test_a_lost_finalizer_comes_back(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        operator.kube.change("builds", "web", lambda body: body["metadata"].pop("finalizers"))
        await operator.until(lambda: (operator.kube.get("builds", "web") or {})["metadata"].get("finalizers"))


async def test_a_finished_build_is_deleted_after_its_time__ttl(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildcache.controller.finished.LOOK", 0.1)
    async with start(builds=completed) as operator:
        kube = operator.kube
        kube.create("builds", "short", spec={**SPEC, "ttlAfterFinished": "1s"})
        kube.create("builds", "long", spec={**SPEC, "ttlAfterFinished": "10000d"})
        kube.create("builds", "none", spec=SPEC)
        kube.create(
            "builds",
            "tracked",
            spec={**SPEC, "ttlAfterFinished": "1s"},
            metadata={"annotations": {"argocd.argoproj.io/tracking-id": "shop:buildcache.dev/Build:team-a/tracked"}},
        )
        await operator.until(lambda: kube.get("builds", "short") is None)
        await operator.until(lambda: all(operator.reason(name) == "Completed" for name in ("long", "none", "tracked")))
        await operator.quiet()
        assert all(kube.get("builds", name) for name in ("long", "none", "tracked"))
        deletes = [request for request in kube.writes() if request.method == "DELETE"]
        assert [(request.path.rpartition("/")[2], request.status) for request in deletes] == [("short", 200)]


@pytest.mark.parametrize("answer", [500, 429, 409, "lost"])
async def test_a_finished_build_goes_soon_when_its_deletion_was_refused__ttl(
    start: Start, monkeypatch: pytest.MonkeyPatch, answer: int | str
) -> None:
    monkeypatch.setattr("buildcache.controller.finished.LOOK", 0.1)
    monkeypatch.setattr("buildcache.controller.retention.FIRST_PAUSE", timedelta(seconds=0.2))
    async with start(builds=completed) as operator:
        operator.kube.fail("DELETE", "/builds/web", answer, times=2)
        operator.kube.create("builds", "web", spec={**SPEC, "ttlAfterFinished": "1s"})
        await operator.until(lambda: operator.kube.get("builds", "web") is None)


async def test_a_shortened_ttl_and_a_hidden_running_build_are_found_by_the_list__F61(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildcache.controller.finished.LOOK", 0.1)
    monkeypatch.setattr("buildcache.controller.finished.SHORTEST_INTERVAL", 0.3)

    def work(body: Mapping[str, Any]) -> Outcome:
        return completed(body) if body["metadata"]["name"] == "web" else running(body)

    async with start(builds=work) as operator:
        operator.kube.create("builds", "web", spec={**SPEC, "ttlAfterFinished": "10000d"})
        await operator.until(lambda: operator.reason("web") == "Completed")
        await operator.quiet()
        operator.kube.change("builds", "web", lambda body: body["spec"].update(ttlAfterFinished="1s"))
        await operator.until(lambda: operator.kube.get("builds", "web") is None)
        # Never seen by the watch: it had the label from its first moment.
        operator.kube.create("builds", "hidden", spec=SPEC, metadata={"labels": {FINISHED_LABEL: "true"}})
        await operator.until(lambda: operator.reason("hidden") == "Running")


async def test_other_peoples_finalizers_and_labels_stay(start: Start) -> None:
    async with start(builds=completed) as operator:
        operator.kube.create(
            "builds", "web", spec=SPEC, metadata={"finalizers": ["other/hold"], "labels": {"team": "a"}}
        )
        await operator.until(lambda: operator.reason("web") == "Completed")
        await operator.quiet()
        body = operator.kube.get("builds", "web")
        assert body is not None
        assert body["metadata"]["finalizers"] == ["other/hold"]
        assert body["metadata"]["labels"] == {"team": "a", FINISHED_LABEL: "true"}


async def test_a_concurrent_change_loses_nothing(start: Start) -> None:
    """Somebody labels the Build while its pass runs: our write conflicts, and both changes are there in the end."""
    labelled = threading.Event()

    async with start() as operator:

        def slow(body: Mapping[str, Any]) -> Outcome:
            if not labelled.is_set():
                labelled.set()
                operator.kube.change("builds", "web", lambda each: each["metadata"]["labels"].update(seen="yes"))
            return running(body)

        operator.builds.then = slow
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert (operator.kube.get("builds", "web") or {})["metadata"]["labels"] == {"seen": "yes"}


async def test_deletion_is_a_pass_like_any_other(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("buildcaches", "shop", spec={})
        await operator.until(lambda: operator.reason("shop", "buildcaches") == "Available")
        operator.kube.delete("buildcaches", "shop")
        await operator.until(lambda: operator.kube.get("buildcaches", "shop") is None)
        await operator.until(lambda: operator.shell._store.count("BuildCache") == 0)
        await operator.quiet()
        assert len(operator.kube.writes()) == 3


async def test_a_name_that_is_used_again_is_another_object__F53(start: Start) -> None:
    async with start() as operator:
        first = operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        operator.kube.delete("builds", "web")
        await operator.until(lambda: operator.kube.get("builds", "web") is None)
        second = operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        seen = [body["metadata"]["uid"] for body in operator.builds.seen]
        assert seen.index(second["metadata"]["uid"]) > len(seen) - 1 - seen[::-1].index(first["metadata"]["uid"])


async def test_a_status_that_somebody_spoils_is_written_again__F60(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")

        def spoil(body: dict[str, Any]) -> None:
            body["status"] = {"observedGeneration": 7, "forged": {"deep": 1}, "conditions": []}

        operator.kube.change("builds", "web", spoil)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert "forged" not in (operator.kube.get("builds", "web") or {})["status"]


async def test_the_finished_label_does_not_hide_a_running_build__F61(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        passes = operator.builds.passes_of("web")
        operator.kube.change("builds", "web", lambda body: body["metadata"]["labels"].update({FINISHED_LABEL: "true"}))
        await operator.until(lambda: operator.builds.passes_of("web") > passes)
        assert operator.shell._store.count("Build") == 1


async def test_a_hidden_build_is_found_at_the_start__F61(start: Start) -> None:
    async with start() as before:
        before.kube.create("builds", "web", spec=SPEC, metadata={"labels": {FINISHED_LABEL: "true"}})
        before.kube.create(
            "builds",
            "old",
            spec=SPEC,
            metadata={"labels": {FINISHED_LABEL: "true"}},
            status={
                "completionTime": "2026-01-01T09:00:00Z",
                "conditions": [condition("Succeeded", "True", "Completed")],
            },
        )
    async with start() as operator:
        await operator.until(lambda: operator.reason("web") == "Running")
        await operator.until(lambda: operator.shell._store.finished_of("team-a", "shop"))
        assert [each.name for each in operator.shell._store.finished_of("team-a", "shop")] == ["old"]
        assert operator.builds.passes_of("web") > 0
        assert operator.builds.passes_of("old") == 0


async def test_a_bug_in_a_pass_is_told_once_and_shown_and_goes_away(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def pass_with_bug(body: Mapping[str, Any]) -> Outcome:
        if broken:
            raise KeyError("subnet")
        return running(body)

    async with start(builds=pass_with_bug) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "InternalError")
        await operator.until(lambda: len(operator.builds.effects) >= 3)
        told = [record for record in caplog.records if "unhandled error in a pass" in record.message]
        assert len([record for record in told if record.exc_info]) == 1
        assert told[0].object["name"] == "web"  # type: ignore[attr-defined]
        broken = False
        await operator.until(lambda: operator.reason("web") == "Running")


async def test_transient_trouble_backs_off_and_recovers(start: Start) -> None:
    def twice(body: Mapping[str, Any]) -> Outcome:
        return Outcome(failed=True) if len(operator.builds.effects) < 3 else running(body)

    async with start(builds=twice) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        first, second, third = operator.builds.effects[:3]
        assert 0.5 <= second - first <= 1.6
        assert 1.0 <= third - second <= 2.6


async def test_again_after_brings_the_key_back(start: Start) -> None:
    async with start(builds=lambda body: Outcome(again_after=0.2)) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: len(operator.builds.effects) >= 4)
        gaps = [
            after - before for before, after in zip(operator.builds.effects, operator.builds.effects[1:], strict=False)
        ]
        assert all(gap >= 0.19 for gap in gaps)


async def test_a_pass_that_always_wants_another_one_does_not_run_hot(start: Start) -> None:
    async with start(builds=lambda body: Outcome(again_after=0)) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: len(operator.builds.effects) >= HURRIES + 4)
        assert operator.builds.effects[HURRIES + 3] - operator.builds.effects[HURRIES + 1] > 1.9


async def test_the_poller_brings_a_build_back(start: Start) -> None:
    async with start() as operator:
        uid = operator.kube.create("builds", "web", spec=SPEC)["metadata"]["uid"]
        await operator.until(lambda: operator.reason("web") == "Running")
        passes = operator.builds.passes_of("web")
        operator.poller.news = [uid, "the UID of a Build that is gone"]
        await operator.until(lambda: operator.builds.passes_of("web") == passes + 1)


async def test_a_new_build_does_not_wait_behind_the_news_of_a_poll(start: Start) -> None:
    slow, gate = threading.Event(), threading.Event()

    def followed(body: Mapping[str, Any]) -> Outcome:
        if slow.is_set() and body["metadata"]["name"] != "new":
            gate.wait(20)
        return running(body)

    async with start(builds=followed) as operator:
        names = [f"known-{number}" for number in range(20)]
        uids = [operator.kube.create("builds", name, spec=SPEC)["metadata"]["uid"] for name in names]
        await operator.until(lambda: all(operator.reason(name) == "Running" for name in names))
        await operator.quiet()
        slow.set()
        try:
            operator.poller.news = uids
            await operator.until(lambda: operator.shell.builds.depth() >= 10)
            operator.kube.create("builds", "new", spec=SPEC)
            await operator.until(lambda: operator.reason("new") == "Running")
        finally:
            gate.set()


async def test_a_cache_that_changes_wakes_its_builds__F54(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        operator.kube.create("builds", "other", spec={**SPEC, "cacheRef": {"name": "else"}})
        await operator.until(lambda: operator.reason("web") == operator.reason("other") == "Running")
        await operator.quiet()
        passes = operator.builds.passes_of("web"), operator.builds.passes_of("other")
        operator.kube.create("buildcaches", "shop", spec={})
        await operator.until(lambda: operator.reason("shop", "buildcaches") == "Available")
        await operator.until(lambda: operator.builds.passes_of("web") > passes[0])
        assert operator.builds.passes_of("other") == passes[1]


async def test_idle_means_no_request_but_watches(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("buildcaches", "shop", spec={})
        for number in range(5):
            operator.kube.create("builds", f"web-{number}", spec=SPEC)
        await operator.until(lambda: operator.reason("shop", "buildcaches") == "Available")
        # The cache is looked at once more, as its Builds have moved.
        await operator.until(lambda: operator.caches.passes_of("shop") >= 3)
        await operator.quiet()
        count = len(operator.kube.requests)
        await asyncio.sleep(2)
        assert len(operator.kube.requests) == count


async def test_all_requests_name_the_operator(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert {request.agent.split("/")[0] for request in operator.kube.requests} == {"buildcache-operator"}
        assert all(
            "labelSelector" in request.query for request in operator.kube.requests if request.path.endswith("/builds")
        )


async def test_only_the_given_namespaces_are_watched(start: Start) -> None:
    async with start(namespaces=("team-a", "team-b")) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        operator.kube.create("builds", "far", namespace="team-c", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        assert operator.builds.passes_of("far") == 0
        assert not [request for request in operator.kube.requests if request.path.endswith("v1alpha1/builds")]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "boom"}}, id="error-500__F01"
        ),
        pytest.param(
            {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "old"}}, id="gone-410__F02"
        ),
        pytest.param(None, id="closed"),
        pytest.param({"raw": '{"type": "MODIFIED", "obj'}, id="broken-line__F04"),
        pytest.param({"type": "MODIFIED", "object": {"metadata": {"name": "x"}}}, id="no-uid__F04"),
    ],
)
async def test_a_broken_watch_is_opened_again_and_nothing_is_lost(start: Start, event: dict[str, Any] | None) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        passes = operator.builds.passes_of("web")
        operator.kube.send("builds", event)
        await asyncio.sleep(0.1)
        operator.kube.create("builds", "next", spec=SPEC)
        await operator.until(lambda: operator.reason("next") == "Running")
        assert operator.builds.passes_of("web") == passes, "no pass for what has not changed"


async def test_an_api_server_that_refuses_for_a_while_is_survived__F05_F14(start: Start) -> None:
    async with start() as operator:
        for path in ("/builds", "/buildcaches"):
            operator.kube.fail("GET", path, 403, times=4)
        operator.kube.send("builds", {"type": "ERROR", "object": {"kind": "Status", "code": 500}})
        await asyncio.sleep(0.1)
        operator.kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")


async def test_a_lost_event_is_found_by_the_repair_list(start: Start) -> None:
    async with start() as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        operator.kube.create("builds", "gone", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == operator.reason("gone") == "Running")
        await operator.quiet()
        operator.kube.change("builds", "web", lambda body: body["spec"].update(cancel=True), silent=True)
        operator.kube._objects.pop(("builds", "team-a", "gone"))
        assert await operator.shell._read("Build", "")
        await operator.until(lambda: operator.builds.seen[-1]["spec"].get("cancel"))
        await operator.until(lambda: operator.shell._store.count("Build") == 1)


async def test_from_creation_to_effect_takes_milliseconds(start: Start) -> None:
    async with start() as operator:
        created: dict[str, float] = {}
        took: list[float] = []

        def effect(body: Mapping[str, Any]) -> Outcome:
            name = body["metadata"]["name"]
            if body["status"].get("observedGeneration") == -1:
                took.append(time.monotonic() - created[name])
            return running(body)

        operator.builds.then = effect
        for number in range(60):
            created[f"web-{number}"] = time.monotonic()
            operator.kube.create("builds", f"web-{number}", spec=SPEC)
            await asyncio.sleep(0.05)
        await operator.until(lambda: len(took) >= 60)
        # The bench measures; this only catches a wait that was put in by mistake, which the fastest would have had as well.
        assert sorted(took)[len(took) // 4] < 0.1


async def test_p8_a_namespace_that_is_refused_takes_no_other_down(start: Start, kube: FakeKube) -> None:
    for plural in ("builds", "buildcaches"):
        kube.fail("GET", f"/namespaces/team-b/{plural}", 403, times=-1)
    async with start(namespaces=("team-a", "team-b")) as operator:
        watches = operator.shell.watches
        await operator.until(lambda: watches.sees("team-a"))
        kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        await asyncio.sleep(4)
        assert kube.watching("builds") == kube.watching("buildcaches") == 1
        opened = [each.path for each in kube.requests if each.query.get("watch") == "true" and each.status == 200]
        assert len(opened) == len(set(opened)), "a good watch was opened again"
        ready, text = watches.readiness()
        assert ready
        assert "namespace team-b" in text
        kube.faults.clear()
        kube.create("builds", "other", namespace="team-b", spec=SPEC)
        await operator.until(lambda: operator.builds.passes_of("other"), seconds=17)


@pytest.mark.parametrize("answer", ["html", 500, 403])
async def test_p7_what_stands_before_the_api_server_for_a_while_ends_no_task(
    start: Start, kube: FakeKube, answer: int | str
) -> None:
    """One HTML page with status 200 as the answer to the first history list had ended the task that lets BuildCaches begin."""
    kube.fail("GET", "/builds", answer, times=2)
    kube.fail("GET", "/buildcaches", answer, times=1)
    async with start() as operator:
        kube.create("buildcaches", "shop", spec={})
        kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running", seconds=10)
        await operator.until(lambda: operator.reason("shop", "buildcaches") == "Available", seconds=10)
        assert operator.shell.problems() == []


async def test_p7_a_bug_beside_a_pass_loses_neither_the_worker_nor_the_object(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = 12

    def settled(self: Shell, key: Key, done: object) -> None:
        nonlocal broken
        if broken:
            broken -= 1
            raise ZeroDivisionError

    monkeypatch.setattr(Shell, "_build_settled", settled)
    async with start(workers=4) as operator:
        for number in range(12):
            operator.kube.create("builds", f"web-{number}", spec=SPEC)
        await operator.until(
            lambda: all(operator.reason(f"web-{number}") == "Running" for number in range(12)), seconds=15
        )
        assert b"buildcache_background_task_failures_total" in operator.shell.metrics.text()


async def test_p6_no_pass_is_made_while_the_api_server_is_away(
    start: Start, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildcache.controller.watches.BLIND_AFTER", 0.5)
    async with start() as operator:
        kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running")
        await operator.quiet()
        kube.leave()
        await operator.until(lambda: not operator.shell.watches.sees("team-a"))
        # The gate looks every second.
        await asyncio.sleep(1.5)
        passes = operator.builds.passes_of("web")
        for _ in range(5):
            operator.shell.builds.add(Key("Build", "team-a", "web"), forced=True)
            await asyncio.sleep(0.1)
        assert operator.builds.passes_of("web") == passes
        kube.is_away = False
        await operator.until(lambda: operator.builds.passes_of("web") > passes, seconds=30)


async def test_p4_rejected_credentials_are_not_tried_as_fast_as_the_api_server_answers(
    start: Start, kube: FakeKube
) -> None:
    watched = "/apis/buildcache.dev/v1alpha1/builds"
    async with start() as operator:
        kube.rejects_credentials = True
        for plural in ("builds", "buildcaches"):
            kube.send(plural, None)
        before = kube.arrived
        await asyncio.sleep(5)
        assert kube.arrived - before <= 15
        assert "401" in operator.shell.watches._watches[watched].why
        kube.rejects_credentials = False
        kube.create("builds", "web", spec=SPEC)
        await operator.until(lambda: operator.reason("web") == "Running", seconds=20)


async def test_p4_tokens_that_are_new_each_time_are_spaced_too(
    start: Start, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, count = kopf.login_via_client, 0

    def login(**arguments: Any) -> kopf.ConnectionInfo:
        nonlocal count
        count += 1
        info = real(**arguments)
        assert isinstance(info, kopf.ConnectionInfo)
        return dataclasses.replace(info, token=f"token-{count}")

    async with start():
        monkeypatch.setattr(kopf, "login_via_client", login)
        kube.rejects_credentials = True
        for plural in ("builds", "buildcaches"):
            kube.send(plural, None)
        before = kube.arrived
        await asyncio.sleep(5)
        assert kube.arrived - before <= 20


async def test_c18_every_line_about_an_object_can_be_found_by_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def log(body: Mapping[str, Any]) -> Outcome:
        logging.getLogger("buildcache.reconcile.launch").info("started task", extra={"task": "arn"})
        return running(body)

    lines: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonFormatter().format(record)))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO)
    try:
        async with start(builds=log) as operator:
            operator.kube.fail("PATCH", "/builds/web/status", 500)
            uid = operator.kube.create("builds", "web", spec=SPEC)["metadata"]["uid"]
            await operator.until(lambda: operator.reason("web") == "Running")
            await operator.until(lambda: any(each["message"] == "condition changed" for each in lines))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    told = {each["message"]: each for each in lines}
    for message in ("started task", "condition changed", "could not write to Kubernetes; trying again"):
        found = {name: told[message].get(name) for name in ("kind", "namespace", "name", "uid")}
        assert found == {"kind": "Build", "namespace": "team-a", "name": "web", "uid": uid}, message


async def test_c21_a_build_has_three_events_at_most(start: Start) -> None:
    ways = ["WaitingForCache", "WaitingForCapacity", "Running", "Retrying", "Running", "Throttled", "Running"]

    def next_step(body: Mapping[str, Any]) -> Outcome:
        step = (body.get("status") or {}).get("observedGeneration", -1) + 1
        if step >= len(ways):
            return completed(body)
        status = {"observedGeneration": step, "conditions": [condition("Succeeded", "Unknown", ways[step])]}
        return Outcome(status=status, again_after=0)

    async with start(builds=next_step) as operator:
        operator.kube.create("builds", "web", spec=SPEC)
        told = await operator.until(
            lambda: (
                {each["reason"]: each for each in operator.kube.told("Build", "web")}.get("Completed")
                and operator.kube.told("Build", "web")
            )
        )
        assert [each["reason"] for each in told] == ["WaitingForCache", "Running", "Completed"]
        assert [each["type"] for each in told] == ["Warning", "Normal", "Normal"]
        assert told[0]["regarding"]["uid"] == operator.kube.get("builds", "web")["metadata"]["uid"]  # type: ignore[index]


async def test_c21_a_cache_that_flaps_counts_in_one_event_and_a_settled_one_has_none(start: Start) -> None:
    bad = False

    async def becomes(operator: Operator, reason: str) -> None:
        await operator.until(lambda: operator.reason("shop", "buildcaches") == reason)

    def flap(body: Mapping[str, Any]) -> Outcome:
        status, reason = ("False", "NotFound") if bad else ("True", "Available")
        return Outcome(status={"observedGeneration": 1, "conditions": [condition("Ready", status, reason)]})

    async with start(caches=flap) as operator:
        operator.kube.create("buildcaches", "shop", spec={})
        for round_ in range(6):
            bad = bool(round_ % 2)
            operator.shell.caches.add(Key("BuildCache", "team-a", "shop"), forced=True)
            await becomes(operator, "NotFound" if bad else "Available")
        await operator.until(
            lambda: (
                sorted(each.get("series", {}).get("count", 1) for each in operator.kube.told("BuildCache", "shop"))
                == [3, 3]
            )
        )
        for _ in range(3):
            operator.shell.caches.add(Key("BuildCache", "team-a", "shop"), forced=True)
        await operator.quiet()
        assert len(operator.kube.told("BuildCache", "shop")) == 2


async def test_c21_refused_events_are_in_the_way_of_nothing(start: Start, kube: FakeKube) -> None:
    kube.events_answer = 403
    async with start() as operator:
        for number in range(20):
            kube.create("builds", f"web-{number}", spec=SPEC)
        await operator.until(lambda: all(operator.reason(f"web-{number}") == "Running" for number in range(20)))
        await operator.until(lambda: kube.events_refused)
        await asyncio.sleep(0.3)
        assert kube.events_refused == 1, "no hot loop"
        assert operator.shell.problems() == []
