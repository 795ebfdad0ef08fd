"""What the demo shows: headings, tables, and how far a long step is: as one moving line on a terminal, as lines now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from lab.errors import LabError

Found = TypeVar("Found")

LOOK_EVERY = 0.5
SAY_EVERY = 5.0
_WIDTH = 150


class Screen:
    """One console. Where it is no terminal, progress is whole lines: they end up in logs."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _WIDTH
        self._step = 0

    def heading(self, text: str) -> None:
        """A new part of the walk."""
        self._step += 1
        self._console.print(f"\n[bold cyan]{self._step}. {text}[/]")

    def say(self, text: str) -> None:
        """A plain line; nothing in it is markup."""
        self._console.print(text, markup=False, soft_wrap=True)

    def command(self, line: str, output: str) -> None:
        """A command as one would type it, and what it printed."""
        self._console.print(f"$ {line}", style="bold", markup=False, soft_wrap=True)
        self.say(output.rstrip())

    def table(self, table: Table) -> None:
        """A finished table."""
        self._console.print(table)

    def wait(self, what: str, look: Callable[[], Found | None], *, now: Callable[[], str], timeout: float) -> Found:
        """The first thing that `look` finds; `now` says in a few words how far it is. LabError after `timeout` seconds."""
        began = said = time.monotonic()
        with self._moving(what) as move:
            while True:
                if (found := look()) is not None:
                    self.say(f"   {what}: done after {time.monotonic() - began:.1f} s")
                    return found
                elapsed = time.monotonic() - began
                if elapsed > timeout:
                    raise LabError(f"{what}: not within {timeout:.0f} s; the last thing seen was: {now()}")
                text = f"{what}: {elapsed:.0f} s, {now()}"
                move(text)
                if not self._console.is_terminal and time.monotonic() - said >= SAY_EVERY:
                    self.say(f"   {text}")
                    said = time.monotonic()
                time.sleep(LOOK_EVERY)

    @contextmanager
    def _moving(self, what: str) -> Iterator[Callable[[str], None]]:
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with self._console.status(what) as status:
            # Log lines hold brackets: shown as they are, and cut so that the line stays one.
            yield lambda text: status.update(text.replace("[", r"\[")[: self._console.width - 4])
