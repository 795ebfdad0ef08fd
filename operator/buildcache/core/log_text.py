"""Text from a build's log on its way into status and messages: untrusted, so control characters go and the length is bounded."""

from __future__ import annotations

import re
from collections.abc import Sequence

TAIL_BYTES = 2048
"""Bound of `status.failure.logTail`, in bytes of UTF-8."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # control sequences: colours, cursor
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands: titles, links
    r"|\x1b[@-Z\\^_]?"  # other escapes
)
# Besides C0 and C1: line and paragraph separators, and marks that turn the direction of text, which can make a line read differently
# from what it says; lone surrogates cannot be encoded.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def clean(text: str) -> str:
    """Text without escapes and control characters; tabs become spaces, line breaks stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).replace("\t", " ")


def one_line(text: str, limit: int) -> str:
    """Clean text as one line of at most `limit` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def tail(lines: Sequence[str], limit: int = TAIL_BYTES) -> str:
    """The last lines that fit `limit` bytes, clean; of a line that is too long alone, its end. Looks at no more lines than that."""
    kept: list[str] = []
    room = limit
    for raw in reversed(lines):
        for line in reversed(clean(raw[-4 * limit :]).split("\n")):
            size = len(line.encode())
            if size > room:
                if not kept:
                    kept.append(line.encode()[-room:].decode(errors="ignore"))
                return _joined(kept)
            kept.append(line)
            room -= size + 1
            if room <= 0:
                return _joined(kept)
    return _joined(kept)


def _joined(reversed_lines: Sequence[str]) -> str:
    return "\n".join(reversed(reversed_lines)).strip("\n")
