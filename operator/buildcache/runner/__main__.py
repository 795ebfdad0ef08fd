"""`python -m buildcache.runner fetch|report`: picks the step; the only place that reads the environment and the clock."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from . import fetch, report
from .workspace import Workspace


def main(arguments: Sequence[str]) -> int:
    """Runs one step and returns its exit code."""
    if list(arguments) == ["fetch"]:
        return fetch.main(os.environ, Workspace(), clock=time.time)
    if list(arguments) == ["report"]:
        return report.main(os.environ, Workspace(), write=_print)
    print("usage: python -m buildcache.runner fetch|report", file=sys.stderr)
    return 64


def _print(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
