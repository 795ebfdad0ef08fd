"""Ways to run a build: an engine with its options on a kind of ECS capacity."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .meta import (
    Api,
    ImageRef,
    LongDuration,
    Pattern,
    RoleARN,
    refuse,
)
from .rules import rule, rules

Engine = Literal["BuildKit", "Docker", "Kaniko"]

FARGATE_MEMORY: Mapping[int, Sequence[int]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
"""CPU units → memory in MiB that Fargate accepts (Amazon ECS developer guide, "Task CPU and memory")."""


class CapacityProvider(Api):
    """One item of a capacity provider strategy."""

    name: Annotated[
        str,
        Field(max_length=255, description="Name of a capacity provider of the cluster."),
        Pattern(r"[A-Za-z0-9_-]{1,255}", "must be the name of a capacity provider of the cluster"),
    ]
    weight: Annotated[int, Field(ge=0, le=1000, description="Share of the tasks beyond base.")] = 1
    base: Annotated[int, Field(ge=0, le=100000, description="Tasks placed here before the weights count.")] = 0


class BuildKitOptions(Api):
    """Options of the engine BuildKit."""

    socket_path: Annotated[
        str | None,
        Field(
            max_length=255,
            description="Socket of the host's buildkitd. The build container sees the folder that holds it, which should hold "
            "nothing else. None: each task runs its own daemon (privileged).",
        ),
        Pattern(
            r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,}",
            "must be the absolute path of a socket in a folder of its own such as /run/buildkit/buildkitd.sock: "
            "letters, digits and . _ -, no part of it beginning with a dot",
        ),
    ] = None
    mount_namespace: Annotated[
        str | None,
        Field(max_length=128, description="Keeps the cache mounts of this cache apart on a daemon that others share."),
        Pattern(r"[A-Za-z0-9._-]+", "must be letters, digits and . _ -"),
    ] = None


def version_since(path: str, major: int, minor: int, patch: int) -> str:
    """CEL: the version at that path is this one or newer."""
    parts = f"{path}.split('.').map(part, int(part))"
    return f"[{parts}].all(v, v[0] * 1000000 + v[1] * 1000 + v[2] >= {major * 1000000 + minor * 1000 + patch})"


SAFE_COPY_KEYS = (1, 28, 1)
"""First Kaniko that can tell COPY layers of different build arguments apart (FF_KANIKO_RESOLVE_CACHE_KEY)."""

SCOPED_DOCKERIGNORE = (1, 27, 6)
"""First Kaniko that can keep .dockerignore to the build context. Else it holds for `COPY --from` too, and an ignored file of another
stage is in no key: the RUN after it is served with what the file was before."""

CACHES_ON_A_VOLUME = (1, 26, 5)
"""First Kaniko that moves cache directories across file systems; older ones fail or ignore `RUN --mount=type=cache`."""

_TTL = "([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,9}s)?"


class KanikoOptions(Api):
    """Options of the engine Kaniko."""

    model_config = rules(
        rule(
            f"!self.copyLayers || {version_since('self.version', *SAFE_COPY_KEYS)}",
            "copyLayers needs version 1.28.1 or newer: older ones can serve a stale COPY layer",
            fieldPath=".copyLayers",
        ),
        rule(
            f"!has(self.ttl) || self.ttl.matches('^{_TTL}$')",
            "ttl must be days, hours, minutes and seconds in this order, of at most 4, 5, 6 and 9 digits",
            fieldPath=".ttl",
        ),
    )

    version: Annotated[
        str,
        Field(max_length=16, description="Version of the osscontainertools fork; decides which flags are sent."),
        Pattern(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", "must be a version such as 1.28.3"),
    ] = "1.28.3"
    ttl: Annotated[
        LongDuration | None, Field(description="Layers older than this are not used. None: Kaniko's own 336h.")
    ] = None
    copy_layers: Annotated[bool, Field(description="Cache COPY layers too.")] = False
    run_layers: Annotated[bool, Field(description="Cache RUN layers.")] = True
    compressed_caching: Annotated[
        bool, Field(description="Compress layers in memory; false saves memory on large ones.")
    ] = True

    @property
    def release(self) -> tuple[int, ...]:
        """The version as numbers, to be compared."""
        return tuple(int(part) for part in self.version.split("."))

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.copy_layers and self.release < SAFE_COPY_KEYS:
            raise refuse("copyLayers", "needs version 1.28.1 or newer: older ones can serve a stale COPY layer")
        if self.ttl is not None and not re.fullmatch(_TTL, self.ttl):
            raise refuse(
                "ttl", "must be days, hours, minutes and seconds in this order, of at most 4, 5, 6 and 9 digits"
            )
        return self


def _among(memory: Sequence[int]) -> str:
    """CEL: self.memory is one of these."""
    if not isinstance(memory, range):
        return f"self.memory in {list(memory)}"
    return f"self.memory >= {memory.start} && self.memory <= {memory[-1]} && self.memory % {memory.step} == 0"


_FARGATE_CEL = " || ".join(f"(self.cpu == {cpu} && {_among(memory)})" for cpu, memory in FARGATE_MEMORY.items())


class Executor(Api):
    """A way to run a build: an engine on a kind of ECS capacity."""

    model_config = rules(
        rule(
            "self.engine == 'Kaniko' || self.launchType == 'EC2'",
            "BuildKit and Docker need launchType EC2",
            fieldPath=".launchType",
        ),
        rule(
            "self.engine == 'BuildKit' || !has(self.buildkit)",
            "buildkit is allowed only with engine BuildKit",
            fieldPath=".buildkit",
        ),
        rule(
            "self.engine == 'Kaniko' || !has(self.kaniko)",
            "kaniko is allowed only with engine Kaniko",
            fieldPath=".kaniko",
        ),
        rule(
            f"self.launchType != 'Fargate' || {_FARGATE_CEL}",
            "memory is not one that Fargate offers with this cpu",
            fieldPath=".memory",
        ),
        rule(
            "self.launchType == 'Fargate' || !has(self.ephemeralStorageGiB)",
            "ephemeralStorageGiB is allowed only on Fargate",
            fieldPath=".ephemeralStorageGiB",
        ),
    )

    name: Annotated[
        str,
        Field(max_length=63, description="Name that Builds refer to."),
        Pattern(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", "must be lower-case letters, digits and -"),
    ]
    engine: Annotated[Engine, Field(description="What builds. BuildKit and Docker need EC2.")]
    launch_type: Annotated[Literal["EC2", "Fargate"], Field(description="ECS capacity that runs the tasks.")]
    platform: Annotated[Literal["linux/amd64", "linux/arm64"], Field(description="Architecture of the tasks.")] = (
        "linux/amd64"
    )
    image: Annotated[ImageRef | None, Field(description="Image of the engine. None: the pinned default.")] = None
    cpu: Annotated[int, Field(ge=128, le=196608, description="ECS CPU units; 1024 is one vCPU.")] = 2048
    memory: Annotated[
        int, Field(ge=512, le=1048576, description="MiB. On Fargate a pair that AWS offers with cpu.")
    ] = 8192
    ephemeral_storage_gib: Annotated[int | None, Field(ge=21, le=200, description="Disk of a Fargate task in GiB.")] = (
        None
    )
    task_role_arn: Annotated[
        RoleARN, Field(description="Role of the containers: registry, source bucket, file system.")
    ]
    execution_role_arn: Annotated[RoleARN, Field(description="Role by which ECS pulls images and writes logs.")]
    capacity_providers: Annotated[
        tuple[CapacityProvider, ...],
        Field(
            max_length=6,
            description="Capacity providers instead of the launch type.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    buildkit: BuildKitOptions | None = None
    kaniko: KanikoOptions | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.engine != "Kaniko" and self.launch_type != "EC2":
            raise refuse("launchType", f"must be EC2: {self.engine} needs privileges that Fargate does not give")
        if self.buildkit is not None and self.engine != "BuildKit":
            raise refuse("buildkit", "is allowed only with engine BuildKit")
        if self.kaniko is not None and self.engine != "Kaniko":
            raise refuse("kaniko", "is allowed only with engine Kaniko")
        if self.launch_type == "Fargate":
            memory = FARGATE_MEMORY.get(self.cpu)
            if memory is None:
                raise refuse("cpu", f"must be one that Fargate offers: {', '.join(map(str, FARGATE_MEMORY))}")
            if self.memory not in memory:
                offered = (
                    f"{memory.start}..{memory[-1]} in steps of {memory.step}"
                    if isinstance(memory, range)
                    else " or ".join(map(str, memory))
                )
                raise refuse("memory", f"must be {offered} on Fargate with cpu {self.cpu}")
        elif self.ephemeral_storage_gib is not None:
            raise refuse("ephemeralStorageGiB", "is allowed only on Fargate")
        return self
