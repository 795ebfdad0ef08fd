"""The whole command of each engine by example."""

from __future__ import annotations

from typing import Any

import pytest

from buildcache.core import engines, flags
from buildcache.core.flags import Flags

from .specs import IMAGE, OFF, build_spec, executor, export

EVERYTHING: dict[str, Any] = {
    "contextDir": "services/web",
    "dockerfile": "docker/Dockerfile.web",
    "target": "final",
    "buildArgs": [{"name": "B", "value": "1,2 '3'"}, {"name": "A", "value": "--x=y"}],
    "output": {"images": [IMAGE, "ghcr.io/acme/web:1"], "labels": {"z": "1", "a": "$(id)"}},
}


def command(engine: str, **changes: Any) -> list[str]:
    own, spec = executor(engine), build_spec(**changes)
    found = flags.render(own, export(), spec, OFF)
    assert isinstance(found, Flags)
    return list(engines.command(own, spec, found))


def test_buildkit() -> None:
    assert command("BuildKit", **EVERYTHING) == [
        "buildctl", "build",
        "--progress", "plain", "--frontend", "dockerfile.v0",
        "--local", "context=/workspace/src/services/web", "--local", "dockerfile=/workspace/src/services/web/docker",
        "--opt", "filename=Dockerfile.web", "--opt", "target=final",
        "--opt", "build-arg:B=1,2 '3'", "--opt", "build-arg:A=--x=y", "--opt", "label:a=$(id)", "--opt", "label:z=1",
        "--output", f'type=image,"name={IMAGE},ghcr.io/acme/web:1",push=true',
        "--metadata-file", "/workspace/out/metadata.json",
        "--debug-json-cache-metrics", "/workspace/out/metrics.json",
        "--trace", "/workspace/out/trace.json",
    ]  # fmt: skip


def test_docker() -> None:
    assert command("Docker", **EVERYTHING) == [
        "docker", "buildx", "build",
        "--progress", "plain", "--provenance=false", "--file", "/workspace/src/services/web/docker/Dockerfile.web",
        "--target", "final", "--build-arg", "B=1,2 '3'", "--build-arg", "A=--x=y", "--label", "a=$(id)", "--label", "z=1",
        "--tag", IMAGE, "--tag", "ghcr.io/acme/web:1", "--push",
        "--metadata-file", "/workspace/out/metadata.json", "/workspace/src/services/web",
    ]  # fmt: skip


def test_a2_k1_kaniko() -> None:
    assert command("Kaniko", **EVERYTHING) == [
        "/kaniko/executor", "--cache=false",
        "--dockerfile=/kaniko/workspace/src/services/web/docker/Dockerfile.web",
        "--context=dir:///kaniko/workspace/src/services/web",
        "--target=final", "--build-arg=B=1,2 '3'", "--build-arg=A=--x=y", "--label=a=$(id)", "--label=z=1",
        f"--destination={IMAGE}", "--destination=ghcr.io/acme/web:1",
        "--digest-file=/kaniko/workspace/out/digest",
    ]  # fmt: skip


@pytest.mark.parametrize("engine", ["BuildKit", "Docker", "Kaniko"])
def test_without_push_nothing_is_named_for_a_registry(engine: str) -> None:
    output = {"images": [IMAGE], "push": False}
    items = command(engine, output=output)
    assert not [item for item in items if IMAGE in item or item in ("--push", "--output", "--tag")]
    assert ("--destination=image.invalid/unpushed:latest" in items) == (engine == "Kaniko")


def test_the_context_and_dockerfile_of_the_defaults() -> None:
    spec = build_spec()
    assert (engines.context_path(spec, "/volume"), engines.dockerfile_path(spec, "/volume")) == (
        "/volume/src",
        "/volume/src/Dockerfile",
    )


@pytest.mark.parametrize(
    ("engine", "changes", "image"),
    [
        ("BuildKit", {}, "moby/buildkit:v0.32.2"),
        ("Docker", {}, "docker:29.1.3-cli"),
        ("Kaniko", {}, "ghcr.io/osscontainertools/kaniko:v1.28.3"),
        ("Kaniko", {"kaniko": {"version": "1.27.6"}}, "ghcr.io/osscontainertools/kaniko:v1.27.6"),
        ("Kaniko", {"image": "acme/kaniko:1"}, "acme/kaniko:1"),
    ],
)
def test_image(engine: str, changes: dict[str, Any], image: str) -> None:
    assert engines.image(executor(engine, **changes)) == image
