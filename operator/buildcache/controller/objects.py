"""What the shell reads from raw objects: their key, versions and marks. Pure; the passes parse the rest with the models."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from buildcache.api.meta import FINALIZER, FINISHED_LABEL

Body = Mapping[str, Any]
KindName = Literal["BuildCache", "Build"]

PLURALS: Mapping[KindName, str] = {"BuildCache": "buildcaches", "Build": "builds"}

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Where kubectl keeps a copy of the whole object."""

_WORD = 64
"""Longest text that other objects may have too."""


class Key(NamedTuple):
    """An object by name: one pass at a time for each key, so a recreated object waits for its predecessor's pass."""

    kind: KindName
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


def key_of(kind: KindName, body: Body) -> Key:
    """Return the key of an object that carries its metadata."""
    return Key(kind, body["metadata"]["namespace"], body["metadata"]["name"])


def identity(key: Key, body: Body | None = None) -> dict[str, str]:
    """Return the fields by which all log lines about one object can be found."""
    return {**key._asdict(), "uid": uid_of(body) if body is not None else ""}


def identified(body: object) -> bool:
    """Tell whether this is an object with the metadata that everything here relies on (F04: some answers are not)."""
    metadata = body.get("metadata") if isinstance(body, Mapping) else None
    return isinstance(metadata, Mapping) and all(
        isinstance(metadata.get(field), str) and metadata[field]
        for field in ("uid", "name", "namespace", "resourceVersion")
    )


def slim(body: Body) -> Body:
    """Return the body as it is worth keeping: a third of its size in memory.

    Without `managedFields` and kubectl's copy of it, which are of no use here, and with one copy of each word: every JSON document that is
    read brings its own of field names and reasons.
    """
    metadata = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    if _LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
    kept: Body = _shared({**body, "metadata": metadata})
    return kept


def _shared(value: Any) -> Any:
    if isinstance(value, str):
        return sys.intern(value) if len(value) <= _WORD else value
    if isinstance(value, dict):
        return {sys.intern(name): _shared(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shared(item) for item in value]
    return value


def pack(body: Body) -> tuple[Body, bytes]:
    """Return the body without its build arguments, and these as JSON: parsed they take four times the memory, and only a
    Build's own pass reads them.
    """
    spec = body.get("spec")
    if not isinstance(spec, Mapping) or not (arguments := spec.get("buildArgs")):
        return body, b""
    rest = {name: value for name, value in spec.items() if name != "buildArgs"}
    return {**body, "spec": rest}, json.dumps(arguments).encode()


def unpack(body: Body, arguments: bytes) -> Body:
    """Return the whole body from what `pack` returned."""
    return {**body, "spec": {**body["spec"], "buildArgs": json.loads(arguments)}} if arguments else body


def uid_of(body: Body) -> str:
    """Return the UID."""
    uid: str = body["metadata"]["uid"]
    return uid


def version_of(body: Body) -> str:
    """Return the resourceVersion."""
    version: str = body["metadata"]["resourceVersion"]
    return version


def is_newer(body: Body, than: Body) -> bool:
    """Compare resourceVersions as integers, which Kubernetes has promised since 1.35; what is no integer counts as newer."""
    new, old = version_of(body), version_of(than)
    return int(new) > int(old) if new.isdecimal() and old.isdecimal() else new != old


def is_held(body: Body) -> bool:
    """Tell whether our finalizer is on the object."""
    return FINALIZER in (body["metadata"].get("finalizers") or ())


def is_ended(body: Body) -> bool:
    """Tell whether the last finalizer of a deleted object is off: no event is needed to know that it is gone."""
    return bool(body["metadata"].get("deletionTimestamp")) and not body["metadata"].get("finalizers")


def is_labelled_finished(body: Body) -> bool:
    """Tell whether the label that takes a Build out of the watch is on."""
    return FINISHED_LABEL in (body["metadata"].get("labels") or {})


def is_terminal(build: Body) -> bool:
    """Tell whether a Build's result is decided: Succeeded is True or False and not Unknown."""
    conditions = (build.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Succeeded" and item.get("status") in ("True", "False") for item in conditions)


def is_released(build: Body) -> bool:
    """Tell whether nothing is left to do for a Build: decided, labelled, and not held by our finalizer."""
    return is_labelled_finished(build) and is_terminal(build) and not is_held(build)


def cache_of(build: Body) -> Key | None:
    """Return the key of the BuildCache that a Build refers to, or None when the spec names none."""
    reference = (build.get("spec") or {}).get("cacheRef")
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return Key("BuildCache", build["metadata"]["namespace"], name) if isinstance(name, str) and name else None


def condition_of(body: Body, kind: str) -> tuple[str, str] | None:
    """Return status and reason of a condition, or None when the object does not have it."""
    for item in (body.get("status") or {}).get("conditions") or ():
        if item.get("type") == kind:
            return item.get("status", ""), item.get("reason", "")
    return None
