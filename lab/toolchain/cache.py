"""Where the lab keeps what outlives it, and who may write there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.command import Progress


def cache_folder() -> Path:
    """What outlives a lab: binaries, images, layers. One for each user."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "buildcache-lab"


@contextmanager
def locked(path: Path, what: str, progress: Progress) -> Iterator[None]:
    """One builder at a time, over all labs of this user; the kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{what}: being made already, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
