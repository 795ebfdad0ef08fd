"""The whole command of each engine. Only `flags.args` depends on the cache: with the cache off, nothing else of a command changes.

What explains itself starts with the program; what an ECS container overrides is the rest, because the task definition's entry point
is the program or its constant wrapper (`tasks`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping

from buildcache.api.build import BuildSpec
from buildcache.api.executor import Engine, Executor

from .flags import WORKSPACE, Flags, kaniko_options

METADATA_FILE = "out/metadata.json"
METRICS_FILE = "out/metrics.json"
TRACE_FILE = "out/trace.json"
PROGRESS_FILE = "out/progress.log"
STARTED_FILE = "out/started"
DIGEST_FILE = "out/digest"
"""What `report` reads, below the task volume: BuildKit writes metadata, metrics and trace; Docker metadata, its progress, and by the age
of an empty file when it began; Kaniko the digest."""

_UNPUSHED = "image.invalid/unpushed:latest"
"""Kaniko writes no archive without a destination, also when nothing is pushed; the name is reserved, so it reaches nobody."""


def image(executor: Executor) -> str:
    """The executor's own image, or the pinned default of its engine."""
    if executor.image:
        return executor.image
    if executor.engine == "Kaniko":
        return f"ghcr.io/osscontainertools/kaniko:v{kaniko_options(executor).version}"
    return {"BuildKit": "moby/buildkit:v0.32.2", "Docker": "docker:29.1.3-cli"}[executor.engine]


def command(executor: Executor, build: BuildSpec, flags: Flags) -> tuple[str, ...]:
    """The command as `explain` shows it. Each user value is one item, or a part of one that cannot end it."""
    return (*_PROGRAMS[executor.engine], *flags.args, *_REST[executor.engine](build, WORKSPACE[executor.engine]))


def context_path(build: BuildSpec, workspace: str) -> str:
    """The build context inside the build container, which has the task volume at `workspace`."""
    return posixpath.normpath(posixpath.join(workspace, "src", build.context_dir))


def dockerfile_path(build: BuildSpec, workspace: str) -> str:
    """The Dockerfile inside the build container."""
    return posixpath.normpath(posixpath.join(context_path(build, workspace), build.dockerfile))


def _buildctl(build: BuildSpec, workspace: str) -> Iterator[str]:
    directory, name = posixpath.split(dockerfile_path(build, workspace))
    yield from ("--progress", "plain", "--frontend", "dockerfile.v0")
    yield from ("--local", f"context={context_path(build, workspace)}", "--local", f"dockerfile={directory}")
    yield from ("--opt", f"filename={name}")
    if build.target:
        yield from ("--opt", f"target={build.target}")
    for argument in build.build_args:
        yield from ("--opt", f"build-arg:{argument.name}={argument.value}")
    for key, value in sorted(build.output.labels.items()):
        yield from ("--opt", f"label:{key}={value}")
    if build.output.push:
        # The value is one CSV record, so the names are one quoted field of it.
        yield from ("--output", f'type=image,"name={",".join(build.output.images)}",push=true')
    yield from ("--metadata-file", f"{workspace}/{METADATA_FILE}")
    yield from ("--debug-json-cache-metrics", f"{workspace}/{METRICS_FILE}", "--trace", f"{workspace}/{TRACE_FILE}")


def _buildx(build: BuildSpec, workspace: str) -> Iterator[str]:
    # An attestation would make the image an index, as buildctl does not by default.
    yield from ("--progress", "plain", "--provenance=false", "--file", dockerfile_path(build, workspace))
    if build.target:
        yield from ("--target", build.target)
    for argument in build.build_args:
        yield from ("--build-arg", f"{argument.name}={argument.value}")
    for key, value in sorted(build.output.labels.items()):
        yield from ("--label", f"{key}={value}")
    if build.output.push:
        for name in build.output.images:
            yield from ("--tag", name)
        yield "--push"
    yield from ("--metadata-file", f"{workspace}/{METADATA_FILE}", context_path(build, workspace))


def _executor(build: BuildSpec, workspace: str) -> Iterator[str]:
    yield f"--dockerfile={dockerfile_path(build, workspace)}"
    yield f"--context=dir://{context_path(build, workspace)}"
    if build.target:
        yield f"--target={build.target}"
    for argument in build.build_args:
        yield f"--build-arg={argument.name}={argument.value}"
    for key, value in sorted(build.output.labels.items()):
        yield f"--label={key}={value}"
    for name in build.output.images if build.output.push else (_UNPUSHED,):
        yield f"--destination={name}"
    yield f"--digest-file={workspace}/{DIGEST_FILE}"


_PROGRAMS: Mapping[Engine, tuple[str, ...]] = {
    "BuildKit": ("buildctl", "build"),
    "Docker": ("docker", "buildx", "build"),
    "Kaniko": ("/kaniko/executor",),
}
_REST: Mapping[Engine, Callable[[BuildSpec, str], Iterator[str]]] = {
    "BuildKit": _buildctl,
    "Docker": _buildx,
    "Kaniko": _executor,
}
