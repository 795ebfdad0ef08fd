"""The rules by which the proxy spoils the operator's requests to the Kubernetes API, and the answers it gives instead.

No input or output here: `lab.kube_proxy` asks what to do with a request, `lab.control` adds and removes rules.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.kube_path import Operation, parse

# kind: (status, reason of the Status object, message)
ANSWERS: Mapping[str, tuple[int, str, str]] = {
    "throttle": (429, "TooManyRequests", "the lab throttles this request; try again later"),
    "error": (500, "InternalError", "the lab fails this request: Internal error occurred"),
    "denied": (403, "Forbidden", "the lab forbids this request"),
    "conflict": (
        409,
        "Conflict",
        "the lab refuses this write: the object has been modified; please apply your changes to the latest version",
    ),
    "invalid": (422, "Invalid", "the lab calls this object invalid"),
    "too-large": (413, "RequestEntityTooLarge", "the lab calls this request too large: limit is 3145728"),
}
# These never answer: before the request has an effect, or after it.
SILENT_KINDS = ("reset", "lost", "delay")
WATCH_KINDS = ("close", "silent", "gone")
CRASHES = {"before": "crash-before", "after": "crash-after"}
WRITES = ("create", "patch", "update", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the next `times` requests for `operation` (-1: until the rules are deleted), after the first `skip` of them."""

    operation: Operation
    kind: str
    times: int = 1
    seconds: float = 1.0
    skip: int = 0


def parse_rule(given: Mapping[str, Any]) -> Rule:
    """A rule as the control surface takes it; ValueError says what is wrong."""
    unknown = set(given) - {"kubernetes", "kind", "times", "seconds", "skip"}
    if unknown:
        raise ValueError(f"a rule for the API server has no field {sorted(unknown)[0]!r}")
    operation = parse(_text(given, "kubernetes"))
    kind = _text(given, "kind")
    kinds = (*ANSWERS, *SILENT_KINDS)
    if kind in WATCH_KINDS and operation.verb != "watch":
        raise ValueError(f"kind {kind!r} is for watches; {operation.text!r} is none")
    if kind not in (*kinds, *WATCH_KINDS):
        raise ValueError(
            f"kind must be one of {', '.join(kinds)}, for watches also {', '.join(WATCH_KINDS)}; not {kind!r}"
        )
    times, seconds = given.get("times", 1), given.get("seconds", 1.0)
    if isinstance(times, bool) or not isinstance(times, int) or (times < 1 and times != -1):
        raise ValueError(f"times must be a whole number above 0, or -1 for 'until deleted'; not {times!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
        raise ValueError(f"seconds must be a number from 0 to 3600; not {seconds!r}")
    skip = given.get("skip", 0)
    if isinstance(skip, bool) or not isinstance(skip, int) or skip < 0:
        raise ValueError(f"skip must be a whole number, 0 or more; not {skip!r}")
    return Rule(operation, kind, times, float(seconds), skip)


def parse_crash(given: Mapping[str, Any]) -> Rule:
    """A crash as the control surface takes it: once, at a write."""
    operation = parse(_text(given, "kubernetes"))
    if operation.verb not in WRITES:
        raise ValueError(f"the operator can be crashed at writes to the API server; {operation.text!r} is none")
    when = given.get("when")
    if when not in CRASHES:
        raise ValueError(f"when must be 'before' or 'after'; not {when!r}")
    return Rule(operation, CRASHES[when])


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text; not {value!r}")
    return value


class Faults:
    """The rules in force, oldest first; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[tuple[Rule, int, int]] = []
        """Each with the requests that it still lets pass, and those that it is still for."""

    def add(self, rules: Sequence[Rule]) -> None:
        """In force for the next request."""
        with self._lock:
            self._rules += [(rule, rule.skip, rule.times) for rule in rules]

    def clear(self) -> None:
        """No rule is left."""
        with self._lock:
            self._rules.clear()

    def take(self, operation: Operation | None, kinds: Collection[str] | None = None) -> Rule | None:
        """The oldest rule for this request (of these kinds, when given), used up by one."""
        with self._lock:
            for index, (rule, skip, left) in enumerate(self._rules):
                if rule.operation != operation or (kinds is not None and rule.kind not in kinds):
                    continue
                if skip > 0:
                    self._rules[index] = (rule, skip - 1, left)
                    continue
                if left == 1:
                    del self._rules[index]
                elif left > 1:
                    self._rules[index] = (rule, skip, left - 1)
                return rule
        return None


def status(kind: str, operation: Operation) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the Status object of a refused request, in the API server's own form."""
    code, reason, message = ANSWERS[kind]
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"{message} ({operation.text})",
        "reason": reason,
        "details": {"kind": operation.resource},
        "code": code,
    }
    if kind == "throttle":
        body["details"]["retryAfterSeconds"] = 1
    return code, body


def gone() -> dict[str, Any]:
    """The event that ends a watch whose resourceVersion the server no longer has."""
    return {
        "type": "ERROR",
        "object": {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "too old resource version: the lab has ended this watch",
            "reason": "Expired",
            "code": 410,
        },
    }
