"""The Docker engine's constant script, run by a real shell with a stand-in for `docker` on its path."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from buildcache.core.tasks import DOCKER_SCRIPT

DOCKER = """#!/bin/sh
printf '%s\\n' "$*" >>calls
case "$1 $2" in
"buildx inspect") [ -e builder ] || exit 1 ;;
"buildx create")
  [ -e taken ] && touch builder
  [ -e builder ] && exit 1
  [ -e refused ] && exit 1
  touch builder
  ;;
"buildx build")
  echo "#1 [1/2] FROM"; echo "#2 CACHED" >&2
  shift 2; for item; do printf '%s|' "$item"; done >items
  exit "$(cat code)"
  ;;
esac
"""
INSPECT, CREATE = "buildx inspect buildcache", "buildx create --name buildcache --driver docker-container"
ITEMS = ["--build-arg", "A=$(touch pwned) `touch pwned`; touch pwned", "--label", "a=b c", "/workspace/src"]


@pytest.mark.parametrize(
    ("before", "calls"),
    [
        ("builder", [INSPECT]),
        ("", [INSPECT, CREATE]),
        ("taken", [INSPECT, CREATE, INSPECT]),
    ],
    ids=["a builder is there", "a builder is made", "another task made it at the same moment"],
)
@pytest.mark.parametrize("code", [0, 3])
def test_a_build_runs_on_the_builder_and_its_exit_code_is_the_containers(
    tmp_path: Path, before: str, calls: list[str], code: int
) -> None:
    run = script(tmp_path, before, code)
    assert run.returncode == code
    assert (tmp_path / "calls").read_text().splitlines()[:-1] == calls
    assert (tmp_path / "items").read_text() == "".join(f"{item}|" for item in ITEMS)
    assert not (tmp_path / "pwned").exists()
    assert run.stdout == (tmp_path / "progress.log").read_text() == "#1 [1/2] FROM\n#2 CACHED\n"
    assert (tmp_path / "started").stat().st_mtime <= (tmp_path / "progress.log").stat().st_mtime


def test_without_a_builder_nothing_is_built(tmp_path: Path) -> None:
    run = script(tmp_path, "refused", 0)
    assert run.returncode == 1
    assert not (tmp_path / "items").exists()


def script(folder: Path, before: str, code: int) -> subprocess.CompletedProcess[str]:
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    (folder / "code").write_text(str(code))
    if before:
        (folder / before).touch()
    text = DOCKER_SCRIPT.replace("/workspace/out/", f"{folder}/")
    return subprocess.run(
        ["/bin/sh", "-c", text, "docker", "buildx", "build", *ITEMS],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
