"""How spec becomes flags: nothing else in the code makes a cache flag. Pure; asked by `resolve` for the Build pass and `explain`.

Everything is validated here or in the models, because the engines do not: BuildKit reads `mode=maximum` as min and ignores keys
that it does not know, Kaniko takes a tagged cache repository and then caches nothing, both with exit code 0.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildcache.api.build import BuildSpec
from buildcache.api.ecr import ecr_host
from buildcache.api.executor import (
    SAFE_COPY_KEYS,
    SCOPED_DOCKERIGNORE,
    BuildKitOptions,
    Engine,
    Executor,
    KanikoOptions,
)
from buildcache.api.meta import seconds
from buildcache.api.problems import Problem
from buildcache.api.stores import Export

CACHES_VOLUME = "kaniko-caches"
CACHES_PATH = "/kaniko/caches"
"""Where Kaniko keeps `RUN --mount=type=cache` directories. It belongs to the pinned executor: another path does nothing."""

WORKSPACE: Mapping[Engine, str] = {
    "BuildKit": "/workspace",
    "Docker": "/workspace",
    "Kaniko": "/kaniko/workspace",
}
"""Where the build container has the task volume. Kaniko builds in its own file system and leaves each mount out of images and cached
layers, so the volume is below Kaniko's directory, which is never part of an image: `/workspace` is the user's, as with BuildKit."""

ENGINE_ENVIRONMENT: Mapping[str, Mapping[str, str]] = {"Docker": {"DOCKER_BUILDKIT": "1"}}
"""What an engine's container always has, with the cache on or off."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_TAG_LENGTH = 128

_KEY_FLAGS = (
    "FF_KANIKO_HASH_DIR_FRAMING",
    "FF_KANIKO_RESOLVE_CACHE_KEY",
    "FF_KANIKO_ROLLING_CACHE_KEY",
    "FF_KANIKO_SKIP_WRITE_WHITEOUTS",
)


@dataclass(frozen=True, slots=True)
class Scope:
    """A directory for cache mounts on EFS that one service and architecture has to itself."""

    file_system_id: str
    access_point_id: str


@dataclass(frozen=True, slots=True)
class Stores:
    """What the cache offers at this moment. With `enabled: false` that is nothing: `registry` False and no scope."""

    repository_uri: str
    """As ECR returned it, never composed by the operator."""

    registry: bool
    """The layer cache may be used: enabled, and ready."""

    scope: Scope | None = None
    """Where Kaniko may keep cache mounts; None: no file system, or it is not ready."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume in the build container."""

    volume: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Something valid that will probably disappoint. `path` is the field to change."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Flags:
    """The cache's whole part of a build."""

    args: tuple[str, ...]
    """One unbroken run of the command."""

    environment: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    warnings: tuple[Notice, ...] = ()
    ref: str | None = None
    """Where the layer cache of this build is; None: it is not used."""

    reads: bool = False
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The specs do not go together; each problem names the field to change."""

    problems: tuple[Problem, ...]


def render(executor: Executor, export: Export, build: BuildSpec, stores: Stores) -> Flags | Refused:
    """The one function from spec to flags: total and deterministic for specs that the models accept."""
    problems = (*registry_problems(export, stores.repository_uri or None), *_problems(executor, export, build))
    if problems:
        return Refused(problems)
    mode = build.cache.mode
    reads = stores.registry and mode in ("ReadWrite", "ReadOnly")
    writes = stores.registry and mode in ("ReadWrite", "Refresh")
    ref = None
    if reads or writes:
        ref = stores.repository_uri
        if executor.engine != "Kaniko":
            ref += f":{tag(build.service, export.tag_suffix, _platform_of_tag(executor, export, build))}"
    scope = stores.scope if executor.engine == "Kaniko" and mode == "ReadWrite" else None
    args = _kaniko if executor.engine == "Kaniko" else _buildkit
    return Flags(
        args=tuple(args(executor, export, build, ref, reads, writes)),
        environment=_environment(executor, stores, used=ref is not None),
        mounts=(Mount(CACHES_VOLUME, CACHES_PATH),) if scope else (),
        volumes=(efs_volume(scope),) if scope else (),
        warnings=tuple(_warnings(executor, export, build, writes=writes)),
        ref=ref,
        reads=reads,
        writes=writes,
    )


def registry_problems(export: Export, repository_uri: str | None) -> tuple[Problem, ...]:
    """What a BuildCache's export options and its registry have against each other; without a URI the registry is ECR."""
    if export.image_manifest or not (repository_uri is None or ecr_host(repository_uri)):
        return ()
    return (
        Problem(
            "spec.registry.export.imageManifest", "must be true on ECR, which takes a cache only as an image manifest"
        ),
    )


