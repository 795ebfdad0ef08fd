"""The patches that the operator sends: computed here, sent by `writer.py`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildcache.api.meta import FINALIZER, FINISHED_LABEL

from .objects import Body, KindName, is_held, is_labelled_finished, uid_of, version_of

Operations = list[dict[str, Any]]


def without_nulls(value: Any) -> Any:
    """Return the value without null fields, which the API server does not store."""
    if isinstance(value, Mapping):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(item) for item in value]
    return value


def merge_patch(have: Mapping[str, Any], want: Mapping[str, Any]) -> dict[str, Any]:
    """Return the smallest merge patch that makes `have` into `want`: stale fields become null, lists are replaced whole."""
    patch: dict[str, Any] = {name: None for name in have if name not in want}
    for name, value in want.items():
        old = have.get(name)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := merge_patch(old, value):
                patch[name] = inner
        elif name not in have or old != value:
            patch[name] = value
    return patch


def status_patch(body: Body, status: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the merge patch for the status subresource, or None when nothing would change.

    The resourceVersion makes it a test-and-set; the UID keeps it from a namesake that was created meanwhile.
    """
    difference = merge_patch(body.get("status") or {}, without_nulls(status))
    if not difference:
        return None
    return {"metadata": {"resourceVersion": version_of(body), "uid": uid_of(body)}, "status": difference}


def hold_patch(body: Body) -> Operations | None:
    """Return the JSON patch that puts our finalizer on, or None when it is on."""
    if is_held(body):
        return None
    finalizers = [*(body["metadata"].get("finalizers") or ()), FINALIZER]
    return [_test(body), {"op": "add", "path": "/metadata/finalizers", "value": finalizers}]


def release_patch(kind: KindName, body: Body) -> Operations | None:
    """Return the JSON patch that lets an object go, or None when it is free.

    Our finalizer goes off and, on a Build that stays, the finished label goes on: in one patch, because an object that
    leaves the watch must not be held any more.
    """
    metadata = body["metadata"]
    operations: Operations = []
    if is_held(body):
        others = [item for item in metadata["finalizers"] if item != FINALIZER]
        operations.append({"op": "add", "path": "/metadata/finalizers", "value": others})
    if kind == "Build" and not metadata.get("deletionTimestamp") and not is_labelled_finished(body):
        labels = {**(metadata.get("labels") or {}), FINISHED_LABEL: "true"}
        operations.append({"op": "add", "path": "/metadata/labels", "value": labels})
    return [_test(body), *operations] if operations else None


def _test(body: Body) -> dict[str, Any]:
    # With this test first, whole lists can be replaced without losing what somebody else has just added.
    return {"op": "test", "path": "/metadata/resourceVersion", "value": version_of(body)}
