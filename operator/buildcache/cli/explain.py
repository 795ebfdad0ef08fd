"""`buildcache explain`: what a Build would run, asked of the same functions that the operator asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import FileSystemStatus, RegistryStatus
from buildcache.api.ecr import dns_suffix
from buildcache.api.meta import Condition
from buildcache.api.problems import Problem
from buildcache.core import resolve
from buildcache.core.flags import Refused
from buildcache.core.names import Identity, repository_name
from buildcache.core.resolve import Resolved
from buildcache.core.tasks import platform_version

from .manifest import Invalid, Manifests, complain

ACCOUNT = "111122223333"
FILE_SYSTEM = "fs-00000000000000000"
ACCESS_POINT = "fsap-00000000000000000"
"""Placeholders for what only AWS knows."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One Build, explained."""

    build: str
    resolved: Resolved

    def to_json(self) -> dict[str, Any]:
        """The form of `-o json`, which is part of the API."""
        executor, flags = self.resolved.executor, self.resolved.flags
        return {
            "build": self.build,
            "executor": executor.name,
            "engine": executor.engine,
            "launchType": executor.launch_type,
            "cacheArgs": list(flags.args),
            "command": list(self.resolved.command),
            "environment": dict(sorted(flags.environment.items())),
            "mounts": [
                {"volume": mount.volume, "path": mount.path, "readOnly": mount.read_only} for mount in flags.mounts
            ],
            "volumes": list(flags.volumes),
            "platformVersion": platform_version(executor),
            "warnings": [{"path": notice.path, "message": notice.message} for notice in flags.warnings],
        }


def explain(manifests: Manifests, account: str) -> list[Explained]:
    """All Builds, in order. Raises Invalid with every problem of every Build."""
    cache = assumed(manifests.cache, account)
    stores = resolve.stores(cache, ACCESS_POINT)
    explained: list[Explained] = []
    lines: list[str] = []
    for build in manifests.builds:
        found = _misplaced(cache, build) or resolve.resolve(cache.spec, build.spec, stores)
        if isinstance(found, Refused):
            lines += (complain(problem, build.to_json()) for problem in found.problems)
        else:
            explained.append(Explained(f"{build.metadata.namespace}/{build.metadata.name}", found))
    if lines:
        raise Invalid(lines)
    return explained


def assumed(cache: BuildCache, account: str) -> BuildCache:
    """The cache as it will be when its parts are ready: what its status does not say yet is filled in, what it says is kept."""
    status, spec = cache.status, cache.spec
    uri = status.registry.repository_uri if status.registry else None
    file_system = status.file_system.id if status.file_system else None
    known = {condition.type for condition in status.conditions}
    ready = (
        Condition(type=part, status="True", reason="Available", last_transition_time="1970-01-01T00:00:00Z")
        for part in ("RegistryReady", "FileSystemReady")
        if part not in known
    )
    update = {
        "registry": RegistryStatus(repository_uri=uri or _repository_uri(cache, status.account or account)),
        "file_system": FileSystemStatus(
            id=file_system or (spec.file_system.id if spec.file_system else None) or FILE_SYSTEM
        ),
        "conditions": (*status.conditions, *ready),
    }
    return cache.model_copy(update={"status": status.model_copy(update=update)})


def _repository_uri(cache: BuildCache, account: str) -> str:
    region = cache.spec.region
    owner = Identity("", cache.metadata.namespace, cache.metadata.name, cache.metadata.uid)
    name = cache.spec.registry.repository_name or repository_name(owner)
    return f"{account}.dkr.ecr.{region}.{dns_suffix(region)}/{name}"


def _misplaced(cache: BuildCache, build: Build) -> Refused | None:
    if build.spec.cache_ref.name != cache.metadata.name:
        return Refused((Problem("spec.cacheRef.name", f"is not the BuildCache of the files, {cache.metadata.name}"),))
    if build.metadata.namespace != cache.metadata.namespace:
        return Refused((Problem("metadata.namespace", f"is not the BuildCache's, {cache.metadata.namespace}"),))
    return None
