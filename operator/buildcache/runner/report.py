"""`report`: the last container of a build task. Turns what fetch and engine left into one line of the task's log.

It never fails: a file that is missing or broken makes values unknown, and the operator knows from the exit codes of the other
containers how the build ended.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from . import plain, progress
from .failure import one_line
from .workspace import Workspace

PREFIX = "buildcache-report: "
MAX_LINE = 4096
_MAX_ERROR = 256
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ENGINE = re.compile(r"BuildKit|Docker|Kaniko")
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
"""As fetch writes it."""


def main(environment: Mapping[str, str], workspace: Workspace, *, write: Callable[[str], None]) -> int:
    """Writes the line; always 0."""
    write(line(workspace, environment))
    return 0


def line(workspace: Workspace, environment: Mapping[str, str]) -> str:
    """The report as one line of at most MAX_LINE characters, all of them ASCII."""
    report = _report(workspace, environment)
    return PREFIX + json.dumps(report, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _report(workspace: Workspace, environment: Mapping[str, str]) -> Mapping[str, Any]:
    metadata = progress.read_object(workspace.out / "metadata.json")
    source = progress.read_object(workspace.out / "source.json")
    metrics = deque(progress.read_lines(workspace.out / "metrics.json"), maxlen=1)
    steps = progress.steps(metrics)
    trace = progress.trace(progress.read_lines(workspace.out / "trace.json"))
    if (ended := progress.written_at(workspace.out / "progress.log")) is not None:  # of Docker
        began = progress.written_at(workspace.out / "started")
        told = plain.read(progress.read_text(workspace.out / "progress.log"), None if began is None else ended - began)
        steps, trace = told.steps, told.trace
    # The key is there exactly when the cache was written; a trace alone could be cut off before the end.
    exported = True if "cache.manifest" in metadata else trace.exports.worked
    return {
        "version": 1,
        # What the log of Kaniko, which leaves no such file, is to be read with.
        "engine": _match(_ENGINE, environment.get("ENGINE")),
        "kanikoVersion": _match(_VERSION, environment.get("KANIKO_VERSION")),
        "copyLayers": {"true": True, "false": False}.get(environment.get("KANIKO_COPY_LAYERS", "")),
        "digest": _match(_DIGEST, metadata.get("containerimage.digest", progress.first_line(workspace.out / "digest"))),
        # BuildKit tells the size of the manifest, not of the image.
        "sizeBytes": None,
        "commit": _match(_COMMIT, source.get("commit")),
        "steps": None if steps is None else {"total": steps[0], "cached": steps[1]},
        "imported": trace.imports.worked,
        "exported": exported,
        "importError": _short(trace.imports.error),
        "exportError": None if exported else _short(trace.exports.error),
        # The task's first container is fetch.
        "startedAt": _match(_MOMENT, source.get("startedAt")),
        "sourceSeconds": _between(source.get("startedAt"), source.get("finishedAt")),
        "buildSeconds": _build_seconds(metrics, trace),
    }


def _build_seconds(metrics: Sequence[Mapping[str, Any]], trace: progress.Trace) -> int | None:
    duration = metrics[0].get("client_duration_ms") if metrics else None
    if isinstance(duration, int) and not isinstance(duration, bool) and 0 <= duration < 2**53:
        return round(duration / 1000)
    return None if trace.seconds is None else max(0, round(trace.seconds))


def _between(start: Any, end: Any) -> int | None:
    try:
        return max(0, round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))
    except (TypeError, ValueError, OverflowError):
        return None


def _match(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _short(text: str | None) -> str | None:
    """An error in few words. ASCII, so that its length in the line is the length it has here."""
    return None if text is None else one_line(text, _MAX_ERROR).encode("ascii", "replace").decode()
