"""`buildcache logs`, `wait` and `cancel`: look, say what is new, sleep, until the Build has ended. Clock and sleep are arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from buildcache.core.log_text import clean, one_line

from .cluster import Cluster, Logs, Trouble
from .progress import LINE, Streams, stage, streams

SUCCEEDED, FAILED, TIMED_OUT = 0, 1, 3
"""Exit codes; 2 is that of a wrong option."""

LOG_PERIOD, BUILD_PERIOD = 2.0, 1.0
DRAINED = 5
"""Looks without a new line after the end: the last lines arrive some seconds after the task has stopped."""

EMPTY_PAGES = 5
"""Empty pages in a row before the next look: the service may give some before the end of the data (trap T65)."""

Say = Callable[[str], None]


def logs(
    cluster: Cluster, reader: Logs, name: str, *, follow: bool, out: Say, note: Say, sleep: Callable[[float], None]
) -> int:
    """Print what `fetch` and `build` have written; with `follow`, until the Build has ended and no line comes any more."""
    shown = ""
    attempt: Streams | None = None
    tokens: dict[str, str | None] = {}
    quiet = 0
    while True:
        body = _build(cluster, name)
        now, found = stage(body), streams(body)
        if found is not None and attempt is not None and found.number != attempt.number:
            tokens.clear()
            note(f"attempt {found.number}")
        attempt = found
        fresh = False
        if attempt is not None:
            for stream in (attempt.fetch, attempt.build):
                for line in _new_lines(reader, attempt, stream, tokens):
                    fresh = True
                    out(line)
        if not follow:
            if attempt is None:
                note(f"no log yet: {now.reason}, {now.message}")
            return SUCCEEDED
        if now.ended:
            quiet = 0 if fresh else quiet + 1
            if attempt is None or quiet >= DRAINED:
                note(f"{now.reason}: {now.message}" if now.message else now.reason)
                return SUCCEEDED if now.status == "True" else FAILED
        elif (said := f"{now.reason}: {now.message}") != shown and now.reason != "Running":
            shown = said
            note(said)
        sleep(LOG_PERIOD)


def wait(
    cluster: Cluster,
    reader: Logs,
    name: str,
    *,
    timeout: float | None,
    show: Callable[[str, float, str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> tuple[int, Mapping[str, Any]]:
    """Show where the Build stands until it has ended; the exit code and its last body. `show` gets what, seconds, last log line."""
    began, last = clock(), ""
    looked = began - LOG_PERIOD
    while True:
        body = _build(cluster, name)
        now = stage(body)
        if now.ended:
            return (SUCCEEDED if now.status == "True" else FAILED), body
        elapsed = clock() - began
        if timeout is not None and elapsed >= timeout:
            return TIMED_OUT, body
        where = streams(body)
        if now.reason == "Running" and where is not None and clock() - looked >= LOG_PERIOD:
            looked = clock()
            last = one_line(reader.last(where.region, where.group, where.build), LINE) or last
        elif now.reason != "Running":
            last = ""
        show(f"{now.reason}: {now.message}" if now.message else now.reason, elapsed, last)
        sleep(BUILD_PERIOD)


def cancel(cluster: Cluster, name: str, *, note: Say) -> int:
    """Ask for the end of a Build; what has ended stays as it is."""
    now = stage(_build(cluster, name))
    if now.ended:
        note(f"Build {name} has ended already: {now.reason}")
        return SUCCEEDED if now.reason == "Cancelled" else FAILED
    cluster.cancel(name)
    note(f"Build {name} is being cancelled")
    return SUCCEEDED


def _build(cluster: Cluster, name: str) -> Mapping[str, Any]:
    body = cluster.build(name)
    if body is None:
        raise Trouble(f"there is no Build {name}")
    return body


def _new_lines(reader: Logs, attempt: Streams, stream: str, tokens: dict[str, str | None]) -> Iterator[str]:
    empty = 0
    while empty < EMPTY_PAGES:
        before = tokens.get(stream)
        lines, token = reader.page(attempt.region, attempt.group, stream, before)
        tokens[stream] = token
        for line in lines:
            yield clean(line)
        if token == before:
            return
        empty = 0 if lines else empty + 1
