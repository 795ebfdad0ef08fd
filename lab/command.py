"""Programs the lab runs to their end, with progress while they take long and their output when they fail."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

from lab.errors import LabError
from lab.toolchain import PROGRESS_EVERY, Progress


def run(what: str, command: Sequence[str | os.PathLike[str]], progress: Progress, env: Mapping[str, str]) -> None:
    """Run `command`, with a line every ten seconds; LabError with the end of its output when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as child:
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
            raise LabError(f"{what} failed: exit code {code} of `{text}`\n{end}")
