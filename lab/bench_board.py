"""The table that the benches fill, and how they wait."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Board:
    """Lines of the table: what was measured, its value and its target."""

    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def add(self, what: str, value: float, target: float | None, unit: str = "") -> None:
        """One line; without a target it is only shown."""
        right = target is None or value <= target
        self.rows.append((what, f"{value:.1f}{unit}", "" if target is None else f"≤ {target:g}{unit}", right))

    def show(self, console: Console, title: str) -> None:
        """Print all of it."""
        table = Table(title=title)
        for column in ("measure", "value", "target", ""):
            table.add_column(column, justify="left" if column == "measure" else "right")
        for what, value, target, right in self.rows:
            table.add_row(what, value, target, "" if not target else "met" if right else "missed")
        console.print(table)


def wait(what: str, done: Callable[[], bool], seconds: float = 60) -> None:
    """Return once it is done; ends the program when that takes too long."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"bench-dispatch: not within {seconds:.0f} s: {what}")
        time.sleep(0.5)
