"""Manifests with the cache arguments that they must give, for every form of a registry cache: tests/golden/vectors/registry.json.

`tests/core/test_vectors.py` holds the flag function to them, `tests/lab/conformance` the engines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.core import resolve
from buildcache.core.flags import Stores
from buildcache.core.resolve import Resolved
from tests.conftest import GOLDEN


@dataclass(frozen=True)
class Vector:
    """One BuildCache whose registry is ready, and one Build."""

    says: str
    cache: BuildCache
    build: Build
    args: list[str]
    environment: Mapping[str, str]

    @property
    def uri(self) -> str:
        registry = self.cache.status.registry
        assert registry is not None
        assert registry.repository_uri is not None
        return registry.repository_uri

    def resolve(self) -> Resolved:
        found = resolve.resolve(self.cache.spec, self.build.spec, Stores(self.uri, registry=True))
        assert isinstance(found, Resolved), found
        return found


VECTORS = [
    Vector(
        each["says"],
        BuildCache.model_validate(each["cache"]),
        Build.model_validate(each["build"]),
        each["cacheArgs"],
        each["environment"],
    )
    for each in json.loads((GOLDEN / "vectors" / "registry.json").read_text())
]
