"""One engine for all tests here; where none can run, they are skipped and the reason says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.dockerd import users_docker
from tests.lab.docker.engine import Engine


@pytest.fixture(scope="session")
def shared_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    has_own = os.geteuid() == 0 and (shutil.which("dockerd") or shutil.which("apt-get"))
    if not has_own and users_docker(lambda _: None) is None:
        pytest.skip("no Docker answers, and only root can start or install one: start Docker or run the tests as root")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\nlab: {line}", end="", flush=True)

    engine = Engine(tmp_path_factory.mktemp("engine"), say)
    try:
        engine.start()
        yield engine
    finally:
        engine.stop()


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    """The engine; whatever the test ran, nothing of it is there afterwards."""
    yield shared_engine
    assert shared_engine.nothing_left(), shared_engine.left()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own: what it kills or keeps there spoils nothing of a real lab."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "buildcache-lab"
