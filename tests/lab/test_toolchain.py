"""The lab's programs are built once for each pin, whole or not at all. A script plays the Go compiler."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab import toolchain
from lab.errors import LabError

GO = """#!/bin/sh
[ "$1" = env ] && { echo "$FAKE_GO_VERSION"; exit 0; }
[ -z "$FAKE_GO_FAILS" ] || { echo "cannot find module" >&2; exit 1; }
[ "$GOTOOLCHAIN" = local ] || exit 3
echo "$@" >> "$FAKE_GO_LOG"
sleep 0.2
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and a compiler that writes what it was asked to build into this file."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(GO)
    go.chmod(0o755)
    log = tmp_path / "builds"
    log.touch()
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_LOG", str(log))
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.26.8")
    return log


def test_a_program_is_built_once_with_the_others_of_its_module(builds: Path) -> None:
    lines: list[str] = []
    path = toolchain.ensure("buildctl", lines.append)
    assert path.read_text() == "built\n"
    assert toolchain.ensure("buildctl", lines.append) == path
    assert toolchain.ensure("buildkitd", lines.append) == path.with_name("buildkitd")
    packages = [line.split()[-1] for line in builds.read_text().splitlines()]
    assert packages == ["github.com/moby/buildkit/cmd/buildctl", "github.com/moby/buildkit/cmd/buildkitd"]
    assert [line for line in lines if line.startswith("building buildkitd: done in ")], (
        "progress says what took how long"
    )


def test_two_labs_that_start_at_once_build_once(builds: Path) -> None:
    found: list[Path] = []
    lines: list[str] = []
    builders = [threading.Thread(target=lambda: found.append(toolchain.ensure("etcd", lines.append))) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(builds.read_text().splitlines()) == 1
    assert "another lab is building etcd: waiting for it" in lines


def test_a_failed_build_says_why_and_leaves_nothing_that_looks_built(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "yes")
    with pytest.raises(LabError, match=r"building etcd failed: exit code 1 of .*tools/etcd\ncannot find module"):
        toolchain.ensure("etcd", print)
    assert not [path for path in (toolchain.cache_folder() / "tools").iterdir() if path.is_dir()]
    monkeypatch.delenv("FAKE_GO_FAILS")
    assert toolchain.ensure("etcd", print).exists()


def test_what_a_killed_builder_left_is_removed(builds: Path) -> None:
    left = toolchain.cache_folder() / "tools" / ".etcd-abandoned"
    left.mkdir(parents=True)
    toolchain.ensure("etcd", print)
    assert not left.exists()


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "tools.go"])
def test_a_new_pin_is_another_build(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = toolchain.MODULES["etcd"]
    before = toolchain.fingerprint(module)
    (tmp_path / "etcd").mkdir()
    for file in ("go.mod", "go.sum", "tools.go"):
        content = (toolchain.TOOLS / "etcd" / file).read_bytes()
        (tmp_path / "etcd" / file).write_bytes(content + b"// new" if file == name else content)
    monkeypatch.setattr(toolchain, "TOOLS", tmp_path)
    assert toolchain.fingerprint(module) != before


@pytest.mark.parametrize("version", ["go1.27.1", "go1.25.9", "go1.260"])
def test_another_line_of_go_is_not_used(builds: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """BuildKit panics when it is built with Go 1.27."""
    monkeypatch.setenv("FAKE_GO_VERSION", version)
    # Whatever would install another Go is this same script, whose answer does not change.
    monkeypatch.setattr(toolchain, "_install_commands", lambda _: [])
    with pytest.raises(LabError, match=r"no working go1\.26"):
        toolchain.ensure("etcd", print)
    assert builds.read_text() == ""


def test_every_program_is_named_in_its_modules_pins() -> None:
    """What `ensure` builds must be what tools.go keeps in go.mod."""
    for module in toolchain.MODULES.values():
        pins = (toolchain.TOOLS / module.name / "tools.go").read_text()
        for _, package in module.programs:
            assert f'"{package}"' in pins
