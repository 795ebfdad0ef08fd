"""The kind BuildCache: a build cache as an object. The rules here are those of the CRD, which is generated from this module."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from .meta import (
    TAG_PREFIX,
    Api,
    Conditions,
    Duration,
    ImageRef,
    KeyARN,
    Kind,
    LongDuration,
    Pattern,
    Region,
    RepositoryName,
    RoleARN,
    refuse,
    seconds,
)

Management = Literal["Managed", "Observed"]
Engine = Literal["BuildKit", "Docker", "Kaniko"]

FARGATE_MEMORY: Mapping[int, range] = {
    256: range(512, 2049, 512),
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}
"""CPU units → memory in MiB that Fargate accepts (Amazon ECS developer guide, "Task CPU and memory")."""

COMPRESSION_LEVELS: Mapping[str, int] = {"gzip": 9, "estargz": 9, "zstd": 22}
"""Compression → its highest level; what is missing here has no level (BuildKit, util/compression)."""


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """A CEL rule of the CRD."""
    return {"rule": expression, "message": message, **more}


def immutable(*fields: str) -> list[dict[str, str]]:
    """CEL rules: each optional field keeps its value once it is set."""
    return [
        rule(
            f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
            f"{name} is immutable once it is set",
        )
        for name in fields
    ]


def rules(*each: dict[str, str]) -> ConfigDict:
    """Model configuration that adds CEL rules to the schema."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [dict(each_rule) for each_rule in each]})