def tag(service: str, suffix: str, platform: str | None = None) -> str:
    """Tag of a service's cache: the service's name where that is legal, else a readable form of it made unique by a hash."""
    end = f".{platform.replace('/', '-')}.{suffix}" if platform else f".{suffix}"
    if _TAG.fullmatch(service + end):
        return service + end
    unique = f"-{hashlib.sha256(service.encode()).hexdigest()[:8]}"
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", service).lstrip(".-")[: _TAG_LENGTH - len(unique + end)].rstrip(".-")
    return (readable or "svc") + unique + end


def efs_volume(scope: Scope) -> dict[str, Any]:
    """The ECS volume of a scope. An access point has its own root directory, so naming one is an error of ECS."""
    return {
        "name": CACHES_VOLUME,
        "efsVolumeConfiguration": {
            "fileSystemId": scope.file_system_id,
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": scope.access_point_id, "iam": "ENABLED"},
        },
    }


def kaniko_options(executor: Executor) -> KanikoOptions:
    """The executor's Kaniko options, or the defaults."""
    return executor.kaniko or KanikoOptions()


def buildkit_options(executor: Executor) -> BuildKitOptions:
    """The executor's BuildKit options, or the defaults."""
    return executor.buildkit or BuildKitOptions()


def _problems(executor: Executor, export: Export, build: BuildSpec) -> Iterator[Problem]:
    """Rules between a Build and the executor that it gets. Rules inside one object are in the models."""
    several = len(build.platforms) > 1
    if executor.engine == "Kaniko":
        if several:
            yield Problem("spec.platforms", f"must be at most one: executor {executor.name} has engine Kaniko")
        if build.no_cache_filter:
            yield Problem("spec.noCacheFilter", f"must be empty: executor {executor.name} has engine Kaniko")
    elif several and export.per_platform:
        yield Problem("spec.platforms", "must be at most one: the BuildCache has registry.export.perPlatform")


def _platform_of_tag(executor: Executor, export: Export, build: BuildSpec) -> str | None:
    if not export.per_platform:
        return None
    return build.platforms[0] if build.platforms else executor.platform


def _export_value(export: Export, ref: str) -> str:
    """The export's attributes, in the order of the reference system: its caches and ours are then the same."""
    parts = [
        "type=registry",
        f"ref={ref}",
        f"mode={export.mode}",
        f"image-manifest={_boolean(export.image_manifest)}",
        f"oci-mediatypes={_boolean(export.oci_media_types)}",
        *(["ignore-error=true"] if export.ignore_error else []),
        f"compression={export.compression}",
        *([f"compression-level={export.compression_level}"] if export.compression_level is not None else []),
        *(["force-compression=true"] if export.force_compression else []),
    ]
    return ",".join(parts)


def _import_value(export: Export, ref: str) -> str:
    # No importer reads ignore-error: a failed import never fails a build. It is there because the reference system sends it.
    return f"type=registry,ref={ref}" + (",ignore-error=true" if export.ignore_error else "")


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _buildkit(
    executor: Executor, export: Export, build: BuildSpec, ref: str | None, reads: bool, writes: bool
) -> Iterator[str]:
    buildctl = executor.engine == "BuildKit"
    if ref and writes:
        yield from ("--export-cache" if buildctl else "--cache-to", _export_value(export, ref))
    if ref and reads:
        for each in dict.fromkeys((ref, *build.cache.import_from)):
            yield from ("--import-cache" if buildctl else "--cache-from", _import_value(export, each))
    if build.cache.mode in ("Refresh", "None"):
        yield "--no-cache"
    stages, platforms = build.no_cache_filter, ",".join(build.platforms)
    if buildctl:
        if stages:
            yield from ("--opt", f"no-cache={','.join(stages)}")
        if platforms:
            yield from ("--opt", f"platform={platforms}")
        if namespace := buildkit_options(executor).mount_namespace:
            yield from ("--opt", f"build-arg:BUILDKIT_CACHE_MOUNT_NS={namespace}")
        return
    for stage in stages:
        yield from ("--no-cache-filter", stage)
    if platforms:
        yield from ("--platform", platforms)


