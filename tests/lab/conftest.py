"""One lab, or one engine of containers, for all tests that need one: started at the first of them, gone after the last."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator

import pytest

from lab.dockerd import users_docker
from lab.errors import LabError
from lab.lab import Lab
from tests.lab.docker.engine import Engine
from tests.lab.world import World


def _progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    manager = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with manager.global_and_fixture_disabled():
            print(f"\nlab: {line}", end="", flush=True)

    return say


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The lab with containers where an engine can run, else with simulated tasks only."""
    say = _progress(request)
    lab = Lab(tmp_path_factory.mktemp("lab"), runtime="docker", progress=say)
    try:
        try:
            world = World(lab.start(), containers=True, registry_down=lab.registry_down)
        except LabError as error:
            say(f"without containers: {error}")
            lab = Lab(tmp_path_factory.mktemp("lab"), runtime="simulated", progress=say)
            world = World(lab.start(), containers=False)
        yield world
    finally:
        lab.stop()


@pytest.fixture
def world(running_lab: World) -> Iterator[World]:
    """The lab without faults and with tasks that succeed at once."""
    running_lab.control("DELETE", "/faults")
    running_lab.simulate()
    yield running_lab
    running_lab.control("DELETE", "/faults")


@pytest.fixture
def docker(world: World) -> World:
    """Tasks from now on are containers."""
    if not world.containers:
        pytest.skip("no Docker engine can run here")
    world.control("POST", "/ecs/runtime", {"runtime": "docker"})
    return world


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    """A namespace of the test's own; afterwards its objects are gone, and with them their AWS parts."""
    with world.namespace(f"test-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture(scope="session")
def shared_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One engine for all; where none can run, its tests are skipped and the reason says what to do."""
    has_own = os.geteuid() == 0 and (shutil.which("dockerd") or shutil.which("apt-get"))
    if not has_own and users_docker(lambda _: None) is None:
        pytest.skip("no Docker answers, and only root can start or install one: start Docker or run the tests as root")
    engine = Engine(tmp_path_factory.mktemp("engine"), _progress(request))
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
