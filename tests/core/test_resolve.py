"""A Build and its BuildCache together: which executor, which stores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.api.executor import Executor
from buildcache.api.problems import Problem
from buildcache.core import resolve
from buildcache.core.flags import Refused, Scope, Stores
from buildcache.core.resolve import Resolved

from . import specs
from .specs import ON, URI, build_spec, cache_spec, executor

AMD = executor("BuildKit", name="amd")
ARM = executor("BuildKit", name="arm", platform="linux/arm64")
DOCKER = executor("Docker", name="docker")
KANIKO = executor("Kaniko", name="kaniko")
KANIKO_ARM = executor("Kaniko", name="kaniko-arm", platform="linux/arm64")


@pytest.mark.parametrize(
    ("executors", "build", "name"),
    [
        pytest.param([AMD, KANIKO], {"executor": "kaniko"}, "kaniko", id="the one that is named"),
        pytest.param([KANIKO, AMD], {}, "kaniko", id="the first when nothing is asked for"),
        pytest.param([KANIKO, AMD, ARM], {"platforms": ["linux/arm64"]}, "arm", id="the first that needs no emulation"),
        pytest.param([KANIKO, AMD], {"platforms": ["linux/arm64"]}, "amd", id="else the first that can emulate"),
        pytest.param([AMD, KANIKO_ARM], {"platforms": ["linux/arm64"]}, "kaniko-arm", id="Kaniko on its own platform"),
        pytest.param([KANIKO, DOCKER], {"platforms": ["linux/amd64", "linux/arm64"]}, "docker", id="several platforms"),
        pytest.param([KANIKO, AMD], {"platforms": ["linux/amd64"]}, "kaniko", id="one platform"),
    ],
)
def test_the_executor(executors: list[Executor], build: dict[str, Any], name: str) -> None:
    found = resolve.resolve(cache_spec(*executors), build_spec(**build), ON)
    assert isinstance(found, Resolved)
    assert found.executor.name == name


@pytest.mark.parametrize(
    ("executors", "build", "path"),
    [
        ([AMD, KANIKO], {"executor": "nope"}, "spec.executor"),
        ([KANIKO], {"platforms": ["linux/arm64"]}, "spec.platforms"),
        ([KANIKO], {"platforms": ["linux/amd64", "linux/arm64"]}, "spec.platforms"),
        ([KANIKO], {"executor": "kaniko", "platforms": ["linux/amd64", "linux/arm64"]}, "spec.platforms"),
        ([KANIKO], {"noCacheFilter": ["a"]}, "spec.noCacheFilter"),
    ],
)
def test_what_no_executor_can_build_is_refused(executors: list[Executor], build: dict[str, Any], path: str) -> None:
    found = resolve.resolve(cache_spec(*executors), build_spec(**build), ON)
    assert isinstance(found, Refused)
    assert [problem.path for problem in found.problems] == [path]


def test_an_unknown_executor_is_told_the_known_ones() -> None:
    found = resolve.choose_executor([AMD, KANIKO], build_spec(executor="nope"))
    assert isinstance(found, Problem)
    assert "amd, kaniko" in found.message


@given(
    st.lists(specs.executors(), min_size=1, max_size=3, unique_by=lambda own: own.name), specs.builds(), specs.stores
)
def test_total(executors: list[Executor], build: Build, stores: Stores) -> None:
    found = resolve.resolve(cache_spec(*executors), build.spec, stores)
    assert isinstance(found, Resolved | Refused)
    if isinstance(found, Resolved):
        assert found.executor in executors


def cache(status: dict[str, Any] | None = None, **spec: Any) -> BuildCache:
    body = {"metadata": {"name": "shop", "namespace": "team-a"}, "spec": cache_spec(**spec).to_json()}
    return BuildCache.model_validate(body | ({"status": status} if status is not None else {}))


def condition(type: str, status: str) -> dict[str, str]:
    return {"type": type, "status": status, "reason": "Available", "lastTransitionTime": "2026-01-01T00:00:00Z"}


READY = [condition("RegistryReady", "True"), condition("FileSystemReady", "True")]
KNOWN: dict[str, Any] = {
    "registry": {"repositoryURI": URI},
    "fileSystem": {"id": "fs-0123456789abcdef0"},
    "conditions": READY,
}
SCOPED = Scope("fs-0123456789abcdef0", "fsap-1")


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        pytest.param({"fileSystem": {}}, KNOWN, Stores(URI, True, SCOPED), id="all ready"),
        pytest.param({}, KNOWN, Stores(URI, True), id="no file system is asked for"),
        pytest.param({"fileSystem": {}}, None, Stores("", False), id="nothing is known"),
        pytest.param({"fileSystem": {}, "enabled": False}, KNOWN, Stores(URI, False), id="disabled"),
        pytest.param({}, KNOWN | {"registry": {}}, Stores("", False), id="a repository without URI"),
        pytest.param({"fileSystem": {}}, KNOWN | {"fileSystem": {}}, Stores(URI, True), id="a file system without id"),
        pytest.param({"fileSystem": {}}, KNOWN | {"conditions": []}, Stores(URI, False), id="no conditions"),
        pytest.param(
            {"fileSystem": {}},
            KNOWN | {"conditions": [condition("RegistryReady", "Unknown"), condition("FileSystemReady", "True")]},
            Stores(URI, False, SCOPED),
            id="Unknown is not ready",
        ),
        pytest.param(
            {"fileSystem": {}},
            KNOWN | {"conditions": [condition("RegistryReady", "True"), condition("FileSystemReady", "False")]},
            Stores(URI, True),
            id="the file system is not ready",
        ),
    ],
)
def test_stores_are_what_the_status_says_is_ready(
    spec: dict[str, Any], status: dict[str, Any] | None, expected: Stores
) -> None:
    assert resolve.stores(cache(status, **spec), "fsap-1") == expected


def test_without_an_access_point_there_is_no_scope() -> None:
    assert resolve.stores(cache(KNOWN, fileSystem={})) == Stores(URI, True)


def test_a_cache_that_goes_offers_nothing() -> None:
    going = cache(KNOWN, fileSystem={})
    metadata = going.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    assert resolve.stores(going.model_copy(update={"metadata": metadata}), "fsap-1") == Stores(URI, False)
