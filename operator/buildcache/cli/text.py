"""What is shown to people: explained Builds, with the command over several lines ready to be copied; a Build's progress."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from .explain import Explained


def show(explained: Iterable[Explained]) -> None:
    """Prints to standard output; in colour where that is a terminal."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    for index, each in enumerate(explained):
        if index:
            console.print()
        executor, flags = each.resolved.executor, each.resolved.flags
        console.print(
            Text.assemble(
                (each.build, "bold"), f"  executor {executor.name}, {executor.engine} on {executor.launch_type}"
            )
        )
        console.print()
        for line in command_lines(each.resolved.command):
            console.print(Text(f"  {line}"))
        _section(console, "environment", (f"{name}={value}" for name, value in sorted(flags.environment.items())))
        _section(
            console,
            "mounts",
            (
                f"{mount.volume} at {mount.path}{', read-only' if mount.read_only else ''}: "
                f"{volume['efsVolumeConfiguration']['fileSystemId']} "
                f"through {volume['efsVolumeConfiguration']['authorizationConfig']['accessPointId']}"
                for mount, volume in zip(flags.mounts, flags.volumes, strict=True)
            ),
        )
        _section(console, "warnings", (f"{notice.path} {notice.message}" for notice in flags.warnings), style="yellow")


def command_lines(command: Sequence[str]) -> list[str]:
    """The command for a shell: the program on the first line, each option with its value on a line of its own."""
    lines: list[str] = []
    for item in command:
        if item.startswith("-") or not lines:
            lines.append(shlex.quote(item))
        else:
            lines[-1] += f" {shlex.quote(item)}"
    ends = [*(" \\" for _ in lines[1:]), ""]
    return [f"{'  ' if index else ''}{line}{end}" for index, (line, end) in enumerate(zip(lines, ends, strict=True))]


def _section(console: Console, title: str, lines: Iterable[str], style: str = "") -> None:
    for index, line in enumerate(lines):
        if not index:
            console.print()
            console.print(Text(title, style="bold"))
        console.print(Text(f"  {line}", style=style))


class Progress:
    """One line that changes, on a terminal; elsewhere a line for each change. On standard error: output is for results."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status: Status | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status = self._console.status(Text(self._name))
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, what: str, elapsed: float, last: str) -> None:
        """Show where the Build stands, for how long it has been waited for, and the last line of its log."""
        if self._status is not None:
            minutes, seconds = divmod(int(elapsed), 60)
            line = Text.assemble((self._name, "bold"), f"  {minutes}:{seconds:02}  {what}", (f"  {last}", "dim"))
            line.truncate(max(20, self._console.width - 4), overflow="ellipsis")
            self._status.update(line)
        elif what != self._shown:
            self._console.print(f"{self._name}: {what}", soft_wrap=True)
        self._shown = what
