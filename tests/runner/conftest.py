from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from buildcache.runner import fetch
from buildcache.runner.fetch import Limits
from buildcache.runner.workspace import Workspace

from .git_server import GitServer


@dataclass
class Ran:
    """One run of fetch: its exit code and what it printed."""

    code: int
    out: str
    error: str


Run = Callable[..., Ran]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def run(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> Run:
    def no_client(*arguments: object) -> Any:
        raise AssertionError("no AWS call was expected")

    def no_registry(*arguments: object) -> Any:
        raise NoCredentialsError

    def run_fetch(
        source: object, *, limits: Limits | None = None, s3: Any = no_client, ecr: Any = no_registry, **settings: str
    ) -> Ran:
        text = source if isinstance(source, str) else json.dumps(source)
        ticks = itertools.count(1_800_000_000)
        capfd.readouterr()
        code = fetch.main(
            {"SOURCE": text, **settings}, workspace, clock=lambda: float(next(ticks)), limits=limits, s3=s3, ecr=ecr
        )
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err
        assert printed.err.count("\n") == (1 if code else 0), "one line of error, and only with an exit code"
        assert not workspace.scratch.exists()
        return Ran(code, printed.out, printed.err)

    return run_fetch


@dataclass
class Repository:
    """A small history: v1 (tag, annotated) → second → main; a branch `side` from v1; a branch and a tag both named `both`."""

    url: str
    path: Path
    commits: dict[str, str]


def _git(folder: Path, *arguments: str) -> str:
    identity = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@example.com",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "protocol.file.allow=always",
    ]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def _commit(folder: Path, text: str) -> str:
    (folder / "version.txt").write_text(text)
    _git(folder, "add", "-A")
    _git(folder, "commit", "-q", "-m", text)
    return _git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    root, folder = tmp_path_factory.mktemp("repositories"), tmp_path_factory.mktemp("tls")
    server = GitServer(root, folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def repository(git_server: GitServer, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    work = tmp_path_factory.mktemp("work") / "shop"
    work.mkdir()
    _git(work, "init", "-q")
    (work / "app").mkdir()
    (work / "Dockerfile").write_text("FROM scratch\n")
    (work / "app" / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (work / "escape").symlink_to("/etc")
    (work / "Dockerfile.escape").symlink_to("../../../../etc/passwd")
    (work / "Dockerfile.linked").symlink_to("app/Dockerfile")
    (work / "loop").symlink_to("loop")
    commits = {"v1": _commit(work, "one")}
    _git(work, "tag", "-a", "v1", "-m", "first")
    _git(work, "checkout", "-q", "-b", "side")
    commits["side"] = _commit(work, "side")
    _git(work, "branch", "both")
    _git(work, "checkout", "-q", "main")
    commits["second"] = _commit(work, "two")
    _git(work, "tag", "both")
    _git(work, "submodule", "add", "-q", str(work), "sub")
    commits["main"] = _commit(work, "three")
    bare = git_server.root / "shop.git"
    _git(work, "clone", "-q", "--bare", str(work), str(bare))
    return Repository(f"{git_server.url}/shop.git", bare, commits)


@pytest.fixture
def trusted(git_server: GitServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git trusts the test server's certificate."""
    monkeypatch.setenv("GIT_SSL_CAINFO", str(git_server.certificate))
