"""Text from a build's log on its way into status and messages: untrusted.

Control characters go, what looks like a credential is replaced, and the length is bounded.
"""

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
    """Clean text without secrets as one line of at most `limit` characters."""
    line = redact(" ".join(clean(text).split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def tail(lines: Sequence[str], limit: int = TAIL_BYTES) -> str:
    """The last lines that fit `limit` bytes, clean and without secrets; of a line that is too long alone, its end.

    Looks at no more lines than that, and some before them: the beginning of what is secret may stand there.
    """
    seen: list[str] = []
    size = 0
    for raw in reversed(lines):
        seen.append(clean(raw[-4 * limit :]))
        size += len(seen[-1]) + 1
        if size > 4 * limit:
            break
    kept: list[str] = []
    room = limit
    for line in reversed(redact("\n".join(reversed(seen))).split("\n")):
        length = len(line.encode())
        if length > room:
            if not kept:
                kept.append(line.encode()[-room:].decode(errors="ignore"))
            break
        kept.append(line)
        room -= length + 1
        if room <= 0:
            break
    return "\n".join(reversed(kept)).strip("\n")


_NAMES = r"[\w.-]{0,64}(?:token|password|passwd|secret|api[_-]?key|access[_-]?key|private[_-]?key|signature|credential|_auth)"

_SECRETS = re.compile(
    # what is known by its form
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|dckr_pat_|npm_|pypi-|hf_|sk-|xox[abeprs]-)[A-Za-z0-9_-]{16,}"
    r"|\bAIza[A-Za-z0-9_-]{35}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"  # JSON web token
    r"|\beyJ[A-Za-z0-9+/=_-]{100,}"  # password of ECR
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    # what is known by its place
    r"|(?<=://)[^/\s@:]*:[^/\s@]*(?=@)"
    r"|(?i:\bauthorization\b[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token|digest)\s+)?)(?P<header>[^\s\"',;]+)"
    r"|(?i:\b(?:bearer|basic)\s+)(?P<scheme>[A-Za-z0-9._~+/=-]{8,})"
    rf"|(?i:{_NAMES}=[\"']?)(?P<assigned>[^&\s\"',;]+)"
    rf"|(?i:[\"'](?:{_NAMES}|auth)[\"']\s*:\s*[\"'])(?P<quoted>[^\"'\n]+)"
)


def redact(text: str) -> str:
    """Replace what looks like a credential. An image's digest and a plain mention of a word stay."""
    return _SECRETS.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    found = match[match.lastgroup] if match.lastgroup else match[0]
    return match[0][: len(match[0]) - len(found)] + "[redacted]"
