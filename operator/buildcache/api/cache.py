"""The kind BuildCache: a build cache as an object. The rules here are those of the CRD, which is generated from this module."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .cache_status import BuildCacheStatus
from .ecr import ECRHost
from .executor import CACHES_ON_A_VOLUME, Executor, version_since
from .meta import (
    TAG_PREFIX,
    Api,
    Duration,
    Kind,
    Pattern,
    Region,
    refuse,
    seconds,
)
from .rules import LONGEST_RUN, at_most, check_at_most, rule, rules
from .stores import FileSystem, Registry

VPC_ID = Pattern(r"vpc-[0-9a-f]{8,17}", "must be a VPC id such as vpc-0a1b2c3d4e5f60718")


class Network(Api):
    """Where build tasks and mount targets live."""

    model_config = rules(rule("self.vpcID == oldSelf.vpcID", "vpcID is immutable"))

    vpc_id: Annotated[
        str,
        Field(max_length=32, description="VPC of build tasks and mount targets. Immutable."),
        VPC_ID,
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


class Limits(Api):
    """Bounds on the Builds of this cache."""

    model_config = rules(at_most("max_run_timeout", LONGEST_RUN))

    max_concurrent_builds: Annotated[int, Field(ge=1, le=10000, description="Builds that run at once.")] = 8
    max_queued_builds: Annotated[int, Field(ge=0, le=100000, description="Builds that may wait; more are refused.")] = (
        200
    )
    max_run_timeout: Annotated[Duration, Field(description="Upper bound of a Build's run timeout; at most 11h.")] = "4h"
    keep_finished_builds: Annotated[
        int | None,
        Field(
            ge=1,
            le=10000,
            description="Finished Builds that stay; the oldest beyond it are deleted, but none that GitOps tools track. null: all stay.",
        ),
    ] = None

    @model_validator(mode="after")
    def _within_a_login(self) -> Self:
        check_at_most(self, "max_run_timeout", LONGEST_RUN)
        return self


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
            f"{version_since('executor.kaniko.version', *CACHES_ON_A_VOLUME)})",
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
    registries: Annotated[
        tuple[ECRHost, ...],
        Field(
            max_length=8,
            description="Further ECR registries that builds pull from, of other accounts and regions: "
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com. The account's own is always logged in to.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = ()
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


class BuildCache(Kind):
    """A build cache on AWS: layer cache in ECR, cache-mount directories on EFS, and the ECS side that builds need."""

    kind: str = "BuildCache"
    spec: BuildCacheSpec
    status: BuildCacheStatus = BuildCacheStatus()
