"""What the demo's builds came to: numbers, the table of the three, and whether they prove what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from lab.errors import LabError

BUILDS = {"shop-cold": "cold", "shop-warm": "warm, on a new builder", "shop-changed": "after a source change"}
"""The Builds in their order, and what each is to show."""


@dataclass(frozen=True, slots=True)
class Result:
    """A finished Build in numbers."""

    name: str
    task: str
    seconds: int
    build_seconds: int | None
    cached: int
    total: int
    digest: str
    saved: int | None

    @property
    def steps(self) -> str:
        """As everyone writes it."""
        return f"{self.cached}/{self.total}"


def result(name: str, status: Mapping[str, Any]) -> Result:
    """The numbers of a finished Build."""
    steps = status.get("cache", {}).get("steps")
    if not steps:
        raise LabError(f"the Build {name} has no count of its cached steps: its report line is missing")
    return Result(
        name=name,
        task=status["attempts"][-1]["taskARN"].rpartition("/")[2],
        seconds=status["timing"]["totalSeconds"],
        build_seconds=status["timing"].get("buildSeconds"),
        cached=steps["cached"],
        total=steps["total"],
        digest=status.get("image", {}).get("digest", ""),
        saved=status["cache"].get("savedSeconds"),
    )


def table(results: Sequence[Result]) -> Table:
    """The three builds side by side."""
    shown = Table(title="one service, three builds, three builders", title_justify="left")
    for column, justify in (
        ("build", "left"), ("duration", "right"), ("engine", "right"), ("cached steps", "right"), ("saved", "right"),
        ("digest", "left"), ("ECS task", "left"),
    ):  # fmt: skip
        shown.add_column(column, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for result in results:
        shown.add_row(
            BUILDS[result.name],
            f"{result.seconds} s",
            "" if result.build_seconds is None else f"{result.build_seconds} s",
            result.steps,
            "" if result.saved is None else f"{result.saved} s",
            result.digest[:19],
            result.task[:12],
        )
    return shown


def verdict(results: Sequence[Result], left: Mapping[str, set[str]]) -> str:
    """The demo's last line; LabError when the cache did not do what it is for, or when something is left in AWS."""
    cold, warm, changed = results
    if len({result.task for result in results}) != len(results):
        raise LabError("two of the builds ran in the same ECS task")
    if cold.cached != 0:
        raise LabError(f"the cold build was not cold: {cold.steps} steps came from a cache")
    if warm.cached != warm.total or warm.total == 0:
        raise LabError(f"the warm build was not warm: only {warm.steps} steps came from the cache")
    if warm.digest != cold.digest:
        raise LabError(f"cold and warm build made different images: {cold.digest} and {warm.digest}")
    if not 0 < changed.cached < changed.total:
        raise LabError(f"after the change {changed.steps} steps came from the cache; some, but not all, should")
    if any(left.values()):
        raise LabError(f"AWS is not empty: {', '.join(sorted(set().union(*left.values())))}")
    return f"demo: ok cold={cold.seconds}s warm={warm.seconds}s cached={warm.steps}"
