"""The status of a Build: what the operator reports."""

from typing import Annotated, Literal

from pydantic import Field

from .executor import Engine
from .meta import Api, Conditions


class ExecutorStatus(Api):
    """The executor that was chosen."""

    name: Annotated[str, Field(max_length=63)]
    engine: Engine
    task_definition_arn: Annotated[str | None, Field(max_length=512)] = None


class QueuePosition(Api):
    """Builds ahead of this one; 0: none."""

    position: int = 0


class StopRequest(Api):
    """Why the operator has the task stopped; noted before it asks ECS to, and decides the outcome."""

    reason: Annotated[str, Field(max_length=64, description="Cancelled, StartTimeout or RunTimeout.")]
    requested_at: Annotated[str | None, Field(max_length=32)] = None


class Attempt(Api):
    """One ECS task of this Build."""

    number: int
    task_arn: Annotated[str | None, Field(max_length=512)] = None
    started_at: Annotated[str | None, Field(max_length=32, description="When its task was asked for.")] = None
    running_at: Annotated[str | None, Field(max_length=32, description="When its first container was seen to run.")] = (
        None
    )
    stopped_at: Annotated[str | None, Field(max_length=32)] = None
    stop_code: Annotated[str | None, Field(max_length=64)] = None
    exit_code: int | None = None
    stop_request: StopRequest | None = None
    cluster_arn: Annotated[
        str | None,
        Field(
            max_length=512,
            description="ECS cluster of the coming task; noted before RunTask, gone once taskARN is known.",
        ),
    ] = None


class Image(Api):
    """The image that was built."""

    digest: Annotated[str | None, Field(max_length=128)] = None
    references: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=10)] = ()
    size_bytes: int | None = None


class SourceStatus(Api):
    """What was built from."""

    commit: Annotated[str | None, Field(max_length=64)] = None


class Steps(Api):
    """Build steps, and those that came from the cache."""

    total: int
    cached: int


class CacheResult(Api):
    """What the cache did for this build."""

    imported: bool | None = None
    exported: bool | None = None
    ref: Annotated[str | None, Field(max_length=768)] = None
    steps: Steps | None = None
    hit_percent: int | None = None
    saved_seconds: int | None = None
    reason: Annotated[str | None, Field(max_length=64)] = None


class Timing(Api):
    """Where the time went, in whole seconds."""

    queued_seconds: int | None = None
    provisioning_seconds: int | None = None
    source_seconds: int | None = None
    build_seconds: int | None = None
    total_seconds: int | None = None


class Failure(Api):
    """Why the build failed."""

    class_: Annotated[Literal["User", "Infrastructure", "Policy"], Field(alias="class")]
    reason: Annotated[str, Field(max_length=64)]
    exit_code: int | None = None
    message: Annotated[str, Field(max_length=1024)] = ""
    log_tail: Annotated[str | None, Field(max_length=2048)] = None
    hint: Annotated[str | None, Field(max_length=512)] = None


class Logs(Api):
    """Where the build's log is in CloudWatch."""

    group: Annotated[str, Field(max_length=512)]
    stream: Annotated[str, Field(max_length=512)]


class BuildStatus(Api):
    """What the operator reports."""

    observed_generation: int = -1
    executor: ExecutorStatus | None = None
    queue: QueuePosition | None = None
    attempts: Annotated[
        tuple[Attempt, ...], Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = ()
    image: Image | None = None
    source: SourceStatus | None = None
    cache: CacheResult | None = None
    timing: Timing | None = None
    failure: Failure | None = None
    logs: Logs | None = None
    start_time: Annotated[str | None, Field(max_length=32, json_schema_extra={"format": "date-time"})] = None
    completion_time: Annotated[str | None, Field(max_length=32, json_schema_extra={"format": "date-time"})] = None
    conditions: Conditions = ()
