"""Programs the lab runs to their end, with progress while they take long and their output when they fail."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

Progress = Callable[[str], None]
"""Takes a line for the person who waits."""

PROGRESS_EVERY = 10.0
"""Seconds between two lines on the same step."""


def run(
    what: str,
    command: Sequence[str | os.PathLike[str]],
    progress: Progress,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> None:
    """Run `command`, with a line every ten seconds; LabError with the end of its output when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as child:
            try:
                while True:
                    try:
                        code = child.wait(timeout=PROGRESS_EVERY)
                        break
                    except subprocess.TimeoutExpired:
                        progress(f"{what}: {time.monotonic() - began:.0f} s")
            except BaseException:
                child.kill()
                raise
        if code:
            output.seek(0)
            end = output.read()[-2000:].decode(errors="replace").strip()
            text = " ".join(os.fspath(part) for part in command)
            raise LabError(f"{what} failed: exit code {code} of `{text}`{f' in {cwd}' if cwd else ''}\n{end}")
