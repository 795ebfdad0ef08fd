"""Task definitions and RunTask requests: how a build becomes an ECS task. Pure; sent by `aws/ecs.py` and `aws/tasks.py`.

A task definition depends on its BuildCache only, so that it is registered once and not for every Build (AWS allows one a second):
what a Build adds travels as container overrides, which the request's length limit bounds.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildcache.api.build import Build
from buildcache.api.cache import BuildCacheSpec
from buildcache.api.ecr import ecr_host
from buildcache.api.executor import Executor

from . import engines, names
from .errors import Rejected
from .flags import (
    CACHES_PATH,
    CACHES_VOLUME,
    ENGINE_ENVIRONMENT,
    WORKSPACE,
    Flags,
    Scope,
    buildkit_options,
    efs_volume,
    kaniko_options,
)
from .names import Identity
from .status import Reason

FETCH, BUILD, REPORT = "fetch", "build", "report"
RUNNER_WORKSPACE = "/workspace"
"""Where `fetch` and `report` have the task volume, whatever the engine."""

STREAM_PREFIX = "build"
"""The log stream of a container is build/<container>/<task id>."""

PLATFORM_VERSION = "1.4.0"
"""Of Fargate tasks: the first with EFS. ECS refuses a platform version on EC2."""

OVERRIDES_LIMIT = 8192
"""Characters of the overrides' JSON, its structure included (ECS API reference, RunTask)."""

BUILDER = "buildcache"
_BUILDX_STATE = "/var/lib/buildcache/buildx"
_DOCKER_SOCKET = "/var/run/docker.sock"
_BUILDKIT_FOLDER = "/run/buildkit"

_CONNECT_RETRIES = "150"
"""How often buildctl-daemonless.sh looks for its daemon, with pauses that grow by 20 ms: four minutes. Its own 10 are two seconds."""

_PATIENT: Mapping[str, str] = {"mode": "non-blocking", "max-buffer-size": "25m"}
"""Log options of containers that must not stand still when CloudWatch does; their lines wait in a buffer."""

_FETCH_RESERVATION, _REPORT_RESERVATION = 128, 64
"""MiB. The containers run one after another, but ECS adds up their reservations and refuses more than the task has."""

DOCKER_SCRIPT = f"""\
docker buildx inspect {BUILDER} >/dev/null 2>&1 ||
  docker buildx create --name {BUILDER} --driver docker-container >/dev/null ||
  docker buildx inspect {BUILDER} >/dev/null || exit 1
progress=$(mktemp -u) && mkfifo "$progress" || exit 1
tee {WORKSPACE["Docker"]}/{engines.PROGRESS_FILE} <"$progress" &
: >{WORKSPACE["Docker"]}/{engines.STARTED_FILE}
docker "$@" >"$progress" 2>&1
code=$?
wait
exit $code
"""
"""Constant; the command's items are its positional parameters. The default docker driver exports no registry cache, so there must
be a builder; two tasks of one host may both find none, then the second one's `create` fails and the builder is there."""


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """What RegisterTaskDefinition is asked for, without tags."""

    request: Mapping[str, Any]
    """Keys that would be empty are absent: ECS tells the two apart."""

    content_hash: str
    """Of the request: a new revision is registered only when it changes."""


