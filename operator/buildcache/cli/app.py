"""Commands, options and exit codes. What a command does is in the module of its name."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .explain import ACCOUNT, explain
from .manifest import Invalid, load

app = typer.Typer(
    help="Looks at build caches and builds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Format(StrEnum):
    """Output formats."""

    TEXT = "text"
    JSON = "json"


@app.callback()
def _root() -> None:
    """One command is still a command: without this, typer would drop its name."""


@app.command(name="explain")
def explain_command(
    files: Annotated[
        list[Path],
        typer.Option("--filename", "-f", help="Manifests: one BuildCache and its Builds. - is standard input."),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further manifests.")] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="text is for people.")] = Format.TEXT,
    account: Annotated[
        str, typer.Option(help="AWS account to show where the BuildCache's status does not name one.")
    ] = ACCOUNT,
) -> None:
    """Print what each Build would run, without cluster or AWS."""
    try:
        explained = explain(load([*files, *(more or [])]), account)
    except Invalid as invalid:
        for line in invalid.lines:
            typer.echo(line, err=True)
        raise typer.Exit(1) from None
    if output is Format.JSON:
        typer.echo(json.dumps([each.to_json() for each in explained], indent=2, ensure_ascii=False))
        return
    from .text import show  # rich is slow to import, and only people need it

    show(explained)
