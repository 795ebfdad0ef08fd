"""What Kaniko's log tells of a build: it leaves no file but the digest. Pure; asked by the executor for a Build's report.

`INFO[0003] RUN make` is a command that runs or is taken from the cache; before it, its stage said `Using caching version of cmd: RUN make`,
or `No cached layer found for cmd RUN make` for the first miss, after which Kaniko looks up nothing more; and after it `Found cached
layer, extracting to filesystem`. The number is seconds since the start. Programs that the build runs write into the same log, so a
build can only lie about itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from buildcache.api.executor import SAFE_COPY_KEYS

from .log_text import clean, one_line
from .report import Report

MAX_CHARACTERS = 4 * 1024 * 1024
"""How much of a log is read, from its end: Kaniko's own lines are few, what a build's programs print is without end."""

_LINE = re.compile(r"(?:DEBU|INFO|WARN)\[([0-9]{4,9})\] (.*)", re.DOTALL)
_HIT = "Using caching version of cmd: "
_MISS = "No cached layer found for cmd "
_EXTRACTED = "Found cached layer, extracting to filesystem"
_PUSH = re.compile(r"Pushing layer \S+ to cache now")
_PUSH_FAILED = re.compile(r"error uploading layer to cache: (.*)", re.IGNORECASE)
_READ_FAILED = re.compile(r"failed to retrieve layer: (?!.*(?:_UNKNOWN|404|expired))(.*)", re.IGNORECASE)
"""Kaniko says it where an image of the executor's own has it talk more; a layer that is not there is no failure."""
_ALWAYS = ("RUN", "WORKDIR")
_WITH_COPY_LAYERS = ("COPY", "ADD")
_HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_]")
_UNKEYED_HEREDOC = (
    "this Kaniko takes no notice of a change inside a heredoc, so its old result may be in the image; 1.28.1 does"
)


def kept(lines: Iterable[str]) -> tuple[str, ...]:
    """Kaniko's own lines among those of a log, without colours: all that `completed` needs of it."""
    return tuple(text for text in map(clean, lines) if _LINE.match(text))


def completed(report: Report, lines: Sequence[str], *, whole: bool = True) -> Report:
    """The report with what the build's log adds to it; as it is, when there is no log of Kaniko.

    Without its beginning (`whole` is False) the numbers are of the commands that the rest of it names.
    """
    hits: Counter[str] = Counter()
    extracted: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    looked_up: set[str] = set()
    pushed, push_error, read_error, seconds, current = False, "", "", None, ""
    for raw in lines:
        found = _LINE.match(clean(raw))
        if not found:
            continue
        seconds, text = max(seconds or 0, int(found[1])), found[2].strip()
        for said in (_HIT, _MISS):
            if text.startswith(said):
                command = text.removeprefix(said)
                looked_up.add(_kind(command))
                hits[command] += said is _HIT
        if failed := _PUSH_FAILED.match(text):
            push_error = push_error or one_line(failed[1], 256)
        if failed := _READ_FAILED.match(text):
            read_error = read_error or one_line(failed[1], 256)
        pushed = pushed or _PUSH.match(text) is not None
        if _kind(text) in (*_ALWAYS, *_WITH_COPY_LAYERS):
            commands[text] += 1
            current = text
        elif text == _EXTRACTED and current:
            extracted[current] += 1
            current = ""
    if seconds is None:
        return report
    kinds = {*_ALWAYS, *(_WITH_COPY_LAYERS if report.copy_layers else looked_up.intersection(_WITH_COPY_LAYERS))}
    counted = {command: count for command, count in commands.items() if _kind(command) in kinds}
    cached = {command: min(count, max(hits[command], extracted[command])) for command, count in counted.items()}
    stale = report.kaniko_version is not None and report.kaniko_version < SAFE_COPY_KEYS
    return replace(
        report,
        steps=(sum(counted.values()), sum(cached.values())),
        steps_of_the_end=not whole,
        imported=False if read_error else any(cached.values()) if looked_up or any(cached.values()) else None,
        exported=not push_error if pushed or push_error else None,
        import_error=read_error,
        export_error=push_error,
        build_seconds=seconds,
        doubt=_UNKEYED_HEREDOC
        if stale and any(count and _HEREDOC.search(command) for command, count in cached.items())
        else "",
    )


def _kind(command: str) -> str:
    """The instruction, which a Dockerfile may write in any case."""
    return command.partition(" ")[0].upper()
