"""A dockerd of the lab's own: beside others, and gone without a trace however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import docker_leftovers
from lab.dockerd import LABEL, Dockerd, Engine, clean, connect, record_path, users_docker
from lab.files import Folder
from lab.process import Processes, read_record, start_time
from tests.lab.docker.engine import Engine as SharedEngine

pytestmark = pytest.mark.docker
Start = Callable[[str], Dockerd]


@pytest.fixture
def start(cache: Path, tmp_path: Path) -> Iterator[Start]:
    """Start the dockerd of a lab of this name; all are gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a dockerd")
    started: list[tuple[Folder, Dockerd]] = []

    def start(name: str) -> Dockerd:
        folder = Folder(tmp_path / name)
        processes = Processes(folder.path, folder.processes, folder.logs)
        dockerd = Dockerd(folder, processes, print, find_users=lambda _: None)
        started.append((folder, dockerd))
        dockerd.start()
        return dockerd

    yield start
    for folder, dockerd in started:
        dockerd.stop()
        assert traces(folder, cache) == []


def traces(folder: Folder, cache: Path) -> list[Any]:
    """Processes and mounts of an own dockerd."""
    ours = [
        process
        for process in docker_leftovers.processes()
        if docker_leftovers.mentions(process, folder.path / "docker")
    ]
    return [*ours, *docker_leftovers.mounts_under(folder.path, cache)]


def sleeper(shared_engine: SharedEngine, folder: Folder) -> int:
    """The pid of a container that sleeps in the dockerd of this lab."""
    engine = Engine.read(record_path(folder))
    assert engine is not None
    client = connect(engine.host)
    assert client is not None
    try:
        client.images.load(b"".join(shared_engine.client.images.get("debian:12").save(named="debian:12")))
        container = client.containers.run(
            "debian:12",
            ["sleep", "600"],
            detach=True,
            network_mode="host",
            volumes={"kept": {"bind": "/v"}},
        )
        container.reload()
        return int(container.attrs["State"]["Pid"])
    finally:
        client.close()


def test_two_labs_have_an_engine_each_and_stop_without_a_trace(start: Start, cache: Path, tmp_path: Path) -> None:
    first, second = start("first"), start("second")
    assert first.is_own
    assert second.is_own
    engines = [Engine.read(record_path(Folder(tmp_path / name))) for name in ("first", "second")]
    assert [engine.slot for engine in engines if engine] == [str(cache / "docker" / str(n)) for n in (0, 1)]
    first.stop()
    second.stop()
    for name in ("first", "second"):
        assert traces(Folder(tmp_path / name), cache) == []
        assert sorted(path.name for path in (tmp_path / name / "docker").iterdir()) == []


def test_a_killed_lab_whose_dockerd_lives_is_cleaned_up(
    start: Start, shared_engine: SharedEngine, cache: Path, tmp_path: Path
) -> None:
    dockerd, folder = start("lab"), Folder(tmp_path / "lab")
    pid = sleeper(shared_engine, folder)
    clean(folder, print)
    assert start_time(pid) is None
    assert traces(folder, cache) == []
    dockerd.stop()


def test_a_killed_dockerd_whose_containers_live_is_cleaned_up(
    start: Start, shared_engine: SharedEngine, cache: Path, tmp_path: Path
) -> None:
    dockerd, folder = start("lab"), Folder(tmp_path / "lab")
    pid = sleeper(shared_engine, folder)
    record = read_record(folder.processes / "dockerd.json")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    dockerd._child.wait(10)  # type: ignore[union-attr]  # its parent reaps it, as init would
    assert start_time(pid) is not None, "containers outlive a killed dockerd"
    clean(folder, print)
    assert start_time(pid) is None
    assert traces(folder, cache) == []
    dockerd.stop()

    again = start("lab")
    client = connect(Engine.read(record_path(folder)).host)  # type: ignore[union-attr]
    assert client is not None
    assert client.containers.list(all=True) == []
    client.close()
    again.stop()


def test_in_the_engine_of_the_user_only_what_is_ours_goes(
    start: Start, shared_engine: SharedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("users")
    theirs = sleeper(shared_engine, Folder(tmp_path / "users"))
    engine = Engine.read(record_path(Folder(tmp_path / "users")))
    assert engine is not None
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    folder = Folder(tmp_path / "lab")
    dockerd = Dockerd(folder, Processes(folder.path, folder.processes, folder.logs), print)
    client = dockerd.start()
    assert not dockerd.is_own
    ours = client.containers.run(
        "debian:12", ["sleep", "600"], detach=True, network_mode="host", labels={LABEL: dockerd.label}
    )
    ours.reload()
    pid = ours.attrs["State"]["Pid"]
    clean(folder, print)
    assert (start_time(pid), start_time(theirs) is None) == (None, False)
    dockerd.stop()
    assert start_time(theirs) is not None
    assert not record_path(folder).exists()


def test_an_engine_on_another_machine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    said: list[str] = []
    assert users_docker(said.append) is None
    assert "not on this machine" in said[0]
