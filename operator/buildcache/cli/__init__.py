"""The commands `buildcache` and `kubectl buildcache`. The operator never imports it."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of both commands."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("buildcache"):
            raise
        sys.exit(
            f"buildcache: {error.name} is missing; install the command line with: pip install 'buildcache-operator[cli]'"
        )
    app()
