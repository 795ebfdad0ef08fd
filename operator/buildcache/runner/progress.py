"""What an engine leaves about a build: buildctl's metadata, cache metrics and trace of all steps. All of it is data from outside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

MAX_FILE = 256 * 1024 * 1024
MAX_LINE = 4 * 1024 * 1024
_IMPORTING = "importing cache manifest from "
_EXPORTING = "exporting cache to "
_ABSENT = ": not found"


@dataclass(frozen=True, slots=True)
class Transfer:
    """Import or export of the cache: did any of it work, and if none did, the first error. None: it was not tried."""

    worked: bool | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The parts of a trace that the report needs."""

    imports: Transfer = Transfer()
    exports: Transfer = Transfer()
    seconds: float | None = None


def read_object(path: Path) -> Mapping[str, Any]:
    """A file that holds one JSON object; an empty one when it is missing, broken or something else."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(MAX_LINE))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a file with one for each line; other lines are passed over, a cut one too."""
    for line in _lines(path):
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            yield data


def read_text(path: Path) -> Iterator[str]:
    """The lines of a file; nothing when it is missing."""
    for line in _lines(path):
        yield line.decode(errors="replace").rstrip("\r\n")


def first_line(path: Path) -> str | None:
    """The first line of a file; None when it is missing or empty."""
    return next(read_text(path), None)


def written_at(path: Path) -> float | None:
    """When a file was last written; None when it is missing."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _lines(path: Path) -> Iterator[bytes]:
    read = 0
    try:
        with path.open("rb") as file:
            while (line := file.readline(MAX_LINE)) and read < MAX_FILE:
                read += len(line)
                yield line
    except OSError:
        return


def steps(lines: Iterable[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Steps of the Dockerfile that a cache can hold, and how many of them came from it: buildctl's last line of metrics.

    Base images (FROM) are no steps: buildctl counts them in user_total, and in user_cached only when their content was there
    before, so that a wholly cached build would look like less. What it calls cacheable and miss leaves them out of both.
    """
    last: Mapping[str, Any] = {}
    for line in lines:
        last = line
    total, missed = _count(last.get("user_cacheable")), _count(last.get("miss"))
    if total is None or missed is None:
        total, cached = _count(last.get("user_total")), _count(last.get("user_cached"))
        return (total, cached) if total is not None and cached is not None and cached <= total else None
    return (total, total - missed) if missed <= total else None


def trace(lines: Iterable[Mapping[str, Any]]) -> Trace:
    """Follows the vertices by their digest: a vertex is told many times, the last word about it counts."""
    names: dict[str, str] = {}
    errors: dict[str, str] = {}
    done: set[str] = set()
    first, last = None, None
    for vertex in _vertices(lines):
        digest, name = vertex.get("digest"), vertex.get("name")
        if not isinstance(digest, str) or not isinstance(name, str):
            continue
        names[digest] = name
        if isinstance(error := vertex.get("error"), str) and error:
            errors[digest] = error
        started, completed = _time(vertex.get("started")), _time(vertex.get("completed"))
        if completed:
            done.add(digest)
        for moment in (started, completed):
            if moment:
                first = min(first or moment, moment)
                last = max(last or moment, moment)
    return transfers(names, errors, done, (last - first).total_seconds() if first and last else None)


def transfers(names: Mapping[str, str], errors: Mapping[str, str], done: Set[str], seconds: float | None) -> Trace:
    """What vertices are transfers of the cache, and how those ended."""
    return Trace(
        imports=_transfer(_IMPORTING, names, errors, done),
        exports=_transfer(_EXPORTING, names, errors, done),
        seconds=seconds,
    )


def _vertices(lines: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        found = line.get("vertexes")
        if isinstance(found, list):
            yield from (vertex for vertex in found if isinstance(vertex, dict))


def _transfer(prefix: str, names: Mapping[str, str], errors: Mapping[str, str], done: Set[str]) -> Transfer:
    tried = [digest for digest, name in names.items() if name.startswith(prefix)]
    if not tried:
        return Transfer()
    failed = [errors[digest] for digest in tried if digest in errors]
    worked = any(digest in done and digest not in errors for digest in tried)
    if worked:
        return Transfer(True)
    # Neither done nor failed: the build ended while it was under way. A cache that does not exist yet is cold, not broken.
    return Transfer(False if failed else None, next((error for error in failed if not error.endswith(_ABSENT)), None))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _time(value: Any) -> datetime | None:
    """RFC 3339 with up to nine digits of a second, which datetime reads from Python 3.11 on; only with a zone."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
