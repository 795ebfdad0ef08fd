"""What kind asks of Docker becomes what a machine without CAP_SYS_RESOURCE can give."""

import os
import subprocess
from pathlib import Path

import pytest

from lab.kind.cluster import SHIM


def _docker(tmp_path: Path, *arguments: str) -> list[str]:
    real = tmp_path / "real"
    real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    real.chmod(0o755)
    environment = {**os.environ, "DOCKER": str(real)}
    done = subprocess.run([SHIM / "docker", *arguments], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_privileged_container_gets_what_can_be_had(tmp_path: Path) -> None:
    asked = _docker(tmp_path, "run", "--name", "a node", "--privileged", "image")
    assert asked[:3] == ["run", "--name", "a node"]
    assert "--privileged" not in asked
    assert asked[asked.index("--cap-drop") + 1] == "SYS_RESOURCE"
    assert asked[-1] == "image"


def test_in_a_running_container_the_flag_is_dropped(tmp_path: Path) -> None:
    assert _docker(tmp_path, "exec", "--privileged", "node", "true") == ["exec", "node", "true"]


@pytest.mark.parametrize("arguments", [("ps", "-a"), ("network", "inspect", "--privileged-not", "kind")])
def test_all_else_passes(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert _docker(tmp_path, *arguments) == [*arguments]