class Network(Api):
    """Where build tasks and mount targets live."""

    model_config = rules(rule("self.vpcID == oldSelf.vpcID", "vpcID is immutable"))

    vpc_id: Annotated[
        str,
        Field(max_length=32, description="VPC of build tasks and mount targets. Immutable."),
        Pattern(r"vpc-[0-9a-f]{8,17}", "must be a VPC id such as vpc-0a1b2c3d4e5f60718"),
    ]
    subnet_ids: Annotated[
        tuple[
            Annotated[
                str,
                Field(max_length=32),
                Pattern(r"subnet-[0-9a-f]{8,17}", "must be a subnet id such as subnet-0a1b2c3d4e5f60718"),
            ],
            ...,
        ],
        Field(
            min_length=1,
            max_length=16,
            description="Subnets of build tasks; each zone gets one mount target, in the first subnet listed for it.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ]
    assign_public_ip: Annotated[bool, Field(description="Give tasks a public address (Fargate only).")] = False
    security_group_ids: Annotated[
        tuple[
            Annotated[
                str,
                Field(max_length=32),
                Pattern(r"sg-[0-9a-f]{8,17}", "must be a security group id such as sg-0a1b2c3d4e5f60718"),
            ],
            ...,
        ],
        Field(
            max_length=5,
            description="Existing groups for build tasks. Empty: the operator makes one that allows egress only.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()


class Export(Api):
    """Options of the registry cache export of the BuildKit engines."""

    model_config = rules(
        rule(
            "self.ociMediaTypes || !(self.imageManifest || self.compression in ['estargz', 'zstd'])",
            "ociMediaTypes must be true with imageManifest, and with compression estargz or zstd",
            fieldPath=".ociMediaTypes",
        ),
        rule(
            "!has(self.compressionLevel) || (self.compression == 'zstd' && self.compressionLevel <= 22) || "
            "(self.compression in ['gzip', 'estargz'] && self.compressionLevel <= 9)",
            "compressionLevel must be 0..9 for gzip and estargz, 0..22 for zstd, absent for uncompressed",
            fieldPath=".compressionLevel",
        ),
    )

    mode: Annotated[
        Literal["max", "min"],
        Field(description="max keeps every stage, min only the layers of the result. Multi-stage builds need max."),
    ] = "max"
    compression: Annotated[
        Literal["estargz", "gzip", "zstd", "uncompressed"],
        Field(
            description="Compression of new layers. gzip, the image's own, is usually the better choice: cache and image then share layers."
        ),
    ] = "estargz"
    compression_level: Annotated[
        int | None, Field(ge=0, le=22, description="0..9 for gzip and estargz, 0..22 for zstd.")
    ] = None
    force_compression: Annotated[
        bool, Field(description="Compress layers again that exist in another form, the base image's too.")
    ] = False
    image_manifest: Annotated[
        bool,
        Field(
            description="Write the cache as an image manifest. ECR takes nothing else, nor do many other registries."
        ),
    ] = True
    oci_media_types: Annotated[bool, Field(description="Use OCI media types.")] = True
    ignore_error: Annotated[
        bool, Field(description="A failed export does not fail the build; CacheUsed says that it failed.")
    ] = True
    tag_suffix: Annotated[
        str,
        Field(max_length=64, description="The cache of a service has the tag {service}.{tagSuffix}."),
        Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "must be letters, digits, _ . and -, and not begin with . or -"),
    ] = "buildcache"
    per_platform: Annotated[
        bool, Field(description="A tag for each platform: for builders of several architectures.")
    ] = False

    @model_validator(mode="after")
    def _media_types_and_level(self) -> Self:
        if not self.oci_media_types and (self.image_manifest or self.compression in ("estargz", "zstd")):
            raise refuse("ociMediaTypes", "must be true with imageManifest, and with compression estargz or zstd")
        if self.compression_level is not None and self.compression_level > COMPRESSION_LEVELS.get(self.compression, -1):
            raise refuse(
                "compressionLevel", "must be 0..9 for gzip and estargz, 0..22 for zstd, absent for uncompressed"
            )
        return self


class Registry(Api):
    """The layer cache in ECR."""

    model_config = rules(*immutable("repositoryName", "kmsKeyARN"))

    management: Annotated[
        Management,
        Field(description="Observed: the repository must exist; neither its policy nor its tags are touched."),
    ] = "Managed"
    repository_name: Annotated[
        RepositoryName | None, Field(description="Default buildcache/<namespace>/<name>. Immutable once set.")
    ] = None
    kms_key_arn: Annotated[
        KeyARN | None, Field(description="Key of the repository; none: AES-256 of ECR. Immutable once set.")
    ] = None
    retention_days: Annotated[
        int | None,
        Field(
            ge=1, le=365, description="Images are expired this many days after their push. None: no lifecycle policy."
        ),
    ] = None
    export: Export = Export()


class FileSystem(Api):
    """EFS that keeps `RUN --mount=type=cache` directories of Kaniko builds."""

    model_config = rules(
        rule(
            "(self.management == 'Observed') == has(self.id)",
            "id is required with management Observed and refused without",
            fieldPath=".id",
        ),
        rule(
            "(self.throughputMode == 'provisioned') == has(self.provisionedMiBps)",
            "provisionedMiBps is required with throughputMode provisioned and refused without",
            fieldPath=".provisionedMiBps",
        ),
        *immutable("id", "kmsKeyARN"),
    )

    management: Annotated[
        Management, Field(description="Observed: an existing file system that is never changed nor deleted.")
    ] = "Managed"
    id: Annotated[
        str | None,
        Field(max_length=48, description="File system to use, with management Observed. Immutable once set."),
        Pattern(r"fs-[0-9a-f]{8,40}", "must be a file system id such as fs-0123456789abcdef0"),
    ] = None
    kms_key_arn: Annotated[
        KeyARN | None,
        Field(
            description="Key of the file system, which is always encrypted; none: the AWS-managed key. Immutable once set."
        ),
    ] = None
    throughput_mode: Annotated[
        Literal["elastic", "bursting", "provisioned"],
        Field(description="AWS allows a change of mode once in 24 hours."),
    ] = "elastic"
    provisioned_mibps: Annotated[
        int | None, Field(ge=1, le=3414, description="MiB/s, with throughputMode provisioned.")
    ] = None
    transition_to_ia: Annotated[
        Literal["AFTER_1_DAY", "AFTER_7_DAYS", "AFTER_14_DAYS", "AFTER_30_DAYS", "AFTER_60_DAYS", "AFTER_90_DAYS"]
        | None,
        Field(
            description="When unread files move to infrequent access. null: never.",
            json_schema_extra={"nullable": True},
        ),
    ] = "AFTER_14_DAYS"
    backup: Annotated[bool, Field(description="Automatic backups by AWS Backup.")] = False

    @model_validator(mode="after")
    def _id_and_throughput(self) -> Self:
        if (self.management == "Observed") != (self.id is not None):
            raise refuse("id", "is required with management Observed and refused without")
        if (self.throughput_mode == "provisioned") != (self.provisioned_mibps is not None):
            raise refuse("provisionedMiBps", "is required with throughputMode provisioned and refused without")
        return self


class CapacityProvider(Api):
    """One item of a capacity provider strategy."""

    name: Annotated[
        str,
        Field(max_length=255),
        Pattern(r"[A-Za-z0-9_-]{1,255}", "must be the name of a capacity provider of the cluster"),
    ]
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    base: Annotated[int, Field(ge=0, le=100000)] = 0


class BuildKitOptions(Api):
    """Options of the engine BuildKit."""

    socket_path: Annotated[
        str | None,
        Field(
            max_length=255,
            description="Socket of the host's buildkitd. None: each task runs its own daemon (privileged).",
        ),
        Pattern(r"(/[A-Za-z0-9._-]+)+", "must be an absolute path of letters, digits and . _ -"),
    ] = None
    mount_namespace: Annotated[
        str | None,
        Field(max_length=128, description="Keeps the cache mounts of this cache apart on a daemon that others share."),
        Pattern(r"[A-Za-z0-9._-]+", "must be letters, digits and . _ -"),
    ] = None


def _since(path: str, major: int, minor: int, patch: int) -> str:
    """CEL: the version at that path is this one or newer."""
    parts = f"{path}.split('.').map(part, int(part))"
    return f"[{parts}].all(v, v[0] * 1000000 + v[1] * 1000 + v[2] >= {major * 1000000 + minor * 1000 + patch})"


SAFE_COPY_KEYS = (1, 28, 1)
"""First Kaniko that can tell COPY layers of different build arguments apart (engines: FF_KANIKO_RESOLVE_CACHE_KEY)."""

CACHES_ON_A_VOLUME = (1, 26, 5)
"""First Kaniko that moves cache directories across file systems; older ones fail or ignore `RUN --mount=type=cache`."""

_TTL = "([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,9}s)?"


class KanikoOptions(Api):
    """Options of the engine Kaniko."""

    model_config = rules(
        rule(
            f"!self.copyLayers || {_since('self.version', *SAFE_COPY_KEYS)}",
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


_FARGATE_CEL = " || ".join(
    f"(self.cpu == {cpu} && self.memory >= {memory.start} && self.memory <= {memory[-1]} && self.memory % {memory.step} == 0)"
    for cpu, memory in FARGATE_MEMORY.items()
)


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
    launch_type: Literal["EC2", "Fargate"]
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
                raise refuse(
                    "memory",
                    f"must be {memory.start}..{memory[-1]} in steps of {memory.step} on Fargate with cpu {self.cpu}",
                )
        elif self.ephemeral_storage_gib is not None:
            raise refuse("ephemeralStorageGiB", "is allowed only on Fargate")
        return self


class Limits(Api):
    """Bounds on the Builds of this cache."""

    max_concurrent_builds: Annotated[int, Field(ge=1, le=10000, description="Builds that run at once.")] = 8
    max_queued_builds: Annotated[int, Field(ge=0, le=100000, description="Builds that may wait; more are refused.")] = (
        200
    )
    max_run_timeout: Annotated[Duration, Field(description="Upper bound of a Build's run timeout.")] = "4h"


_TAGS_CEL = (
    rule(
        f"self.all(key, !key.startsWith('{TAG_PREFIX}') && !key.startsWith('aws:'))",
        f"keys must not begin with {TAG_PREFIX} or aws:",
    ),
    rule("self.all(key, size(key) >= 1 && size(key) <= 128)", "keys must have 1..128 characters"),
)


class BuildCacheSpec(Api):
    """What the user wants."""

    model_config = rules(
        rule(
            "self.clusterARN.split(':')[3] == self.region",
            "clusterARN must be in the cache's region",
            fieldPath=".clusterARN",
        ),
        rule(
            "duration(self.reconcileInterval) >= duration('1m') && duration(self.reconcileInterval) <= duration('24h')",
            "reconcileInterval must be 1m..24h",
            fieldPath=".reconcileInterval",
        ),
        rule(
            "!has(self.fileSystem) || self.executors.all(executor, !has(executor.kaniko) || "
            f"{_since('executor.kaniko.version', *CACHES_ON_A_VOLUME)})",
            "a fileSystem needs kaniko.version 1.26.5 or newer: older ones cannot keep cache directories on it",
            fieldPath=".executors",
        ),
    )

    enabled: Annotated[
        bool, Field(description="false: builds run without cache and its AWS parts go (Delete) or stay (Retain).")
    ] = True
    suspend: Annotated[bool, Field(description="true: no AWS write for this cache and no new Build admitted.")] = False
    reconcile_policy: Annotated[
        Literal["Correct", "Report"],
        Field(description="Report: drift in AWS is listed in status.drift, not corrected."),
    ] = "Correct"
    reconcile_interval: Annotated[
        Duration, Field(description="How often AWS is compared with the spec: 1m..24h, jittered.")
    ] = "10m"
    deletion_policy: Annotated[
        Literal["Delete", "Retain"], Field(description="What happens to Managed parts when this object goes.")
    ] = "Delete"
    region: Annotated[
        Region,
        Field(
            description="AWS region. Immutable.",
            json_schema_extra={"x-kubernetes-validations": [rule("self == oldSelf", "is immutable")]},
        ),
    ]
    cluster_arn: Annotated[
        str,
        Field(max_length=320, description="ECS cluster that runs the builds; it must exist and is not managed."),
        Pattern(
            r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9_-]{1,255}",
            "must be the ARN of an ECS cluster: arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
        ),
    ]
    network: Network
    registry: Registry = Registry()
    file_system: FileSystem | None = None
    executors: Annotated[
        tuple[Executor, ...],
        Field(
            min_length=1,
            max_length=8,
            description="Ways to run a build; a Build without an executor gets the first that can build its platforms.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    limits: Limits = Limits()
    log_retention_days: Annotated[
        Literal[
            1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
        ],
        Field(description="One of the values of CloudWatch Logs."),
    ] = 30
    tags: Annotated[
        Mapping[
            str,
            Annotated[str, Field(max_length=256), Pattern(r"[^\x00-\x1f\x7f]*", "must not contain control characters")],
        ],
        Field(
            max_length=40,
            description="Tags of every managed part, beside the operator's own.",
            json_schema_extra={"x-kubernetes-validations": list(_TAGS_CEL)},
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _across_fields(self) -> Self:
        if self.cluster_arn.split(":")[3] != self.region:
            raise refuse("clusterARN", f"must be in the cache's region {self.region}")
        if not 60 <= seconds(self.reconcile_interval) <= 86400:
            raise refuse("reconcileInterval", "must be 1m..24h")
        names = [executor.name for executor in self.executors]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise refuse(f"executors[{index}].name", "must be unique among the executors")
        for index, executor in enumerate(self.executors):
            if self.file_system and executor.kaniko and executor.kaniko.release < CACHES_ON_A_VOLUME:
                raise refuse(
                    f"executors[{index}].kaniko.version",
                    "must be 1.26.5 or newer with a fileSystem: older ones cannot keep cache directories on it",
                )
        for key in self.tags:
            if key.startswith((TAG_PREFIX, "aws:")) or not 1 <= len(key) <= 128:
                raise refuse("tags", f"keys must have 1..128 characters and not begin with {TAG_PREFIX} or aws:")
        return self


class RegistryStatus(Api):
    """The registry as ECR returned it."""

    repository_uri: Annotated[str | None, Field(max_length=512)] = None


class FileSystemStatus(Api):
    """The file system and the zones that have a mount target."""

    id: Annotated[str | None, Field(max_length=48)] = None
    zones: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=16)] = ()


class Part(Api):
    """One AWS part of the cache."""

    name: Annotated[str, Field(max_length=128)]
    kind: Annotated[str, Field(max_length=64)]
    id: Annotated[str, Field(max_length=512)] = ""
    state: Annotated[str, Field(max_length=64)] = ""
    management: Management = "Managed"


class Drift(Api):
    """A difference between the spec and AWS."""

    part: Annotated[str, Field(max_length=128)]
    field: Annotated[str, Field(max_length=128)]
    want: Annotated[str, Field(max_length=512)] = ""
    have: Annotated[str, Field(max_length=512)] = ""


class QueueStatus(Api):
    """Builds of this cache that are not finished."""

    running: int = 0
    queued: int = 0


class Efficiency(Api):
    """What the cache was worth over the last 50 finished Builds."""

    builds: int = 0
    hit_percent: int | None = None
    saved_seconds: int | None = None


class BuildCacheStatus(Api):
    """What the operator reports. Never read back as the only link to an AWS resource."""

    observed_generation: int = -1
    last_handled_reconcile_at: Annotated[str | None, Field(max_length=256)] = None
    account: Annotated[str | None, Field(max_length=12)] = None
    registry: RegistryStatus | None = None
    file_system: FileSystemStatus | None = None
    parts: Annotated[
        tuple[Part, ...],
        Field(
            max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    drift: Annotated[
        tuple[Drift, ...], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    queue: QueueStatus | None = None
    efficiency: Efficiency | None = None
    conditions: Conditions = ()


class BuildCache(Kind):
    """A build cache on AWS: layer cache in ECR, cache-mount directories on EFS, and the ECS side that builds need."""

    kind: str = "BuildCache"
    spec: BuildCacheSpec
    status: BuildCacheStatus = BuildCacheStatus()

    @model_validator(mode="before")
    @classmethod
    def _status_is_optional(cls, data: Any) -> Any:
        # An object that was just created with `status: null`, or without one, reads as never observed.
        return (
            {key: value for key, value in data.items() if key != "status" or value is not None}
            if isinstance(data, dict)
            else data
        )
