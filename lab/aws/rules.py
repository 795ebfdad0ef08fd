"""Fault and crash rules of the AWS side: parsed from the control surface's JSON, matched and used up. Consulted by `faults.py`."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["throttle", "error", "reset", "lost", "delay", "denied", "failures", "hang"]
When = Literal["before", "after"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FOR_EVER = -1
CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"


@dataclass(slots=True)
class Rule:
    """One fault: what happens to the next `times` calls of `operation`."""

    operation: str
    kind: Kind
    times: int = 1
    seconds: float = 1.0
    reason: str = CAPACITY
    code: str | None = None
    """error: the AWS error code instead of the service's usual one."""
    status: int | None = None
    """error: the HTTP status instead of the usual one."""
    region: str | None = None
    """Only calls to this region; None: to any."""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Rule:
        """Read one rule; ValueError says what is wrong with it."""
        unknown = set(data) - {"operation", "kind", "times", "seconds", "reason", "code", "status", "region"}
        if unknown:
            raise ValueError(f"a fault rule has no field {', '.join(sorted(unknown))}: {dict(data)}")
        operation, kind, times = data.get("operation"), data.get("kind"), data.get("times", 1)
        if not operation or not isinstance(operation, str):
            raise ValueError(f"a fault rule needs an operation, for example RunTask: {dict(data)}")
        if kind == "failures" and operation != "RunTask":
            raise ValueError("fault kind failures exists for RunTask only: no other operation answers with failures[]")
        if kind == "hang" and times != FOR_EVER:
            raise ValueError("fault kind hang lasts until it is deleted: times is -1")
        if not isinstance(times, int) or times == 0 or times < FOR_EVER:
            raise ValueError(f"times is a positive number, or -1 for until deleted, not {times!r}")
        seconds = data.get("seconds", 1.0)
        if not isinstance(seconds, int | float) or seconds < 0:
            raise ValueError(f"seconds is a number of seconds, not {seconds!r}")
        return cls(
            operation=operation,
            kind=_kind(kind),
            times=times,
            seconds=float(seconds),
            reason=data.get("reason") or CAPACITY,
            code=data.get("code"),
            status=data.get("status"),
            region=data.get("region"),
        )


def _kind(given: object) -> Kind:
    for kind in KINDS:
        if given == kind:
            return kind
    raise ValueError(f"fault kind {given!r} is none of {', '.join(KINDS)}")


class Rules:
    """All rules in force. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Rule] = []
        self._crashes: list[tuple[str, When]] = []

    def add(self, rules: Iterable[Mapping[str, Any]]) -> None:
        """Add faults, all or none."""
        parsed = [Rule.parse(rule) for rule in rules]
        with self._lock:
            self._faults.extend(parsed)

    def add_crash(self, operation: str, when: str) -> None:
        """Add a crash at the next call of `operation`."""
        if when not in get_args(When):
            raise ValueError(f"a crash comes before or after the effect, not {when!r}")
        with self._lock:
            self._crashes.append((operation, "before" if when == "before" else "after"))

    def clear(self) -> None:
        """Forget all rules and pending crashes."""
        with self._lock:
            self._faults.clear()
            self._crashes.clear()

    def take_fault(self, operation: str, region: str | None = None) -> Rule | None:
        """Use up one turn of the first rule for this operation, in this region."""
        with self._lock:
            for rule in self._faults:
                if rule.operation in (operation, "*") and rule.region in (None, region):
                    if rule.times != FOR_EVER:
                        rule.times -= 1
                        if rule.times == 0:
                            self._faults.remove(rule)
                    return rule
        return None

    def is_in_force(self, rule: Rule) -> bool:
        """Tell whether a rule has turns left and was not forgotten."""
        with self._lock:
            return rule in self._faults

    def take_crash(self, operation: str) -> When | None:
        """Use up the first crash for this operation."""
        with self._lock:
            for crash in self._crashes:
                if crash[0] == operation:
                    self._crashes.remove(crash)
                    return crash[1]
        return None
