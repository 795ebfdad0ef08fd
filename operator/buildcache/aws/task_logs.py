"""The log of one container of a task, from its CloudWatch stream.

Asked by `reconcile/executor.py` when a task has stopped, and by the command line for people who watch a build.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .errors import Absent, translated

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient

LINE_LIMIT = 16384
"""Characters kept of one line: a report is shorter, and of a longer line nobody reads the rest in a status."""

TAIL_LIMIT = 1024 * 1024
"""Characters that are read of a stream's end at most."""

KEPT = 10_000
"""Lines after which no more are kept."""

_PAGE = 10_000
"""Events that one page may have; it has at most a megabyte of them."""

_EMPTY_PAGES = 5
"""Empty pages in a row before the search ends: the service may give some before the end of the data."""


_SEARCHED_PAGES = 10
"""Pages of a search; each has up to 10,000 lines, or none and a token."""


def _never(_: Sequence[str]) -> bool:
    return False


def last_lines(
    logs: CloudWatchLogsClient,
    group: str,
    stream: str,
    count: int,
    enough: Callable[[Sequence[str]], bool] = _never,
) -> tuple[str, ...] | None:
    """The last lines of a stream in their order, at most `count`; None when group or stream are not there (yet).

    Reads until `enough` holds for a page: these calls are few a second in AWS.
    """
    newest_first: list[str] = []
    size = 0
    try:
        for page in _pages(logs, group, stream, count):
            lines = [line[:LINE_LIMIT] for line in page]
            newest_first.extend(reversed(lines))
            size += sum(map(len, page))
            if len(newest_first) >= count or size >= TAIL_LIMIT or enough(lines):
                break
    except Absent:
        return None
    return tuple(reversed(newest_first[:count]))


@dataclass(frozen=True, slots=True)
class Log:
    """What was kept of a stream's lines."""

    lines: tuple[str, ...] = ()
    whole: bool = True
    """The beginning was reached."""


def log(
    logs: CloudWatchLogsClient, group: str, stream: str, keep: Callable[[Sequence[str]], Sequence[str]], limit: int
) -> Log:
    """What `keep` takes of about the last `limit` characters of a stream, in order; nothing when it is not there (yet).

    Never more than a page is held beside that: a build's programs may print hundreds of megabytes.
    """
    kept: list[Sequence[str]] = []
    size = 0
    try:
        for page in _pages(logs, group, stream, _PAGE):
            if size >= limit or sum(map(len, kept)) >= KEPT:
                return Log(_joined(kept), whole=False)
            size += sum(map(len, page))
            kept.append(keep([line[:LINE_LIMIT] for line in page]))
    except Absent:
        return Log()
    return Log(_joined(kept))


def _joined(newest_first: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(line for page in reversed(newest_first) for line in page)


def _pages(logs: CloudWatchLogsClient, group: str, stream: str, limit: int) -> Iterator[Sequence[str]]:
    """A stream's pages from its end backwards, each in order. Raises Absent.

    The data ends with a page that gives back the token that asked for it; an empty page is not the end.
    """
    token: str | None = None
    empty = 0
    while empty < _EMPTY_PAGES:
        with translated("logs:GetLogEvents", group):
            if token is None:
                page = logs.get_log_events(logGroupName=group, logStreamName=stream, limit=limit, startFromHead=False)
            else:
                page = logs.get_log_events(
                    logGroupName=group, logStreamName=stream, limit=limit, startFromHead=False, nextToken=token
                )
        lines = [event.get("message", "") for event in page["events"]]
        if lines:
            yield lines
        if page["nextBackwardToken"] == token:
            return
        empty = 0 if lines else empty + 1
        token = page["nextBackwardToken"]


def next_lines(
    logs: CloudWatchLogsClient, group: str, stream: str, token: str | None
) -> tuple[tuple[str, ...], str | None]:
    """The lines of a stream after a token, the first page without one, and the token for the next call.

    The same token again means that there is nothing more yet. A stream that is not there (yet) has no lines and no token.
    """
    try:
        with translated("logs:GetLogEvents", group):
            if token is None:
                page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
            else:
                page = logs.get_log_events(
                    logGroupName=group, logStreamName=stream, startFromHead=True, nextToken=token
                )
    except Absent:
        return (), None
    return tuple(event.get("message", "")[:LINE_LIMIT] for event in page["events"]), page["nextForwardToken"]


def search(
    logs: CloudWatchLogsClient, group: str, streams: Sequence[str], since: datetime
) -> Mapping[str, Sequence[str]]:
    """The lines of several streams of a group since a moment; empty when one of them is not there (yet)."""
    found: dict[str, list[str]] = {}
    token = ""
    for _ in range(_SEARCHED_PAGES):
        more: Any = {"nextToken": token} if token else {}
        try:
            with translated("logs:FilterLogEvents", group):
                page = logs.filter_log_events(
                    logGroupName=group,
                    logStreamNames=list(streams),
                    startTime=int(since.timestamp() * 1000),
                    **more,
                )
        except Absent:
            return {}
        for event in page["events"]:
            found.setdefault(event.get("logStreamName", ""), []).append(event.get("message", "")[:LINE_LIMIT])
        token = page.get("nextToken", "")
        if not token:
            break
    return found
