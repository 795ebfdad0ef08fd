"""The status of a BuildCache: what the operator reports."""

from typing import Annotated

from pydantic import Field

from .meta import Api, Conditions
from .stores import Management


class RegistryStatus(Api):
    """The registry as ECR returned it."""

    repository_uri: Annotated[str | None, Field(max_length=512, description="URI of the cache's repository.")] = None


class FileSystemStatus(Api):
    """The file system and the zones that have a mount target."""

    id: Annotated[str | None, Field(max_length=48, description="Id of the file system.")] = None
    zones: Annotated[
        tuple[Annotated[str, Field(max_length=32)], ...],
        Field(max_length=16, description="Availability zones that have a mount target."),
    ] = ()


class Part(Api):
    """One AWS part of the cache."""

    name: Annotated[str, Field(max_length=128, description="Name of the part within this cache.")]
    kind: Annotated[str, Field(max_length=64, description="What it is in AWS, such as Repository or MountTarget.")]
    id: Annotated[str, Field(max_length=512, description="Its id, name or ARN in AWS; empty before it exists.")] = ""
    state: Annotated[str, Field(max_length=64, description="How far it is.")] = ""
    management: Annotated[Management, Field(description="Managed by the operator, or only Observed.")] = "Managed"


class Drift(Api):
    """A difference between the spec and AWS."""

    part: Annotated[str, Field(max_length=128, description="Name of the part that differs.")]
    field: Annotated[str, Field(max_length=128, description="What of it differs.")]
    want: Annotated[str, Field(max_length=512, description="As the spec has it.")] = ""
    have: Annotated[str, Field(max_length=512, description="As AWS has it.")] = ""


class QueueStatus(Api):
    """Builds of this cache that are not finished."""

    running: Annotated[int, Field(description="Builds that have a task or are about to.")] = 0
    queued: Annotated[int, Field(description="Builds that wait for their turn.")] = 0


class Efficiency(Api):
    """What the cache was worth over the last 50 finished Builds."""

    builds: Annotated[int, Field(description="Finished Builds that were counted, 50 at most.")] = 0
    hit_percent: Annotated[int | None, Field(description="Their cacheable steps that came from the cache.")] = None
    saved_seconds: Annotated[int | None, Field(description="Build time saved by the cache, all of them together.")] = (
        None
    )


class BuildCacheStatus(Api):
    """What the operator reports. Never read back as the only link to an AWS resource."""

    observed_generation: Annotated[
        int, Field(description="metadata.generation that this status is about; -1: none yet.")
    ] = -1
    last_handled_reconcile_at: Annotated[
        str | None,
        Field(max_length=256, description="Value of the annotation reconcile-requested-at that was answered last."),
    ] = None
    account: Annotated[str | None, Field(max_length=12, description="The AWS account of the parts.")] = None
    registry: RegistryStatus | None = None
    file_system: FileSystemStatus | None = None
    parts: Annotated[
        tuple[Part, ...],
        Field(
            max_length=128,
            description="Every AWS part of the cache.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    drift: Annotated[
        tuple[Drift, ...],
        Field(
            max_length=20,
            description="Differences that reconcilePolicy Report leaves as they are.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    queue: QueueStatus | None = None
    efficiency: Efficiency | None = None
    conditions: Conditions = ()
