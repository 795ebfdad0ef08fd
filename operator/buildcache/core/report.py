"""The report line: what the container `report` prints last, and all that a build tells the operator. Read from the log, so untrusted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .log_text import one_line

PREFIX = "buildcache-report: "
MAX_LINE = 8192
"""The runner writes at most 4 KiB; a longer line is none of its own."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")
"""RFC 3339, in UTC only."""
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_MAX = 2**53
"""Largest integer that every JSON reader keeps exact."""


@dataclass(frozen=True, slots=True)
class Report:
    """What the build did, as far as its engine tells. None: not known."""

    engine: str = ""
    digest: str | None = None
    size_bytes: int | None = None
    commit: str | None = None
    steps: tuple[int, int] | None = None
    """Total and cached."""
    imported: bool | None = None
    exported: bool | None = None
    import_error: str = ""
    export_error: str = ""
    started_at: datetime | None = None
    """When the first container began."""
    source_seconds: int | None = None
    build_seconds: int | None = None
    kaniko_version: tuple[int, ...] | None = None
    copy_layers: bool = False
    """As the attempt was started: the BuildCache may have changed since."""
    steps_of_the_end: bool = False
    """The steps are those of the end of a log that was too long to read."""
    doubt: str = ""
    """What the engine cannot promise of the layers that it took from the cache."""


def parse(lines: Iterable[str]) -> Report | None:
    """The last readable report among the lines; None when there is none.

    Total: a value of another type or out of bounds counts as not known, a line that is no JSON object is passed over.
    """
    found = None
    for line in lines:
        text = line.strip()
        if text.startswith(PREFIX) and len(text) <= MAX_LINE:
            found = _report(text.removeprefix(PREFIX)) or found
    return found


def _report(text: str) -> Report | None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # Keys are only ever added, so a newer version is read too.
    if not isinstance(data, dict) or (_count(data.get("version")) or 0) < 1:
        return None
    return Report(
        engine=_words(data.get("engine")),
        digest=_match(_DIGEST, data.get("digest")),
        size_bytes=_count(data.get("sizeBytes")),
        commit=_match(_COMMIT, data.get("commit")),
        steps=_steps(data.get("steps")),
        imported=_flag(data.get("imported")),
        exported=_flag(data.get("exported")),
        import_error=_words(data.get("importError")),
        export_error=_words(data.get("exportError")),
        started_at=_moment(data.get("startedAt")),
        source_seconds=_count(data.get("sourceSeconds")),
        build_seconds=_count(data.get("buildSeconds")),
        kaniko_version=_version(data.get("kanikoVersion")),
        copy_layers=data.get("copyLayers") is True,
    )


def _steps(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, Mapping):
        return None
    total, cached = _count(value.get("total")), _count(value.get("cached"))
    return None if total is None or cached is None or cached > total else (total, cached)


def _count(value: Any) -> int | None:
    """A number that is not negative, as a whole one. JSON's NaN and Infinity, which Python reads, are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX:
        return None
    return round(value)


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _match(pattern: re.Pattern[str], value: Any) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _version(value: Any) -> tuple[int, ...] | None:
    text = _match(_VERSION, value)
    return None if text is None else tuple(int(part) for part in text.split("."))


def _moment(value: Any) -> datetime | None:
    text = _match(_MOMENT, value)
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:  # the 30th of February
        return None


def _words(value: Any) -> str:
    return one_line(value, 256) if isinstance(value, str) else ""
