"""Children of the lab are stopped when they are ours, also after the lab was killed, and nobody else's process is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.process import MARK, Processes, Record, boot_id, end, read_record, start_time, sweep

SLEEP = ("sleep", "60")
# Ignores SIGTERM, and says so when it is ready.
STUBBORN = (
    sys.executable,
    "-uc",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready'); time.sleep(60)",
)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    yield Processes(tmp_path, tmp_path / "processes", tmp_path / "logs")
    sweep(tmp_path, tmp_path / "processes", deadline=0)


def record_of(folder: Path, name: str) -> Record:
    record = read_record(folder / "processes" / f"{name}.json")
    assert record is not None
    return record


def wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + 60
    while text not in log.read_text():
        assert time.monotonic() < until, f"{text!r} never came"
        time.sleep(0.02)


def test_a_child_is_on_disk_as_soon_as_it_runs(processes: Processes, tmp_path: Path) -> None:
    child = processes.start("sleeper", SLEEP)
    record = record_of(tmp_path, "sleeper")
    assert record == child.record
    assert record.is_alive()
    assert os.getsid(child.pid) == child.pid, "a Ctrl-C at the terminal does not reach it"
    child.stop()
    assert child.exit_code == -signal.SIGTERM
    assert not record.is_alive()
    assert not list((tmp_path / "processes").iterdir())


def test_a_child_that_ignores_sigterm_is_killed_after_the_deadline(processes: Processes) -> None:
    child = processes.start("stubborn", STUBBORN)
    wait_for(child.log, "ready")
    child.stop(deadline=0.2)
    assert child.exit_code == -signal.SIGKILL


def test_a_program_that_is_not_there_is_named(processes: Processes) -> None:
    with pytest.raises(LabError, match="cannot start nothing"):
        processes.start("nothing", ["/no/such/program"])


def test_a_log_goes_on_over_restarts(processes: Processes) -> None:
    for text in ("one", "two"):
        processes.start("echo", ["echo", text]).wait(10)
    assert processes.log("echo").read_text() == "one\ntwo\n"


def test_nothing_starts_once_the_lab_goes_down(processes: Processes) -> None:
    processes.close()
    with pytest.raises(LabError, match="going down"):
        processes.start("late", SLEEP)


def test_a_sweep_ends_recorded_children(processes: Processes, tmp_path: Path) -> None:
    child = processes.start("sleeper", SLEEP)
    assert sweep(tmp_path, tmp_path / "processes") == ["sleeper"]
    assert child.wait(5) == -signal.SIGTERM
    assert not list((tmp_path / "processes").iterdir())
    assert sweep(tmp_path, tmp_path / "processes") == [], "a second sweep finds nothing"


def test_a_sweep_finds_a_grandchild_by_its_mark_when_no_record_leads_to_it(tmp_path: Path) -> None:
    """A child killed between its start and its record; a daemon's own children."""
    with subprocess.Popen(SLEEP, env={**os.environ, MARK: str(tmp_path)}) as left:
        assert sweep(tmp_path, tmp_path / "processes") == [f"process {left.pid}"]
        assert left.wait(5) == -signal.SIGTERM


def test_a_sweep_leaves_the_other_lab_alone(tmp_path: Path) -> None:
    one, other = tmp_path / "lab", tmp_path / "lab-2"
    neighbour = Processes(other, other / "processes", other / "logs").start("sleeper", SLEEP)
    try:
        assert sweep(one, one / "processes") == []
        assert neighbour.exit_code is None
    finally:
        neighbour.stop()


@pytest.mark.parametrize("lie", ["started", "boot"])
def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(tmp_path: Path, lie: str) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        started = start_time(stranger.pid)
        assert started is not None
        record = Record("sleeper", stranger.pid, started, boot_id(), 1)
        record = replace(record, started=started - 1) if lie == "started" else replace(record, boot="another boot")
        (tmp_path / "processes").mkdir()
        (tmp_path / "processes" / "sleeper.json").write_text(json.dumps(asdict(record)))
        assert sweep(tmp_path, tmp_path / "processes") == []
        end(record, 0)
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_broken_record_is_no_record(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert read_record(tmp_path / "x.json") is None


def test_a_process_with_spaces_and_parentheses_in_its_name_has_a_start_time(tmp_path: Path) -> None:
    program = tmp_path / "a) b ("
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    with subprocess.Popen([program], start_new_session=True) as child:
        try:
            assert start_time(child.pid) is not None
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def test_a_zombie_counts_as_gone() -> None:
    with subprocess.Popen(["true"]) as child:
        until = time.monotonic() + 60
        while start_time(child.pid) is not None:
            assert time.monotonic() < until
            time.sleep(0.01)
