"""One lab for all tests that need one: started at the first of them, gone after the last."""

import uuid
from collections.abc import Callable, Iterator

import pytest

from lab.lab import Lab
from tests.lab.world import World


def _progress(capture: pytest.FixtureRequest) -> Callable[[str], None]:
    manager = capture.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with manager.global_and_fixture_disabled():
            print(f"\nlab: {line}", end="", flush=True)

    return say


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The lab with containers where an engine can run, else with simulated tasks only."""
    lab = Lab(tmp_path_factory.mktemp("lab"), runtime="docker", progress=_progress(request))
    try:
        yield World(lab.start())
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
def namespace(world: World) -> Iterator[str]:
    """A namespace of the test's own; afterwards its objects are gone, and with them their AWS parts."""
    with world.namespace(f"test-{uuid.uuid4().hex[:8]}") as name:
        yield name
