"""One lab with kind for all its scenarios; the last line of the run counts them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from lab.kind.lab import KindLab
from tests.kind.cluster import KindWorld

ready_in = pytest.StashKey[float]()


def _progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    manager = request.config.pluginmanager.getplugin("capturemanager")

    def say(line: str) -> None:
        with manager.global_and_fixture_disabled():
            print(f"\nlab: {line}", end="", flush=True)

    return say


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KindWorld]:
    lab = KindLab(tmp_path_factory.mktemp("kind"), runtime="simulated", progress=_progress(request))
    try:
        info = lab.start()
        request.config.stash[ready_in] = lab.ready_after
        yield KindWorld(info, lab.cluster, lab.deployment, lab.ready_after)
    finally:
        lab.stop()


@pytest.fixture
def world(running_lab: KindWorld) -> KindWorld:
    """The cluster, with tasks that succeed at once."""
    running_lab.simulate()
    return running_lab


@pytest.fixture
def namespace(world: KindWorld) -> Iterator[str]:
    """A namespace of the scenario's own; afterwards its objects are gone, and with them their AWS parts."""
    with world.namespace(f"test-{uuid.uuid4().hex[:8]}") as name:
        yield name


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line, below pytest's own."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if ready_in in config.stash and reporter is not None:
        count = {kind: len(reporter.stats.get(kind, ())) for kind in ("passed", "failed", "error")}
        seconds = config.stash[ready_in]
        print(f"kind: {count['passed']}/{sum(count.values())} scenarios, ready in {seconds:.1f}s", flush=True)
