"""`up` and `down` as people use them: twice, side by side, and after the lab was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.files import PROJECT
from lab.process import MARK

INFO = {"kubeconfig", "aws", "control", "registry", "audit", "operator", "region", "account"}


@dataclass
class Folder:
    """A state folder and the commands on it."""

    path: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lab", *command],
            cwd=PROJECT,
            env={**os.environ, "BUILDCACHE_LAB_DIR": str(self.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def up(self) -> str:
        done = self.run("up", "--runtime", "simulated")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> str:
        done = self.run("down")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = json.loads((self.path / "lab.json").read_text())
        return info

    def serve_pid(self) -> int:
        pid: int = json.loads((self.path / "processes" / "serve.json").read_text())["pid"]
        return pid

    def processes(self) -> list[str]:
        """Command lines of everything that carries this lab's mark."""
        mark, found = f"{MARK}={self.path}".encode(), []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    if mark in (folder / "environ").read_bytes().split(b"\0"):
                        found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
        return found


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Folder, Folder]]:
    one, other = Folder(tmp_path / "one"), Folder(tmp_path / "other")
    yield one, other
    for folder in (one, other):
        folder.down()


@pytest.mark.lab
def test_labs_side_by_side_stay_until_they_are_taken_down(folders: tuple[Folder, Folder]) -> None:
    one, other = folders
    for folder in folders:
        said = folder.up()
        assert "the lab is up" in said
        assert set(folder.info) == INFO
        assert set(folder.info["operator"]) == {"pid", "log", "metrics"}
        assert folder.run("status").returncode == 0
    assert one.info["aws"] != other.info["aws"]
    assert "already up" in one.up()
    one.down()
    assert not one.path.exists()
    assert one.processes() == []
    assert one.run("status").returncode == 3
    with urllib.request.urlopen(f"{other.info['control']}/tasks", timeout=10) as answer:
        assert json.load(answer) == [], "the other one goes on"


@pytest.mark.lab
def test_a_killed_lab_leaves_nothing_behind(folders: tuple[Folder, Folder]) -> None:
    lab, _ = folders
    lab.up()
    before = lab.serve_pid()
    os.kill(before, signal.SIGKILL)
    assert lab.processes(), "etcd and the others live on without it"
    said = lab.up()
    assert "ended what a killed lab left running" in said
    assert lab.serve_pid() != before
    os.kill(lab.serve_pid(), signal.SIGKILL)
    assert "ended what a killed lab left running" in lab.down()
    assert not lab.path.exists()
    assert lab.processes() == []


@pytest.mark.lab
def test_a_command_with_a_lab_of_its_own_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "BUILDCACHE_LAB_DIR": str(tmp_path / "other")}
    command = [sys.executable, "-u", "-m", "lab", "bench-dispatch"]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        assert any("the lab is up" in line for line in bench.stdout)
        (state,) = tmp_path.glob("buildcache-bench-*")
        assert Folder(state).processes()
        bench.terminate()
        bench.stdout.read()
        assert bench.wait(60) == 130
    assert Folder(state).processes() == []
    assert not state.exists()


def test_down_without_a_lab_is_fine(tmp_path: Path) -> None:
    assert "no lab" in Folder(tmp_path / "none").down()


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path, command: str) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = Folder(tmp_path).run(command)
    assert done.returncode == 1
    assert "no lab's" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
