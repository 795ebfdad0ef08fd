"""The operator's log: one JSON object for each line, or text on a terminal. No control character reaches the output.

Text that users or AWS wrote is only ever a field's value, escaped and cut (H17, F62); what looks like a
credential is replaced (H10).
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from buildcache.core.log_text import redact

LONGEST_VALUE = 4096
LONGEST_TRACEBACK = 16384

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# kopf hangs its own things on records; of these only the object's name is of use.
_HIDDEN = frozenset({"settings", "k8s_skip", "k8s_ref", "object"})

IDENTITY = ("kind", "namespace", "name", "uid")
"""The fields of every line about an object; one of them is what to search for."""

_about: ContextVar[Mapping[str, str] | None] = ContextVar("about", default=None)


@contextmanager
def about(identity: Mapping[str, str]) -> Iterator[None]:
    """Put an object's identity on all lines that are logged meanwhile in this thread or task."""
    token = _about.set(identity)
    try:
        yield
    finally:
        _about.reset(token)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    text = redact(str(value))
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _plain(record.getMessage()),
    }
    # Its own first, then what the thread is busy with, then what kopf hangs on.
    named = getattr(record, "object", None) or _about.get() or getattr(record, "k8s_ref", None)
    if isinstance(named, Mapping):
        fields |= {name: _plain(named[name]) for name in IDENTITY if named.get(name)}
    for name, value in vars(record).items():
        if name not in _STANDARD and name not in _HIDDEN:
            fields[name if name not in fields else f"{name}_"] = _plain(value)
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = redact("".join(traceback.format_exception(*record.exc_info)))[-LONGEST_TRACEBACK:]
    return fields


class JsonFormatter(logging.Formatter):
    """One line of ASCII for each record: JSON escapes every control and non-ASCII character."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(_fields(record), separators=(",", ":"), default=str)


class TextFormatter(logging.Formatter):
    """For people at a terminal: the message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line, and a traceback below it where there is one."""
        fields = _fields(record)
        time, level, _, message = (str(fields.pop(name)) for name in ("time", "level", "logger", "message"))
        trace = fields.pop("traceback", "")
        rest = " ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
        line = _visible(f"{time[11:23]} {level.upper():7} {message}  {rest}".rstrip())
        return line + "".join("\n    " + _visible(each) for each in str(trace).splitlines())


def _visible(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def configure(form: Literal["json", "text"], level: str = "info", stream: TextIO = sys.stderr) -> None:
    """Send all logging of the process to one stream in one form; quiet the libraries that say too much."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.getLevelNamesMapping()[level.upper()])
    # kopf tells of every handler call; the SDKs would tell of headers and bodies, at any level.
    for name in ("kopf.objects", "kopf.activities", "botocore", "boto3", "urllib3", "kubernetes", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # What these say at each try, with tracebacks, `watches` and `health` say once.
    for name in ("kopf._cogs.clients.watching", "botocore.credentials"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
