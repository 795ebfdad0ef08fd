"""What a cache is worth on real engines: the first build on one builder, the next one on a new builder with an empty root."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from buildcache.core import resolve
from buildcache.core.flags import Stores
from buildcache.core.resolve import Resolved
from tests.core.specs import build_spec, cache_spec, executor
from tests.lab.conformance.builder import Builder, Ran, builder, contents, manifest
from tests.lab.conformance.test_vectors import LAYERS
from tests.lab.docker.engine import Engine

pytestmark = pytest.mark.docker

# What the first stages make is not in the image, so only mode max keeps it; and no two runs of them are the same.
FILES = {
    "Dockerfile": """\
ARG BASE_IMAGE
FROM $BASE_IMAGE AS tools
RUN head -c 100000 /dev/urandom >/tools; date +%N >>/tools
FROM $BASE_IMAGE AS build
COPY --from=tools /tools /tools
COPY main.txt /main.txt
RUN cat /tools /main.txt | sha256sum >/app
FROM scratch
COPY --from=build /app /app
""",
    "main.txt": "one\n",
}
STEPS = 5
# A shell and four programs: what is unpacked on every new builder need not be a whole Debian.
BASE = """\
ARG BASE_IMAGE
FROM $BASE_IMAGE AS debian
RUN for program in sh cat head date sha256sum; do \\
      found=$(command -v $program) && cp -L --parents $found $(ldd $found | grep -o '/[^ ]*') /srv || exit 1; \\
    done; mkdir /srv/bin; cp /bin/sh /srv/bin/sh
FROM scratch
COPY --from=debian /srv /
"""
CHANGED = {**FILES, "main.txt": "two\n"}
UNTOUCHED = 2
"""Steps that do not see main.txt: the tools and their copy."""

NUMBERS = itertools.count(1)


class Site:
    """Builds of one service on new builders, with one repository for their cache."""

    def __init__(self, engine: Engine, folder: Path, base: str, name: str) -> None:
        self.registry = engine.registry.address
        self.repository = f"caches/{next(NUMBERS)}"
        self._engine = engine
        self._folder = folder
        self._base = base
        self._name = name

    def build(self, files: Mapping[str, str] = FILES, *, export: Mapping[str, Any] | None = None, **spec: Any) -> Ran:
        with builder(self._engine, self._folder) as running:
            return self.build_on(running, files, export=export, **spec)

    def build_on(
        self,
        running: Builder,
        files: Mapping[str, str] = FILES,
        *,
        export: Mapping[str, Any] | None = None,
        registry: str | None = None,
        **spec: Any,
    ) -> Ran:
        build = build_spec(
            **{
                "buildArgs": [{"name": "BASE_IMAGE", "value": self._base}],
                "output": {"images": [f"{self.registry}/{self.repository}/image:1"]},
                **spec,
            }
        )
        cache = cache_spec(executor(self._name), registry={"export": export or {}})
        stores = Stores(f"{registry or self.registry}/{self.repository}", registry=True)
        found = resolve.resolve(cache, build, stores)
        assert isinstance(found, Resolved), found
        return running.run(found.command, files)


@pytest.fixture(scope="module")
def base(shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base image of all builds here, by its name in the registry."""
    name = f"{shared_engine.registry.address}/caches/base:1"
    spec = build_spec(buildArgs=[{"name": "BASE_IMAGE", "value": shared_engine.images.base}], output={"images": [name]})
    found = resolve.resolve(cache_spec(executor("BuildKit")), spec, Stores("", registry=False))
    assert isinstance(found, Resolved), found
    with builder(shared_engine, tmp_path_factory.mktemp("base")) as running:
        ran = running.run(found.command, {"Dockerfile": BASE})
    assert ran.code == 0, ran.output
    return name


@pytest.fixture(params=["BuildKit", "Docker"])
def site(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path, base: str) -> Site:
    return Site(engine, tmp_path, base, request.param)


@pytest.mark.parametrize("compression", ["gzip", "estargz", "zstd", "uncompressed"])
def test_a_new_builder_takes_every_step_from_the_cache(site: Site, compression: str) -> None:
    cold = site.build(export={"compression": compression})
    assert cold.steps == (STEPS, 0)
    assert cold.report["exported"] is True
    assert cold.report["importError"] is None, "a cache that is not there yet is no error"
    layers = manifest(site.registry, site.repository, "web.buildcache")["layers"]
    assert LAYERS[compression] in {layer["mediaType"] for layer in layers}
    warm = site.build(export={"compression": compression})
    assert warm.steps == (STEPS, STEPS)
    assert warm.report["imported"] is True
    assert warm.report["digest"] == cold.report["digest"]
    assert site.build(CHANGED, export={"compression": compression}).steps == (STEPS, UNTOUCHED)


def test_mode_min_keeps_only_what_the_image_has(site: Site) -> None:
    site.build(export={"mode": "min", "compression": "gzip"})
    assert site.build(export={"mode": "min", "compression": "gzip"}).steps == (STEPS, STEPS)
    assert site.build(CHANGED, export={"mode": "min", "compression": "gzip"}).steps == (STEPS, 0)


def test_what_Refresh_builds_is_what_the_next_build_uses(site: Site) -> None:
    old = site.build()
    fresh = site.build(cache={"mode": "Refresh"})
    assert fresh.steps == (STEPS, 0)
    assert fresh.report["imported"] is None
    assert fresh.report["exported"] is True
    assert fresh.report["digest"] != old.report["digest"], "built afresh"
    following = site.build()
    assert following.steps == (STEPS, STEPS)
    assert following.report["digest"] == fresh.report["digest"]


def test_ReadOnly_reads_and_leaves_the_registry_as_it_was(site: Site) -> None:
    site.build()
    before = contents(site.registry)
    reader = site.build(CHANGED, cache={"mode": "ReadOnly"}, output={"push": False})
    assert reader.steps == (STEPS, UNTOUCHED)
    assert (reader.report["imported"], reader.report["exported"]) == (True, None)
    assert contents(site.registry) == before


def test_None_neither_reads_nor_writes(site: Site) -> None:
    site.build()
    before = contents(site.registry)
    without = site.build(cache={"mode": "None"}, output={"push": False})
    assert without.steps == (STEPS, 0)
    assert (without.report["imported"], without.report["exported"]) == (None, None)
    assert contents(site.registry) == before


def test_a_second_ref_serves_a_service_that_has_no_cache_of_its_own_yet(site: Site) -> None:
    site.build(service="main")
    branch = site.build(cache={"importFrom": [f"{site.registry}/{site.repository}:main.buildcache"]})
    assert branch.steps == (STEPS, STEPS)


def test_noCacheFilter_builds_one_stage_afresh(site: Site) -> None:
    old = site.build()
    fresh = site.build(noCacheFilter=["tools"])
    total, cached = fresh.steps
    assert total == STEPS
    assert cached < STEPS
    assert fresh.report["digest"] != old.report["digest"]


@pytest.mark.parametrize("ignore", [True, False], ids=["ignoreError", "errors are not ignored"])
def test_a_cache_registry_that_is_down_fails_the_build_only_when_asked_to(
    site: Site, engine: Engine, tmp_path: Path, ignore: bool
) -> None:
    with builder(engine, tmp_path / "down") as running:
        ran = site.build_on(running, registry="127.0.0.1:1", export={"ignoreError": ignore})
    assert (ran.code == 0) is ignore, ran.output
    assert "connection refused" in ran.report["importError"]
    assert ran.report["exported"] is False