def task_definition(
    identity: Identity,
    spec: BuildCacheSpec,
    executor: Executor,
    *,
    runner_image: str,
) -> TaskDefinition:
    """The task definition of an executor; `mounting` makes of it the one that mounts a scope."""
    fargate = executor.launch_type == "Fargate"
    runner = {
        "image": runner_image,
        "entryPoint": ["python", "-m", "buildcache.runner"],
        "user": "0",  # a task volume belongs to root, and so does what the engine leaves there
        "mountPoints": [_workspace_mount(RUNNER_WORKSPACE)],
    }
    host_volumes = _host_volumes(executor)
    request: dict[str, Any] = {
        "family": names.family(identity, executor.name),
        "taskRoleArn": executor.task_role_arn,
        "executionRoleArn": executor.execution_role_arn,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE" if fargate else "EC2"],
        "cpu": str(executor.cpu),
        "memory": str(executor.memory),
        "volumes": [{"name": "workspace"}, *(_host_volume(name, path) for name, path, _ in host_volumes)],
        "containerDefinitions": [
            {
                **runner,
                "name": FETCH,
                "command": ["fetch"],
                "essential": False,
                "environment": _pairs(_fetch_environment(spec)),
                "memoryReservation": _FETCH_RESERVATION,
                "logConfiguration": _logs(identity, spec, _PATIENT),
            },
            {
                "name": BUILD,
                "image": engines.image(executor),
                "entryPoint": list(_entry_point(executor)),
                "essential": False,
                "dependsOn": [{"containerName": FETCH, "condition": "SUCCESS"}],
                # The hard limit is the container's own, so that ECS reports OutOfMemoryError for it.
                "memory": executor.memory,
                "memoryReservation": executor.memory - _FETCH_RESERVATION - _REPORT_RESERVATION,
                "environment": _pairs(_engine_environment(executor)),
                "mountPoints": [
                    _workspace_mount(WORKSPACE[executor.engine]),
                    *(_mount(name, path) for name, _, path in host_volumes),
                ],
                "logConfiguration": _logs(identity, spec, _PATIENT),
            },
            {
                **runner,
                "name": REPORT,
                "command": ["report"],
                "essential": True,
                "dependsOn": [{"containerName": BUILD, "condition": "COMPLETE"}],
                "memoryReservation": _REPORT_RESERVATION,
                "logConfiguration": _logs(identity, spec, {"mode": "blocking"}),
            },
        ],
    }
    build = request["containerDefinitions"][1]
    if executor.engine == "BuildKit" and not buildkit_options(executor).socket_path:
        build["privileged"] = True
    if executor.engine != "Kaniko":
        # Shells do not pass SIGTERM on; an init process ends them, else every cancelled build lasts until SIGKILL.
        build["linuxParameters"] = {"initProcessEnabled": True}
    if fargate:
        request["runtimePlatform"] = {
            "cpuArchitecture": "ARM64" if executor.platform == "linux/arm64" else "X86_64",
            "operatingSystemFamily": "LINUX",
        }
        if executor.ephemeral_storage_gib:
            request["ephemeralStorage"] = {"sizeInGiB": executor.ephemeral_storage_gib}
    else:
        architecture = "arm64" if executor.platform == "linux/arm64" else "x86_64"
        request["placementConstraints"] = [
            {"type": "memberOf", "expression": f"attribute:ecs.cpu-architecture == {architecture}"}
        ]
    return _definition(request)


def mounting(plain: TaskDefinition, family: str, scope: Scope) -> TaskDefinition:
    """The same task definition in a family of its own, with the scope mounted where Kaniko keeps its cache mounts."""
    fetch, build, report = plain.request["containerDefinitions"]
    build = {**build, "mountPoints": [*build["mountPoints"], _mount(CACHES_VOLUME, CACHES_PATH)]}
    return _definition(
        {
            **plain.request,
            "family": family,
            "volumes": [*plain.request["volumes"], efs_volume(scope)],
            "containerDefinitions": [fetch, build, report],
        }
    )


def _definition(request: Mapping[str, Any]) -> TaskDefinition:
    return TaskDefinition(request, hashlib.sha256(_compact(request).encode()).hexdigest()[:16])


def run_task(
    identity: Identity,
    spec: BuildCacheSpec,
    executor: Executor,
    build: Build,
    flags: Flags,
    command: Sequence[str],
    *,
    attempt: int,
    task_definition_arn: str,
    security_group_ids: Sequence[str],
) -> dict[str, Any]:
    """The RunTask request of one attempt. `identity` is the BuildCache's.

    No clock and no chance: the same attempt asks for the same thing, so ECS gives the same task to the same client token.
    Raises Rejected (LimitExceeded) when the Build's values are longer than ECS takes.
    """
    fargate = executor.launch_type == "Fargate"
    overrides = _overrides(executor, build, flags, command)
    length = len(_compact(overrides))
    if length > OVERRIDES_LIMIT:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"the build's values need {length} characters of the {OVERRIDES_LIMIT} that ECS takes with a task: "
            "use fewer or shorter build arguments, labels, images, or another source than inline",
        )
    network: dict[str, Any] = {"subnets": list(spec.network.subnet_ids), "securityGroups": list(security_group_ids)}
    if fargate:
        network["assignPublicIp"] = "ENABLED" if spec.network.assign_public_ip else "DISABLED"
    request: dict[str, Any] = {
        "cluster": spec.cluster_arn,
        "taskDefinition": task_definition_arn,
        "count": 1,
        "clientToken": names.run_token(identity.cluster_id, build.metadata.uid, attempt),
        "startedBy": names.started_by(build.metadata.uid),
        "networkConfiguration": {"awsvpcConfiguration": network},
        "overrides": overrides,
        "tags": [{"key": key, "value": value} for key, value in sorted(_owner_tags(identity, build).items())],
    }
    if executor.capacity_providers:
        request["capacityProviderStrategy"] = [
            {"capacityProvider": each.name, "weight": each.weight, "base": each.base}
            for each in executor.capacity_providers
        ]
    else:
        request["launchType"] = "FARGATE" if fargate else "EC2"
    if version := platform_version(executor):
        request["platformVersion"] = version
    return request


def platform_version(executor: Executor) -> str | None:
    """Fargate's platform version; None on EC2."""
    return PLATFORM_VERSION if executor.launch_type == "Fargate" else None


