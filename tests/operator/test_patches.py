"""Patches: the smallest that does it, and never without a test of what they were computed from."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.meta import FINALIZER, FINISHED_LABEL
from buildcache.controller.patches import hold_patch, merge_patch, release_patch, status_patch, without_nulls
from tests.fakes.kube import _apply, _merge

JSON = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def body(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "namespace": "a", "uid": "u1", "resourceVersion": "7", **metadata}}


def applied(target: dict[str, Any], operations: list[dict[str, Any]] | None) -> dict[str, Any]:
    assert operations
    assert operations[0] == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert all(_apply(target, operation) for operation in operations)
    return target


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_makes_one_into_the_other(have: dict[str, Any], want: dict[str, Any]) -> None:
    assert _merge(have, merge_patch(have, want)) == want


@given(OBJECTS)
def test_no_difference_is_no_patch(have: dict[str, Any]) -> None:
    assert merge_patch(have, have) == {}


def test_a_stale_field_becomes_null_and_a_list_is_whole() -> None:
    have = {"failure": {"reason": "x", "message": "y"}, "conditions": [1, 2], "same": 1}
    want = {"failure": {"reason": "x"}, "conditions": [2], "same": 1}
    assert merge_patch(have, want) == {"failure": {"message": None}, "conditions": [2]}


def test_nulls_in_a_status_are_absent_fields() -> None:
    assert without_nulls({"a": None, "b": [{"c": None, "d": 1}]}) == {"b": [{"d": 1}]}
    assert status_patch({**body(), "status": {"a": 1}}, {"a": 1, "b": None}) is None


def test_a_status_patch_tests_version_and_uid() -> None:
    patch = status_patch(body(), {"a": 1})
    assert patch == {"metadata": {"resourceVersion": "7", "uid": "u1"}, "status": {"a": 1}}


def test_holding_keeps_other_finalizers() -> None:
    held = applied(body(finalizers=["other/x"]), hold_patch(body(finalizers=["other/x"])))
    assert held["metadata"]["finalizers"] == ["other/x", FINALIZER]
    assert applied(body(), hold_patch(body()))["metadata"]["finalizers"] == [FINALIZER]
    assert hold_patch(held) is None


def test_releasing_a_build_takes_the_finalizer_off_and_puts_the_label_on_in_one_patch() -> None:
    before = body(finalizers=[FINALIZER, "other/x"], labels={"team": "a"})
    after = applied(before, release_patch("Build", before))
    assert after["metadata"]["finalizers"] == ["other/x"]
    assert after["metadata"]["labels"] == {"team": "a", FINISHED_LABEL: "true"}
    assert release_patch("Build", after) is None


def test_releasing_what_is_being_deleted_or_is_a_cache_puts_no_label_on() -> None:
    deleted = body(finalizers=[FINALIZER], deletionTimestamp="2026-01-01T10:00:00Z")
    assert "labels" not in applied(deleted, release_patch("Build", deleted))["metadata"]
    cache = body(finalizers=[FINALIZER])
    assert "labels" not in applied(cache, release_patch("BuildCache", cache))["metadata"]
    assert release_patch("BuildCache", body()) is None
