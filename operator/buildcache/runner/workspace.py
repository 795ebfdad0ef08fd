"""The task's shared volume: where `fetch`, the engine and `report` find each other's files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .failure import NO_DOCKERFILE, UNSAFE, FetchError


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below one root. In a task the root is always /workspace; tests bring their own."""

    root: Path = Path("/workspace")

    @property
    def source(self) -> Path:
        """The tree that is built."""
        return self.root / "src"

    @property
    def out(self) -> Path:
        """What engine and fetch leave for the report."""
        return self.root / "out"

    @property
    def scratch(self) -> Path:
        """Downloads and git's own files: never part of a build context."""
        return self.root / ".fetch"

    @property
    def docker_config(self) -> Path:
        """Registry logins, as engines read them through DOCKER_CONFIG."""
        return self.root / ".docker" / "config.json"

    def prepare(self) -> None:
        """Makes the folders, and the files that an engine under another user writes and the report must read.

        buildctl creates its metrics and trace with mode 0600 as the engine's user, but keeps the mode of files that are there.
        """
        self.source.mkdir(parents=True, exist_ok=True)
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self.out.chmod(0o777)
        for name in ("metrics.json", "trace.json"):
            path = self.out / name
            path.touch()
            path.chmod(0o666)

    def write_source(self, facts: Mapping[str, Any]) -> None:
        """Leaves what fetch knows for the report."""
        (self.out / "source.json").write_text(json.dumps(facts), encoding="utf-8")

    def write_logins(self, logins: Mapping[str, str]) -> None:
        """Writes the registry logins (host → base64 of user:password) for nobody but us and root."""
        self.docker_config.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.docker_config.parent.chmod(0o700)
        self.docker_config.unlink(missing_ok=True)
        content = json.dumps({"auths": {host: {"auth": login} for host, login in sorted(logins.items())}})
        descriptor = os.open(self.docker_config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)


def relative_path(value: str, field: str) -> PurePosixPath:
    """A path of the Build's spec, checked again here: relative, without '..'."""
    path = PurePosixPath(value or ".")
    if "\0" in value or "\\" in value or path.is_absolute() or ".." in path.parts:
        raise FetchError(UNSAFE, f"{field} must be a relative path without '..'; it is {value!r}")
    return path


def check_tree(source: Path, context_dir: str, dockerfile: str) -> None:
    """The build context and its Dockerfile are there, and inside the source also where symbolic links lead."""
    root = source.resolve()
    context = _inside(root, root / relative_path(context_dir, "contextDir"), f"contextDir {context_dir!r}")
    if not context.is_dir():
        raise FetchError(NO_DOCKERFILE, f"contextDir {context_dir!r} is no directory of the source")
    file = _inside(root, context / relative_path(dockerfile, "dockerfile"), f"dockerfile {dockerfile!r}")
    if not file.is_file():
        raise FetchError(NO_DOCKERFILE, f"there is no file {dockerfile!r} in contextDir {context_dir!r} of the source")


def _inside(root: Path, path: Path, what: str) -> Path:
    try:
        resolved = path.resolve()
        inside = resolved.is_relative_to(root)
        resolved.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long
        raise FetchError(UNSAFE, f"{what} cannot be followed: {type(error).__name__}") from error
    if not inside:
        raise FetchError(UNSAFE, f"{what} leads out of the source by a symbolic link")
    return resolved
