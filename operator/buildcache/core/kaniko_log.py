"""What Kaniko's log tells of a build: it leaves no file but the digest. Pure; asked by the executor for a Build's report.

`INFO[0003] RUN make` is a command that runs or is taken from the cache; before it, its stage said `Using caching version of cmd: RUN make`,
or `No cached layer found for cmd RUN make` for the first miss, after which Kaniko looks up nothing more. The number is seconds since
the start. Programs that the build runs write into the same log, so a build can only lie about itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .log_text import clean, one_line
from .report import Report

MAX_LINES = 10_000
"""A log with as many has lost its beginning, so it tells nothing. What one call of CloudWatch gives at most."""

_LINE = re.compile(r"(?:INFO|WARN)\[([0-9]{4,9})\] (.*)", re.DOTALL)
_HIT = "Using caching version of cmd: "
_MISS = "No cached layer found for cmd "
_PUSH = re.compile(r"Pushing layer \S+ to cache now")
_PUSH_FAILED = re.compile(r"error uploading layer to cache: (.*)", re.IGNORECASE)
_ALWAYS = ("RUN", "WORKDIR")
_WHEN_ASKED = ("COPY", "ADD")
"""Kinds of commands that are cached only with copyLayers: they count when any of them was looked up."""


def completed(report: Report, lines: Sequence[str]) -> Report:
    """The report with what the build's log adds to it; as it is, when there is no whole log of Kaniko."""
    if len(lines) >= MAX_LINES:
        return report
    hits: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    looked_up: set[str] = set()
    pushed, push_error, seconds = False, "", None
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
        pushed = pushed or _PUSH.match(text) is not None
        if _kind(text) in (*_ALWAYS, *_WHEN_ASKED):
            commands[text] += 1
    if seconds is None:
        return report
    kinds = {*_ALWAYS, *(looked_up & {*_WHEN_ASKED})}
    total = sum(count for command, count in commands.items() if _kind(command) in kinds)
    cached = sum(min(count, hits[command]) for command, count in commands.items())
    return replace(
        report,
        steps=(total, min(cached, total)),
        imported=bool(hits.total()) if looked_up else None,
        exported=not push_error if pushed or push_error else None,
        export_error=push_error,
        build_seconds=seconds,
    )


def _kind(command: str) -> str:
    return command.partition(" ")[0]
