"""Every vector that reads or writes a registry cache, run by the real engine against a real registry: what it is told, it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import lab.registry
from lab.process import Processes
from lab.registry import Registry
from tests.lab.conformance.builder import Builder, builder, manifest
from tests.lab.docker.engine import Engine
from tests.vectors import VECTORS, Vector

pytestmark = pytest.mark.docker

# The stages that some vectors name. Nothing is run, so that a build for another platform needs no emulation.
FILES = {
    "Dockerfile": """\
FROM scratch AS tools
COPY tools.txt /
FROM scratch AS build
COPY --from=tools /tools.txt /
COPY main.txt /
FROM scratch AS test
COPY --from=build / /tested/
FROM scratch
COPY --from=test / /
""",
    "tools.txt": "tools\n" * 100,
    "main.txt": "main\n" * 100,
}
LAYERS = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "estargz": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "uncompressed": "application/vnd.oci.image.layer.v1.tar",
}
TABLE_OF_CONTENTS = "containerd.io/snapshot/stargz/toc.digest"


@pytest.fixture(scope="module")
def running(shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    """One builder for all vectors: each has a repository of its own, and what is asked here owes nothing to an empty root."""
    with builder(shared_engine, tmp_path_factory.mktemp("vectors")) as found:
        yield found


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that takes an index of anything. Distribution 3 by itself wants manifests in it, and refuses as ECR does."""
    folder = tmp_path_factory.mktemp("lenient")
    strict = lab.registry.configuration

    def configuration(port: int, storage: Path) -> Mapping[str, Any]:
        return {**strict(port, storage), "validation": {"manifests": {"indexes": {"platforms": "none"}}}}

    registry = Registry(folder, Processes(folder, folder / "processes", folder / "logs"), print)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab.registry, "configuration", configuration)
        address = registry.start()
    yield address
    registry.stop()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: each.says)
def test_the_engine_takes_the_arguments_and_does_what_they_say(
    vector: Vector, running: Builder, shared_engine: Engine, lenient: str
) -> None:
    takes_all = not vector.cache.spec.registry.export.image_manifest
    registry = lenient if takes_all else shared_engine.registry.address
    repository = f"vectors/{VECTORS.index(vector)}"
    resolved = vector.resolve()
    host, _, path = vector.uri.partition("/")

    def here(item: str) -> str:
        return item.replace(f"{host}/{path}:", f"{registry}/{repository}:").replace(f"{ECR}/", f"{registry}/")

    seed(running, [here(ref) for ref in imports(vector)])
    ran = running.run([here(item) for item in resolved.command], FILES)
    assert ran.code == 0, ran.output
    assert ran.report["digest"]
    assert ran.report["imported"] is (True if resolved.flags.reads else None), ran.output
    assert ran.report["exported"] is (True if resolved.flags.writes else None), ran.output
    if resolved.flags.ref and resolved.flags.writes:
        holds(vector, manifest(registry, repository, resolved.flags.ref.rpartition(":")[2]))


ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def imports(vector: Vector) -> list[str]:
    values = [value for flag, value in zip(vector.args, vector.args[1:], strict=False) if flag in IMPORTS]
    return [value.partition("ref=")[2].partition(",")[0] for value in values]


IMPORTS = ("--import-cache", "--cache-from")


def seed(running: Builder, refs: list[str]) -> None:
    """Something to import under each name: an import of what is not there is taken too, and says nothing."""
    local = ("--frontend", "dockerfile.v0", "--local", "context=/workspace/src", "--local", "dockerfile=/workspace/src")
    for ref in refs:
        ran = running.run(["buildctl", "build", *local, "--export-cache", f"type=registry,ref={ref},mode=max"], FILES)
        assert ran.code == 0, ran.output


def holds(vector: Vector, found: dict[str, Any]) -> None:
    """The cache has the form that the export's options ask for, whatever had that name before."""
    export = vector.cache.spec.registry.export
    if not export.image_manifest:
        assert found["mediaType"] == "application/vnd.oci.image.index.v1+json"
        return
    assert found["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert found["config"]["mediaType"] == "application/vnd.buildkit.cacheconfig.v0"
    assert found["layers"]
    if export.force_compression:
        assert {layer["mediaType"] for layer in found["layers"]} == {LAYERS[export.compression]}
        has_table = [TABLE_OF_CONTENTS in layer.get("annotations", {}) for layer in found["layers"]]
        assert has_table == [export.compression == "estargz"] * len(has_table)
