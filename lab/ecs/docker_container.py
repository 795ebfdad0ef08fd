"""From a container of an ECS task to the request that creates it in Docker. Pure; used by `docker_runtime.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lab.ecs import docker_privileges
from lab.ecs.task import Task

MIB = 1024 * 1024
BUILDKIT_CONFIGURATION = "/etc/buildkit/buildkitd.toml"


@dataclass(frozen=True, slots=True)
class Host:
    """What a container instance of ECS and its agent bring into every container."""

    label: Mapping[str, str]
    environment: Mapping[str, str]
    efs: Path
    """Holds a directory for each file system and access point."""
    missing_capabilities: Sequence[str] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where paths of an instance lie on this machine, for those that lie elsewhere."""


@dataclass(frozen=True, slots=True)
class Mounts:
    """The volumes of a task: what `-v` would be told, by volume name, and which of them the task brings into being."""

    sources: Mapping[str, str]
    owned: tuple[str, ...]
    """Docker volumes that live as long as the task."""
    folders: tuple[Path, ...]
    """Directories of file systems, made when they are first mounted."""


def mounts(task: Task, host: Host) -> Mounts:
    """Where each volume of the task lies on this machine."""
    sources: dict[str, str] = {}
    owned: list[str] = []
    folders: list[Path] = []
    for volume in task.definition.get("volumes") or ():
        name = volume["name"]
        if source := (volume.get("host") or {}).get("sourcePath"):
            sources[name] = host.paths.get(source, source)
        elif efs := volume.get("efsVolumeConfiguration"):
            folder = efs_folder(host.efs, efs)
            folders.append(folder)
            sources[name] = str(folder)
        else:
            sources[name] = f"ecs-{task.id}-{name}"
            owned.append(sources[name])
    return Mounts(sources, tuple(owned), tuple(folders))


def efs_folder(root: Path, configuration: Mapping[str, Any]) -> Path:
    """The directory that stands for a file system seen through an access point, or from a directory of its own."""
    file_system = root / str(configuration["fileSystemId"])
    access_point = (configuration.get("authorizationConfig") or {}).get("accessPointId")
    if access_point:
        return file_system / "access-points" / str(access_point)
    directory = PurePosixPath("/", configuration.get("rootDirectory") or "/")
    if ".." in directory.parts:
        raise ValueError(f"rootDirectory {directory} of {configuration['fileSystemId']} leaves the file system")
    return file_system / "root" / directory.relative_to("/")


def creation(
    task: Task, name: str, host: Host, sources: Mapping[str, str], configuration: Path | None
) -> dict[str, Any]:
    """Arguments of the SDK's `create_container`. `configuration` is buildkitd's, for an image that holds one."""
    definition = task.container_definition(name)
    privileged = bool(definition.get("privileged"))
    binds = [
        f"{sources[mount['sourceVolume']]}:{mount['containerPath']}:{'ro' if mount.get('readOnly') else 'rw'}"
        for mount in definition.get("mountPoints") or ()
    ]
    if configuration is not None:
        binds.append(f"{configuration}:{BUILDKIT_CONFIGURATION}:ro")
    settings: dict[str, Any] = {
        "NetworkMode": "host",
        "Memory": memory(task, definition) * MIB,
        "MemorySwap": memory(task, definition) * MIB,
        "MemoryReservation": int(definition.get("memoryReservation") or 0) * MIB,
        "CpuShares": int(definition.get("cpu") or 0),
        "ReadonlyRootfs": bool(definition.get("readonlyRootFilesystem")),
        "Init": bool((definition.get("linuxParameters") or {}).get("initProcessEnabled")),
        # Read by the runtime as it is written, and of no use afterwards.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}},
    }
    if privileged:
        settings |= docker_privileges.host_settings(host.missing_capabilities)
        binds += docker_privileges.binds(host.missing_capabilities)
    return {
        "image": definition["image"],
        "name": f"ecs-{task.id}-{name}",
        "entrypoint": definition.get("entryPoint") or None,
        "command": task.command_for(name),
        "environment": {**host.environment, **task.environment_for(name)},
        "user": definition.get("user"),
        "working_dir": definition.get("workingDirectory"),
        "labels": {
            **host.label,
            "com.amazonaws.ecs.task-arn": task.arn,
            "com.amazonaws.ecs.container-name": name,
        },
        "host_config": settings | {"Binds": binds},
    }


def memory(task: Task, definition: Mapping[str, Any]) -> int:
    """MiB that the container may have: its own limit, else the task's; 0 is no limit."""
    own = int(definition.get("memory") or 0)
    whole = int(task.overrides.get("memory") or task.definition.get("memory") or 0)
    return min(own or whole, whole or own)


def buildkit_configuration(registry: str, cgroup: str | None) -> str:
    """buildkitd.toml: the lab's registry speaks plain HTTP.

    With `cgroup`, the steps of a build run in that control group: a container that sees the machine's whole tree of groups
    would put them beside its own, out of reach of its memory limit.
    """
    text = f'[registry."{registry}"]\nhttp = true\n'
    return text if cgroup is None else f'{text}\n[worker.oci]\ndefaultCgroupParent = "{cgroup}"\n'
