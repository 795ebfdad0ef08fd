"""Failures of `fetch` as exit codes, which are a contract with the operator, and texts that are safe to print."""

from __future__ import annotations

import re

NOT_FOUND = 2
NOT_ALLOWED = 3
NO_DOCKERFILE = 4
UNSAFE = 5
OTHER = 1

MAX_TEXT = 500
_LOGIN_IN_URL = re.compile(r"(?<=://)[^/\s@]*@")


class FetchError(Exception):
    """The source cannot be used. `code` is the exit code, the text is one line for the user."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(one_line(message))
        self.code = code


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """Text for a log: in one line, control characters escaped, logins in URLs taken out, cut in the middle.

    Every program between here and a person's terminal may act on control characters, and git repeats what a server says.
    """
    joined = " ".join(_LOGIN_IN_URL.sub("", text[: limit * 20]).split())
    printable = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in joined)
    if len(printable) <= limit:
        return printable
    # Programs put the cause at the end and the subject at the beginning.
    return f"{printable[: limit // 2 - 2]} … {printable[-(limit // 2 - 2) :]}"[:limit]