def _overrides(executor: Executor, build: Build, flags: Flags, command: Sequence[str]) -> dict[str, Any]:
    spec = build.spec
    fetch = {
        "SOURCE": _compact(spec.source.to_json()),
        "CONTEXT_DIR": spec.context_dir,
        "DOCKERFILE": spec.dockerfile,
    }
    registries = dict.fromkeys(filter(None, map(ecr_host, _references(build, flags))))
    if registries:
        fetch["REGISTRIES"] = ",".join(registries)
    report: dict[str, str] = {"ENGINE": executor.engine}
    if executor.engine == "Kaniko":
        options = kaniko_options(executor)
        report |= {"KANIKO_VERSION": options.version, "KANIKO_COPY_LAYERS": "true" if options.copy_layers else "false"}
    if spec.output.images:
        report["IMAGES"] = ",".join(spec.output.images)
    container: dict[str, Any] = {"name": BUILD, "command": list(command[1:])}  # the entry point is the program
    if flags.environment:
        container["environment"] = _pairs(flags.environment)
    return {
        "containerOverrides": [
            {"name": FETCH, "environment": _pairs(fetch)},
            container,
            {"name": REPORT, "environment": _pairs(report)},
        ]
    }


def _references(build: Build, flags: Flags) -> Iterable[str]:
    """What the build pushes and reads: the registries to log in to."""
    yield from build.spec.output.images
    if flags.ref:
        yield flags.ref
    if flags.reads:
        yield from build.spec.cache.import_from


def _owner_tags(identity: Identity, build: Build) -> dict[str, str]:
    owner = Identity(identity.cluster_id, build.metadata.namespace, build.metadata.name, build.metadata.uid)
    return names.owner_tags(owner)


def _entry_point(executor: Executor) -> tuple[str, ...]:
    if executor.engine == "Docker":
        return ("/bin/sh", "-c", DOCKER_SCRIPT, "docker")
    if executor.engine == "Kaniko":
        return ("/kaniko/executor",)
    return ("buildctl",) if buildkit_options(executor).socket_path else ("buildctl-daemonless.sh",)


def _fetch_environment(spec: BuildCacheSpec) -> dict[str, str]:
    """What `fetch` has from the BuildCache; a Build's own registries come with its request."""
    # Both, since boto3 reads only the second: agents before 1.104 give a task neither, later ones nothing beside one that is there.
    environment = {"AWS_REGION": spec.region, "AWS_DEFAULT_REGION": spec.region}
    if spec.registries:
        environment["FURTHER_REGISTRIES"] = ",".join(spec.registries)
    return environment


def _engine_environment(executor: Executor) -> dict[str, str]:
    environment = {
        "DOCKER_CONFIG": f"{WORKSPACE[executor.engine]}/.docker",
        **ENGINE_ENVIRONMENT.get(executor.engine, {}),
    }
    if executor.engine == "Docker":
        # The builder's record lives on the host beside the builder itself: each task of the host finds the same one.
        environment |= {"BUILDX_BUILDER": BUILDER, "BUILDX_CONFIG": _BUILDX_STATE}
    if executor.engine == "BuildKit":
        if socket := buildkit_options(executor).socket_path:
            environment["BUILDKIT_HOST"] = f"unix://{_BUILDKIT_FOLDER}/{posixpath.basename(socket)}"
        else:
            environment["BUILDCTL_CONNECT_RETRIES_MAX"] = _CONNECT_RETRIES
    return environment


def _host_volumes(executor: Executor) -> tuple[tuple[str, str, str], ...]:
    """Name, path on the host and path in the build container."""
    if executor.engine == "Docker":
        return (("docker-socket", _DOCKER_SOCKET, _DOCKER_SOCKET), ("buildx", _BUILDX_STATE, _BUILDX_STATE))
    if socket := buildkit_options(executor).socket_path:
        # Of the socket itself Docker would make a directory, as root, where buildkitd does not run yet.
        return (("buildkit", posixpath.dirname(socket), _BUILDKIT_FOLDER),)
    return ()


def _host_volume(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "host": {"sourcePath": path}}


def _mount(volume: str, path: str) -> dict[str, Any]:
    return {"sourceVolume": volume, "containerPath": path, "readOnly": False}


def _workspace_mount(path: str) -> dict[str, Any]:
    return _mount("workspace", path)


def _logs(identity: Identity, spec: BuildCacheSpec, delivery: Mapping[str, str]) -> dict[str, Any]:
    """Where a container's lines go. `delivery` is always said: what ECS does otherwise differs by account and date."""
    return {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": names.log_group_name(identity),
            "awslogs-region": spec.region,
            "awslogs-stream-prefix": STREAM_PREFIX,
            **delivery,
        },
    }


def _pairs(environment: Mapping[str, str]) -> list[dict[str, str]]:
    """ECS's form of an environment, in one order whatever the order it was made in."""
    return [{"name": name, "value": value} for name, value in sorted(environment.items())]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