def _kaniko(
    executor: Executor, export: Export, build: BuildSpec, ref: str | None, reads: bool, writes: bool
) -> Iterator[str]:
    options = kaniko_options(executor)
    if ref is None:
        yield "--cache=false"
    else:
        yield from ("--cache=true", f"--cache-repo={ref}")
        if not reads:
            yield "--cache-ttl=0s"  # nothing is young enough to be used, all is pushed again
        elif options.ttl:
            yield f"--cache-ttl={go_duration(options.ttl)}"
        if options.copy_layers:
            yield "--cache-copy-layers=true"
        if not options.run_layers:
            yield "--cache-run-layers=false"
        if not options.compressed_caching:
            yield "--compressed-caching=false"
        if not writes:
            yield "--no-push-cache"
    if not build.output.push:
        yield from (f"--tar-path={WORKSPACE[executor.engine]}/image.tar", "--no-push")
        if writes and export.ignore_error:
            # With --no-push the executor checks its right to push to the cache repository and fails the build without it.
            yield "--skip-push-permission-check"
    if build.platforms:
        yield f"--custom-platform={build.platforms[0]}"


def go_duration(duration: str) -> str:
    """A duration as Go reads it: `14d` → `336h`. Go has no days, and Kaniko stops at `14d`."""
    if "d" not in duration:
        return duration
    hours, rest = divmod(seconds(duration), 3600)
    return f"{hours}h" + (f"{rest}s" if rest else "")


def _environment(executor: Executor, stores: Stores, *, used: bool) -> dict[str, str]:
    environment = dict(ENGINE_ENVIRONMENT.get(executor.engine, {}))
    if stores.registry:
        environment |= {"BUILD_CACHE": "true", "BUILD_CACHE_REPO": stores.repository_uri}
    if executor.engine == "Kaniko" and used:
        version = kaniko_options(executor).release
        if version >= SAFE_COPY_KEYS:
            environment |= dict.fromkeys(_KEY_FLAGS, "true")
        elif version[:2] == (1, 27):
            environment["FF_KANIKO_OCI_STAGES"] = "0"  # on by default in 1.27 only; unknown to 1.28
        if version >= SCOPED_DOCKERIGNORE:
            environment["FF_KANIKO_SCOPED_DOCKERIGNORE"] = "true"
    return environment


def _warnings(executor: Executor, export: Export, build: BuildSpec, *, writes: bool) -> Iterator[Notice]:
    if build.cache.import_from and executor.engine == "Kaniko":
        yield Notice("spec.cache.importFrom", "is not read: Kaniko reads only the cache's own repository")
    elif build.cache.import_from and build.cache.mode in ("Refresh", "None"):
        yield Notice("spec.cache.importFrom", f"is not read: with mode {build.cache.mode} nothing is imported")
    if executor.engine == "Kaniko":
        if kaniko_options(executor).release < SAFE_COPY_KEYS:
            yield Notice(
                f"spec.executors[{executor.name}].kaniko.version",
                "is older than 1.28.1: its cache keys can collide, so that a layer of another build argument is used, and they take "
                "no notice of a change inside a heredoc (RUN <<EOF, COPY <<EOF)",
            )
        if build.platforms and build.platforms[0] != executor.platform:
            yield Notice(
                "spec.platforms", f"is not the executor's {executor.platform}: Kaniko has no emulation, RUN steps fail"
            )
        return
    options = buildkit_options(executor)
    if options.socket_path and not options.mount_namespace:
        yield Notice(
            f"spec.executors[{executor.name}].buildkit.mountNamespace",
            "is missing on a shared daemon: other users of the daemon share, and can poison, the cache mounts",
        )
    if not writes:
        return
    if export.compression == "estargz" and not export.force_compression:
        yield Notice(
            "spec.registry.export.compression",
            "estargz without forceCompression does nothing for layers that the image already has; gzip shares them",
        )
    if export.mode == "max" and export.ignore_error and executor.image:
        yield Notice(
            f"spec.executors[{executor.name}].image",
            "is not the pinned engine: whether it reports its cache export is not known, and ignoreError hides a failed one",
        )
