"""A Build on its way, read from its body: where it stands, how it ended, where its logs are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildcache.core.log_text import one_line
from buildcache.core.task_state import TaskRef
from buildcache.core.tasks import BUILD, FETCH

LINE = 200


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a Build stands."""

    status: str
    """Of the condition Succeeded: Unknown until it has ended."""

    reason: str
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.status in ("True", "False")


@dataclass(frozen=True, slots=True)
class Streams:
    """The log streams of one attempt."""

    number: int
    region: str
    group: str
    fetch: str
    build: str


def stage(body: Mapping[str, Any]) -> Stage:
    """Read the condition that tells how a Build is."""
    status = body.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Succeeded":
            said = one_line(str(condition.get("message") or ""), LINE)
            if condition.get("reason") == "Queued":
                ahead = (status.get("queue") or {}).get("position", 0)
                said = f"{ahead} before it" if ahead else "it is next"
            return Stage(str(condition.get("status")), str(condition.get("reason")), said)
    return Stage("Unknown", "Accepted", "the operator has not seen it yet")


def streams(body: Mapping[str, Any]) -> Streams | None:
    """Read where the newest attempt's containers write to; None while there is no task."""
    status = body.get("status") or {}
    group = (status.get("logs") or {}).get("group")
    for row in reversed(status.get("attempts") or ()):
        ref = TaskRef.parse(row.get("taskARN"))
        if ref is not None and isinstance(group, str):
            return Streams(int(row.get("number") or 1), ref.region, group, ref.stream(FETCH), ref.stream(BUILD))
    return None


def summary(body: Mapping[str, Any]) -> list[str]:
    """What a person wants to know of a Build that has ended, in lines."""
    status = body.get("status") or {}
    said = stage(body)
    lines = [f"{said.reason}: {said.message}" if said.message else said.reason]
    cache = status.get("cache") or {}
    if "hitPercent" in cache:
        saved = f", {cache['savedSeconds']} s saved" if "savedSeconds" in cache else ""
        lines.append(f"{cache['hitPercent']} % of the steps from the cache{saved}")
    failure = status.get("failure") or {}
    if failure.get("logTail"):
        lines += ["", *(f"  {line}" for line in str(failure["logTail"]).split("\n")), ""]
    if failure.get("hint"):
        lines.append(f"hint: {failure['hint']}")
    return lines
