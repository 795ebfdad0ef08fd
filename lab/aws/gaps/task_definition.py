"""Why ECS would refuse to register a task definition. Pure; called by `ecs.py`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lab.ecs import containers

MAX_BYTES = 64 * 1024
MAX_CONTAINERS = 10
NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")

FARGATE_MEMORY: Mapping[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
    8192: tuple(range(16384, 61440 + 1, 4096)),
    16384: tuple(range(32768, 122880 + 1, 8192)),
}
"""MiB of memory that go with each number of CPU units on Fargate."""


def problem(request: Mapping[str, Any]) -> str | None:
    """Return the first reason to refuse, or None."""
    return next(_problems(request), None)


def _problems(request: Mapping[str, Any]) -> Iterator[str]:
    definitions = request.get("containerDefinitions") or []
    if not NAME.fullmatch(request.get("family") or ""):
        yield "Family contains invalid characters. Use up to 255 letters, numbers, hyphens and underscores."
    if len(json.dumps(request, separators=(",", ":"), default=str)) > MAX_BYTES:
        yield "Actual length of the task definition is greater than the maximum of 65536 bytes."
    if not 1 <= len(definitions) <= MAX_CONTAINERS:
        yield f"Container list must have 1 to {MAX_CONTAINERS} containers."
    names = [definition.get("name") or "" for definition in definitions]
    if not all(NAME.fullmatch(name) for name in names):
        yield "Container name contains invalid characters. Use up to 255 letters, numbers, hyphens and underscores."
    if len(set(names)) != len(names):
        yield "Container names must be unique within a task definition."
    if not any(definition.get("essential", True) for definition in definitions):
        yield "Invalid setting for containers: at least one container must be essential."
    order = containers.problem(containers.specs(definitions))
    if order is not None:
        yield order
    yield from _sizes(request, definitions)
    yield from _volumes(request, definitions)
    for definition in definitions:
        yield from _logging(definition)
    if "FARGATE" in (request.get("requiresCompatibilities") or ()):
        yield from _fargate(request, definitions)
    elif request.get("ephemeralStorage"):
        yield "Ephemeral storage is only supported on Fargate."


def _sizes(request: Mapping[str, Any], definitions: list[Mapping[str, Any]]) -> Iterator[str]:
    memory, cpu = _mebibytes(request.get("memory")), _units(request.get("cpu"))
    if memory is None:
        yield "Invalid 'memory' setting for task."
        return
    if cpu is None:
        yield "Invalid 'cpu' setting for task."
        return
    for definition in definitions:
        if memory and int(definition.get("memory") or definition.get("memoryReservation") or 0) > memory:
            yield f"Invalid setting for container '{definition['name']}'. The memory must not exceed that of the task."
        if definition.get("memory") and int(definition.get("memoryReservation") or 0) > int(definition["memory"]):
            yield f"Invalid setting for container '{definition['name']}'. memoryReservation must not exceed memory."
        if len(definition.get("image") or "") == 0:
            yield f"Container.image should not be null or empty, see container '{definition['name']}'."
    if cpu and sum(int(definition.get("cpu") or 0) for definition in definitions) > cpu:
        yield "Invalid setting for containers: their total cpu must not exceed that of the task."


def _volumes(request: Mapping[str, Any], definitions: list[Mapping[str, Any]]) -> Iterator[str]:
    volumes = request.get("volumes") or []
    names = [volume.get("name") for volume in volumes]
    if len(set(names)) != len(names):
        yield "Volume names must be unique within a task definition."
    for definition in definitions:
        for mount in definition.get("mountPoints") or ():
            if mount.get("sourceVolume") not in names:
                yield f"Unknown volume '{mount.get('sourceVolume')}'."
    for volume in volumes:
        efs = volume.get("efsVolumeConfiguration")
        if not efs:
            continue
        authorization = efs.get("authorizationConfig") or {}
        encrypted = efs.get("transitEncryption") == "ENABLED"
        if authorization.get("accessPointId") and efs.get("rootDirectory", "/") != "/":
            yield "rootDirectory must be omitted or set to / when an EFS access point is used."
        if authorization.get("accessPointId") and not encrypted:
            yield "EFS transit encryption must be enabled when an EFS access point is used."
        if authorization.get("iam") == "ENABLED" and not encrypted:
            yield "EFS transit encryption must be enabled when EFS IAM authorization is used."


def _logging(definition: Mapping[str, Any]) -> Iterator[str]:
    configuration = definition.get("logConfiguration") or {}
    if configuration.get("logDriver") == "awslogs":
        missing = {"awslogs-group", "awslogs-region"} - set(configuration.get("options") or ())
        if missing:
            yield f"Log driver awslogs requires options: {', '.join(sorted(missing))}"


def _fargate(request: Mapping[str, Any], definitions: list[Mapping[str, Any]]) -> Iterator[str]:
    if request.get("networkMode") != "awsvpc":
        yield "Fargate only supports network mode ‘awsvpc’."
    for key in ("cpu", "memory"):
        if not request.get(key):
            yield f"Fargate requires that '{key}' be defined at the task level."
    if _mebibytes(request.get("memory")) not in FARGATE_MEMORY.get(_units(request.get("cpu")) or 0, ()):
        yield "No Fargate configuration exists for given values."
    if any((volume.get("host") or {}).get("sourcePath") for volume in request.get("volumes") or ()):
        yield "Volumes with host.sourcePath are not supported on Fargate."
    size = (request.get("ephemeralStorage") or {}).get("sizeInGiB")
    if size is not None and not 21 <= size <= 200:
        yield "Ephemeral storage size must be between 21 and 200 GiB."
    for definition in definitions:
        if definition.get("privileged"):
            yield f"Fargate does not support privileged containers, see container '{definition['name']}'."
        if definition.get("dockerSecurityOptions"):
            yield f"Fargate does not support dockerSecurityOptions, see container '{definition['name']}'."
        timeout = definition.get("stopTimeout")
        if timeout is not None and timeout > 120:
            yield "Invalid setting for stopTimeout: on Fargate it is at most 120 seconds."
        configuration = definition.get("logConfiguration") or {}
        if configuration.get("logDriver") == "awslogs":
            if not request.get("executionRoleArn"):
                yield "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            if "awslogs-stream-prefix" not in configuration.get("options", {}):
                yield "Log driver awslogs requires option awslogs-stream-prefix on Fargate."


def _units(cpu: str | None) -> int | None:
    """Read CPU units from a number or from `1 vCPU`; 0 when absent, None when it is neither."""
    found = re.fullmatch(r"([0-9.]+)\s*(vcpu)?", (cpu or "0").strip().lower())
    return None if found is None else int(float(found.group(1)) * (1024 if found.group(2) else 1))


def _mebibytes(memory: str | None) -> int | None:
    """Read MiB from a number or from `1 GB`; 0 when absent, None when it is neither."""
    found = re.fullmatch(r"([0-9.]+)\s*(gb)?", (memory or "0").strip().lower())
    return None if found is None else int(float(found.group(1)) * (1024 if found.group(2) else 1))
