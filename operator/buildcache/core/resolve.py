"""A Build and its BuildCache, taken together: which executor builds, with which flags and which command.

Rules inside one object are in the models; the rules between the two are here and in `flags`. Asked by the Build pass and `explain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildcache.api.build import BuildSpec
from buildcache.api.cache import BuildCache, BuildCacheSpec
from buildcache.api.executor import Executor
from buildcache.api.problems import Problem

from . import engines, flags
from .flags import Flags, Refused, Scope, Stores


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a Build runs."""

    executor: Executor
    flags: Flags
    command: tuple[str, ...]


def resolve(cache: BuildCacheSpec, build: BuildSpec, stores: Stores) -> Resolved | Refused:
    """Executor, flags and command of a Build, or the problems of the two specs with each other. Total."""
    executor = choose_executor(cache.executors, build)
    if isinstance(executor, Problem):
        return Refused((executor,))
    rendered = flags.render(executor, cache.registry.export, build, stores)
    if isinstance(rendered, Refused):
        return rendered
    return Resolved(executor, rendered, engines.command(executor, build, rendered))


def choose_executor(executors: Sequence[Executor], build: BuildSpec) -> Executor | Problem:
    """The executor that the Build names, or the first that can build its platforms; one that needs no emulation is preferred."""
    chosen = pick(executors, build.executor, build.platforms)
    if chosen is not None:
        return chosen
    if build.executor is not None:
        known = ", ".join(executor.name for executor in executors)
        return Problem("spec.executor", f"is not an executor of the BuildCache: it has {known}")
    return Problem("spec.platforms", "cannot be built by any executor of the BuildCache")


def pick(executors: Sequence[Executor], name: str | None, platforms: Sequence[str]) -> Executor | None:
    """The executor of a Build that names one, or platforms, or neither; None when there is none for it."""
    if name is not None:
        return next((executor for executor in executors if executor.name == name), None)
    if not platforms:
        return executors[0] if executors else None
    able = [executor for executor in executors if _can_build(executor, platforms)]
    native = [executor for executor in able if executor.platform in platforms]
    return next(iter((*native, *able)), None)


def stores(cache: BuildCache, access_point_id: str | None = None) -> Stores:
    """What the cache offers now, by its status: a store counts only while its condition is True, and none of a cache that goes."""
    usable = cache.spec.enabled and cache.metadata.deletion_timestamp is None
    ready = {condition.type for condition in cache.status.conditions if condition.status == "True"} if usable else set()
    registry, file_system = cache.status.registry, cache.status.file_system
    uri = (registry.repository_uri if registry else None) or ""
    scope = None
    if "FileSystemReady" in ready and access_point_id and cache.spec.file_system and file_system and file_system.id:
        scope = Scope(file_system.id, access_point_id)
    return Stores(uri, registry="RegistryReady" in ready and bool(uri), scope=scope)


def _can_build(executor: Executor, platforms: Sequence[str]) -> bool:
    """BuildKit's image brings emulators; Kaniko has none and makes one image."""
    return executor.engine != "Kaniko" or list(platforms) == [executor.platform]
