"""What a request to the Kubernetes API asks for, in the words of RBAC: `patch builds/status`, `watch builds`.

Pure; the proxy's fault rules name requests by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERBS = ("create", "get", "list", "watch", "patch", "update", "delete", "deletecollection")
_ONE = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "POST": "create"}
_MANY = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
# These can hang below a namespace like a resource's name, but belong to the namespace itself.
_OF_NAMESPACE = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class Operation:
    """A verb and what it acts on; `text` is the form of the fault rules."""

    verb: str
    resource: str
    subresource: str = ""

    @property
    def text(self) -> str:
        """`verb resource` or `verb resource/subresource`."""
        return f"{self.verb} {self.resource}" + (f"/{self.subresource}" if self.subresource else "")


def operation(method: str, path: str, query: Mapping[str, str]) -> Operation | None:
    """The operation of one request; None for what is no resource (/version, /readyz, discovery)."""
    parts = [part for part in path.split("?")[0].split("/") if part]
    if parts[:1] == ["api"] and len(parts) >= 3:
        rest = parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        rest = parts[3:]
    else:
        return None
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in _OF_NAMESPACE:
        rest = rest[2:]
    resource, name, subresource = rest[0], "/".join(rest[1:2]), "/".join(rest[2:])
    method = method.upper()
    verb = (_ONE if name else _MANY).get(method)
    if verb is None:
        return None
    if method == "GET" and query.get("watch", "").lower() in ("true", "1"):
        verb = "watch"
    return Operation(verb, resource, subresource)


def parse(text: str) -> Operation:
    """The operation that a rule names; ValueError says what is wrong with it."""
    verb, _, target = text.strip().partition(" ")
    resource, _, subresource = target.strip().partition("/")
    if verb not in VERBS:
        raise ValueError(f"{text!r} must begin with a verb: one of {', '.join(VERBS)}")
    if not resource or " " in target.strip():
        raise ValueError(
            f"{text!r} must be 'verb resource' or 'verb resource/subresource', such as 'patch builds/status'"
        )
    return Operation(verb, resource, subresource)
