"""What is decided about engine and images before Docker is asked."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import docker_leftovers, dockerd, image_build, images
from lab.docker_leftovers import Process
from lab.ecs import docker_runtime
from lab.files import PROJECT, Folder


def test_sockets_of_a_deep_state_folder_lie_elsewhere(tmp_path: Path) -> None:
    near = Folder(Path("/srv/lab"))
    assert dockerd.run_folder(near) == Path("/srv/lab/docker")
    deep = Folder(Path("/work") / ("x" * 80))
    assert dockerd.run_folder(deep) == Path(f"/run/buildcache-lab-{dockerd.label_of(deep)}")
    assert len(f"{dockerd.run_folder(near)}/exec/containerd/containerd.sock.ttrpc") < 108


def test_only_programs_of_this_run_folder_are_ours() -> None:
    run = Path("/lab/docker")

    def ours(*arguments: str) -> bool:
        return docker_leftovers.mentions(Process(1, 1, arguments, 1), run)

    assert ours("/usr/sbin/dockerd", "--exec-root", "/lab/docker/exec", "-H", "unix:///lab/docker/docker.sock")
    assert ours(
        "/usr/bin/containerd-shim-runc-v2", "-id", "abc", "-address", "/lab/docker/exec/containerd/containerd.sock"
    )
    assert not ours("/usr/sbin/dockerd", "--exec-root", "/lab/docker2/exec")
    assert not ours("vi", "/lab/docker/exec/containerd/containerd.toml")


def test_the_context_of_an_image_is_the_same_whenever_its_files_are() -> None:
    files = {"Dockerfile": b"FROM scratch\n", "tool": b"#!"}
    one = image_build.context(files, ["tool"])
    assert one == image_build.context(dict(files), ["tool"])
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        assert {entry.name: entry.mode for entry in archive} == {"Dockerfile": 0o644, "tool": 0o755}


def test_the_operator_image_is_made_of_what_its_dockerfile_copies() -> None:
    files = images.operator_files(PROJECT)
    assert {"Dockerfile", "pyproject.toml", "uv.lock", "operator/buildcache/__init__.py"} <= set(files)
    assert not [name for name in files if name.startswith(("tests", "lab", ".")) or "__pycache__" in name]


def test_fingerprints_tell_where_one_part_ends() -> None:
    assert images.fingerprint("ab", "c") != images.fingerprint("a", "bc")
    assert images.fingerprint("a", b"b") == images.fingerprint(b"a", "b")


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        pytest.param(("shim", "-id", "abc", "-address", "x"), "-id", "abc", id="present"),
        pytest.param(("shim", "-address", "x"), "-id", "", id="absent"),
        pytest.param(("shim", "-id"), "-id", "", id="cut off"),
    ],
)
def test_option(arguments: tuple[str, ...], name: str, value: str) -> None:
    assert docker_leftovers.option(arguments, name) == value


@given(st.lists(st.binary(max_size=3).map(lambda piece: piece.translate(b"ab\n\r" * 64))), st.data())
def test_lines_do_not_depend_on_how_an_output_was_cut_up(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    longest = data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(docker_runtime, "LONGEST_LINE", longest)
        found = list(docker_runtime.lines(pieces))
        assert found == list(docker_runtime.lines([whole]))
    assert "".join(found).replace("\r", "") == whole.decode().replace("\n", "").replace("\r", "")
    assert max(map(len, found), default=0) <= longest
