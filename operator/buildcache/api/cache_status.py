"""The status of a BuildCache: what the operator reports."""

from typing import Annotated

from pydantic import Field

from .meta import Api, Conditions
from .stores import Management


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
            max_length=128, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
        ),
    ] = ()
    drift: Annotated[
        tuple[Drift, ...], Field(max_length=20, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    queue: QueueStatus | None = None
    efficiency: Efficiency | None = None
    conditions: Conditions = ()
