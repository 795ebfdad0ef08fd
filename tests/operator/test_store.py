"""The store against late, lost, repeated and reordered news."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.meta import FINALIZER, FINISHED_LABEL
from buildcache.controller.objects import Key
from buildcache.controller.store import HISTORY, Store
from buildcache.core.build import finished

WEB = Key("Build", "team-a", "web")
SHOP = Key("BuildCache", "team-a", "shop")


def build(version: int, *, name: str = "web", uid: str = "u1", ended: str = "", **metadata: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"observedGeneration": -1}
    if ended:
        condition = {
            "type": "Succeeded",
            "status": "True",
            "reason": "Completed",
            "message": "",
            "lastTransitionTime": ended,
        }
        status = {"observedGeneration": 1, "completionTime": ended, "conditions": [condition]}
    return {
        "kind": "Build",
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T10:00:00Z",
            **metadata,
        },
        "spec": {"cacheRef": {"name": "shop"}, "service": "web"},
        "status": status,
    }


def repaired(store: Store, since: int, *pages: list[dict[str, Any]], namespace: str = "") -> list[Key]:
    listed: set[Key] = set()
    missed = [key for page in pages for key in store.repair("Build", page, since, listed)]
    return missed + store.repaired("Build", namespace, listed, since)


def version(store: Store, key: Key = WEB) -> str | None:
    body = store.get(key)
    return body["metadata"]["resourceVersion"] if body else None


def test_an_older_version_never_replaces_a_newer_one() -> None:
    store = Store(finished)
    assert store.seen("Build", "MODIFIED", build(10)) == WEB
    assert store.seen("Build", "MODIFIED", build(9)) is None
    store.answered("Build", build(8))
    assert version(store) == "10"


def test_versions_are_numbers_and_not_text() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(9))
    assert store.seen("Build", "MODIFIED", build(10)) == WEB


def test_the_echo_of_an_own_write_is_no_news() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    store.answered("Build", build(2))
    assert store.seen("Build", "MODIFIED", build(2)) is None


@given(st.permutations([build(number) for number in range(1, 6)]))
@settings(max_examples=60, deadline=None)
def test_in_whatever_order_the_newest_wins(bodies: list[dict[str, Any]]) -> None:
    store = Store(finished)
    for body in bodies:
        store.seen("Build", "MODIFIED", body)
    assert version(store) == "5"


def test_what_is_deleted_does_not_come_back_by_a_late_answer() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    assert store.seen("Build", "DELETED", build(3)) == WEB
    store.answered("Build", build(2))
    assert store.get(WEB) is None
    assert store.key_by_uid("u1") is None


def test_a_deletion_of_the_old_owner_does_not_take_the_new_one() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    store.seen("Build", "ADDED", build(5, uid="u2"))
    assert store.seen("Build", "DELETED", build(4)) is None
    assert version(store) == "5"
    assert store.key_by_uid("u1") is None


def test_a_held_object_that_leaves_the_watch_is_kept_until_a_read_has_told__F61() -> None:
    store = Store(finished)
    held = build(1, finalizers=[FINALIZER])
    store.seen("Build", "ADDED", held)
    assert store.seen("Build", "DELETED", {**held, "metadata": {**held["metadata"], "resourceVersion": "2"}}) == WEB
    assert store.is_doubted(WEB)
    hidden = build(2, finalizers=[FINALIZER], labels={FINISHED_LABEL: "true"})
    assert store.read(WEB, hidden, store.begin_read()) == hidden
    assert not store.is_doubted(WEB)
    assert store.read(WEB, None, store.begin_read()) is None


def test_our_own_release_ends_an_object_before_its_event_comes() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1, finalizers=[FINALIZER]))
    store.answered("Build", build(3, ended="2026-01-01T10:00:00Z", finalizers=[], labels={FINISHED_LABEL: "true"}))
    assert store.get(WEB) is None
    assert store.seen("Build", "DELETED", build(3, finalizers=[FINALIZER])) is None
    assert not store.is_doubted(WEB)


def test_a_deleted_object_without_finalizers_is_gone_without_an_event() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1, finalizers=[FINALIZER], deletionTimestamp="2026-01-01T11:00:00Z"))
    store.answered("Build", build(2, finalizers=[], deletionTimestamp="2026-01-01T11:00:00Z"))
    assert store.get(WEB) is None


def test_junk_in_the_watch_is_passed_over__F04() -> None:
    store = Store(finished)
    junk: object
    for junk in ({}, {"metadata": None}, {"metadata": {"name": "x"}}, None, [], {"metadata": {"uid": 1}}):
        assert store.seen("Build", "ADDED", junk) is None


def test_a_read_that_began_before_the_news_does_not_take_it_back() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    since = store.begin_read()
    store.seen("Build", "MODIFIED", build(5))
    newest = store.read(WEB, build(3), since)
    assert newest is not None
    assert newest["metadata"]["resourceVersion"] == "5"
    assert store.read(WEB, None, since) is not None


def test_a_read_shows_that_time_went_backwards__F16() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1000))
    store.read(WEB, build(400), store.begin_read())
    assert version(store) == "400"


def test_the_repair_list_finds_what_events_have_not_brought_both_ways() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1, name="changed", uid="u1"))
    store.seen("Build", "ADDED", build(1, name="gone", uid="u2"))
    store.seen("Build", "ADDED", build(1, name="same", uid="u3"))
    since = store.begin_read()
    store.seen("Build", "ADDED", build(9, name="new", uid="u4"))
    pages = [build(7, name="changed", uid="u1"), build(1, name="same", uid="u3")], [build(8, name="unseen", uid="u5")]
    missed = repaired(store, since, *pages)
    assert {key.name for key in missed} == {"changed", "gone", "unseen"}
    assert version(store, WEB._replace(name="changed")) == "7"
    assert store.is_doubted(WEB._replace(name="gone")), "only a read may say that it is gone"
    assert version(store, WEB._replace(name="new")) == "9"


def test_the_repair_list_does_not_bring_back_what_ended_while_it_ran() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    since = store.begin_read()
    store.seen("Build", "DELETED", build(2))
    assert repaired(store, since, [build(1)]) == []
    assert store.get(WEB) is None


def test_the_view_shows_undecided_builds_oldest_first() -> None:
    store = Store(finished)
    store.seen("Build", None, build(3, name="b", uid="u1", creationTimestamp="2026-01-01T10:00:01Z"))
    store.seen("Build", None, build(4, name="c", uid="u2", creationTimestamp="2026-01-01T10:00:00Z"))
    store.seen("Build", None, build(5, name="a", uid="u3", ended="2026-01-01T10:05:00Z"))
    store.seen("Build", None, build(6, name="d", uid="u4", creationTimestamp="2026-01-01T10:00:00Z"))
    assert [body["metadata"]["name"] for body in store.builds_of("team-a", "shop")] == ["c", "d", "b"]
    assert store.builds_of("team-b", "shop") == []


def test_a_decided_build_is_history_at_once_and_once() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1))
    done = build(2, ended="2026-01-01T10:00:00Z")
    store.answered("Build", done)
    store.seen("Build", "MODIFIED", done)
    assert store.builds_of("team-a", "shop") == []
    assert [each.name for each in store.finished_of("team-a", "shop")] == ["web"]
    assert store.get(WEB) is not None, "not released yet"


def test_history_keeps_the_newest_fifty_newest_last() -> None:
    store = Store(finished)
    ended = [f"2026-01-01T{number // 60:02}:{number % 60:02}:00Z" for number in range(120)]
    bodies = [
        build(number, name=f"b{number}", uid=f"u{number}", ended=when, labels={FINISHED_LABEL: "true"})
        for number, when in enumerate(ended, start=1)
    ]
    assert store.remember(reversed(bodies)) == []
    history = store.finished_of("team-a", "shop")
    assert [each.completed_at for each in history] == ended[-HISTORY:]
    assert store.count("Build") == 0


def test_a_label_without_an_end_is_told_at_the_start__F61() -> None:
    store = Store(finished)
    assert store.remember([build(1, labels={FINISHED_LABEL: "true"})]) == [WEB]
    assert store.get(WEB) is not None


def test_a_forged_status_makes_no_history_and_no_trouble__H18() -> None:
    store = Store(finished)
    forged = build(1, ended="2026-01-01T10:00:00Z")
    forged["status"]["cache"] = "yes"
    assert store.seen("Build", "ADDED", forged) == WEB
    assert store.finished_of("team-a", "shop") == ()


def test_a_new_cache_of_an_old_name_begins_without_history() -> None:
    store = Store(finished)
    cache = {"metadata": {"name": "shop", "namespace": "team-a", "uid": "c1", "resourceVersion": "1"}}
    store.seen("BuildCache", "ADDED", cache)
    store.seen("Build", "ADDED", build(2, ended="2026-01-01T10:00:00Z"))
    assert store.cache("team-a", "shop") is not None
    store.seen("BuildCache", "DELETED", {"metadata": {**cache["metadata"], "resourceVersion": "3"}})
    assert store.cache("team-a", "shop") is None
    assert store.finished_of("team-a", "shop") == ()


def test_managed_fields_are_not_kept() -> None:
    store = Store(finished)
    store.seen("Build", "ADDED", build(1, managedFields=[{"manager": "kubectl"}]))
    assert "managedFields" not in (store.get(WEB) or {})["metadata"]


def test_bodies_share_their_words() -> None:
    store = Store(finished)
    for name in ("web", "api"):
        body = json.loads(json.dumps(build(1, name=name, uid=name)))
        store.seen("Build", "ADDED", body)
        assert store.get(Key("Build", "team-a", name)) == body
    web, api = (store.get(Key("Build", "team-a", name)) or {} for name in ("web", "api"))
    assert all(ours is theirs for ours, theirs in zip(web, api, strict=True))
    assert web["spec"]["cacheRef"]["name"] is api["spec"]["cacheRef"]["name"]
