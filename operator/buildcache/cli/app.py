"""Commands, options and exit codes. What a command does is in the module of its name."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
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


@app.command(name="gc")
def gc_command(
    cluster_id: Annotated[
        str,
        typer.Option(envvar="BUILDCACHE_CLUSTER_ID", help="The operator's cluster id: only its parts are looked at."),
    ],
    region: Annotated[
        list[str],
        typer.Option(envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="AWS region; may be given several times."),
    ],
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Remove what was found; by default it is only listed.")
    ] = False,
    retained: Annotated[
        bool, typer.Option("--retained", help="Also remove what deletionPolicy Retain has left on purpose.")
    ] = False,
) -> None:
    """Find AWS parts whose BuildCache is gone, and remove them."""
    from buildcache.aws.clients import Session
    from buildcache.core.errors import Trouble

    from . import gc

    session = Session(pool=1)
    try:
        found = gc.find(session, cluster_id, region, gc.list_caches)
    except (gc.Refused, Trouble) as error:
        typer.echo(f"gc: {error}", err=True)
        raise typer.Exit(1) from None
    for line in gc.lines(found.orphans):
        typer.echo(line)
    doomed = [orphan for orphan in found.orphans if retained or not orphan.retained]
    kept = len(found.orphans) - len(doomed)
    typer.echo(
        f"gc: {found.living} BuildCaches live; {len(doomed)} gone ones have left parts"
        + (f", {kept} more have left them on purpose (--retained)" if kept else "")
    )
    if not apply:
        if doomed:
            typer.echo("gc: nothing was touched; --apply removes them, with all that they hold")
        return
    stuck = [orphan for orphan in doomed if not gc.remove(session, orphan, lambda text: typer.echo(f"  {text}"))]
    typer.echo(f"gc: removed {len(doomed) - len(stuck)} of {len(doomed)}")
    if stuck:
        raise typer.Exit(1)


Name = Annotated[str, typer.Argument(metavar="BUILD", help="Name of the Build.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; without it, that of the kubeconfig's context.")
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]


@app.command(name="logs")
def logs_command(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the Build has ended.")] = False,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Print what a Build writes. Needs logs:GetLogEvents; with -f, the exit code is 1 when the Build failed."""

    def run() -> int:
        from . import follow as commands
        from .cluster import CloudWatch, KubernetesCluster

        cluster = KubernetesCluster(context, namespace)
        return commands.logs(
            cluster,
            CloudWatch(),
            name,
            follow=follow,
            out=typer.echo,
            note=_note,
            sleep=time.sleep,  # noqa: TID251
        )

    _exit(run)


@app.command(name="wait")
def wait_command(
    name: Name,
    timeout: Annotated[str | None, typer.Option(help="Give up after so long, as 90s, 10m or 2h.")] = None,
    namespace: Namespace = None,
    context: Context = None,
) -> None:
    """Show a Build's progress until its end. Exit code: 0 it succeeded, 1 it failed or was cancelled, 3 the time is over."""
    if timeout is not None and not re.fullmatch(r"([0-9]{1,9}[smh])+", timeout):
        raise typer.BadParameter("must be a duration such as 90s, 10m or 1h30m", param_hint="--timeout")

    def run() -> int:
        from buildcache.api.meta import seconds

        from . import follow as commands
        from .cluster import CloudWatch, KubernetesCluster
        from .progress import summary
        from .text import Progress

        cluster = KubernetesCluster(context, namespace)
        with Progress(name) as progress:
            code, body = commands.wait(
                cluster,
                CloudWatch(),
                name,
                timeout=None if timeout is None else seconds(timeout),
                show=progress.show,
                clock=time.monotonic,
                sleep=time.sleep,  # noqa: TID251
            )
        if code == commands.TIMED_OUT:
            _note(f"Build {name} has not ended within {timeout}")
        for line in summary(body):
            typer.echo(line)
        return code

    _exit(run)


@app.command(name="cancel")
def cancel_command(name: Name, namespace: Namespace = None, context: Context = None) -> None:
    """Stop a Build: one that waits ends at once, a running task is stopped."""

    def run() -> int:
        from . import follow as commands
        from .cluster import KubernetesCluster

        return commands.cancel(KubernetesCluster(context, namespace), name, note=typer.echo)

    _exit(run)


def _note(line: str) -> None:
    """Tell people, beside the output."""
    typer.echo(f"buildcache: {line}", err=True)


def _exit(run: Callable[[], int]) -> None:
    from .cluster import Trouble

    try:
        code = run()
    except Trouble as trouble:
        _note(str(trouble))
        code = 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    raise typer.Exit(code)
