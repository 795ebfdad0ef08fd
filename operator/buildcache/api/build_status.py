"""The status of a Build: what the operator reports."""

from typing import Annotated, Literal

from pydantic import Field

from .executor import Engine
from .meta import Api, Conditions


class ExecutorStatus(Api):
    """The executor that was chosen."""

    name: Annotated[str, Field(max_length=63, description="Its name in the BuildCache.")]
    engine: Annotated[Engine, Field(description="What builds.")]
    task_definition_arn: Annotated[str | None, Field(max_length=512, description="Task definition that is run.")] = None


class QueuePosition(Api):
    """The Build's place in the line of its cache."""

    position: Annotated[int, Field(description="Builds ahead of this one; 0: none.")] = 0


class StopRequest(Api):
    """Why the operator has the task stopped; noted before it asks ECS to, and decides the outcome."""

    reason: Annotated[str, Field(max_length=64, description="Cancelled, StartTimeout or RunTimeout.")]
    requested_at: Annotated[str | None, Field(max_length=32, description="When it was decided.")] = None


class Attempt(Api):
    """One ECS task of this Build."""

    number: Annotated[int, Field(description="1 for the first.")]
    task_arn: Annotated[str | None, Field(max_length=512, description="The task, once ECS has accepted it.")] = None
    started_at: Annotated[str | None, Field(max_length=32, description="When its task was asked for.")] = None
    running_at: Annotated[str | None, Field(max_length=32, description="When its first container was seen to run.")] = (
        None
    )
    stopped_at: Annotated[str | None, Field(max_length=32, description="When its task had stopped.")] = None
    stop_code: Annotated[str | None, Field(max_length=64, description="ECS's stopCode of the task.")] = None
    exit_code: Annotated[int | None, Field(description="Exit code of its container build.")] = None
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

    digest: Annotated[str | None, Field(max_length=128, description="Digest of its manifest, or of the index.")] = None
    references: Annotated[
        tuple[Annotated[str, Field(max_length=512)], ...],
        Field(max_length=10, description="References that it was pushed to."),
    ] = ()
    size_bytes: Annotated[int | None, Field(description="Size of its compressed layers, where the engine tells.")] = (
        None
    )


class SourceStatus(Api):
    """What was built from."""

    commit: Annotated[str | None, Field(max_length=64, description="Commit of a git source.")] = None


class Steps(Api):
    """Build steps, and those that came from the cache."""

    total: Annotated[int, Field(description="Cacheable steps.")]
    cached: Annotated[int, Field(description="Those that came from the cache.")]


class CacheResult(Api):
    """What the cache did for this build."""

    imported: Annotated[bool | None, Field(description="Whether the cache was read.")] = None
    exported: Annotated[bool | None, Field(description="Whether the cache was written.")] = None
    ref: Annotated[str | None, Field(max_length=768, description="Cache reference that the build used.")] = None
    steps: Steps | None = None
    hit_percent: Annotated[int | None, Field(description="Cached steps in percent of all.")] = None
    saved_seconds: Annotated[
        int | None, Field(description="Build time less than that of the service's last cold build.")
    ] = None
    reason: Annotated[str | None, Field(max_length=64, description="How the cache served: reason of CacheUsed.")] = None


class Timing(Api):
    """Where the time went, in whole seconds."""

    queued_seconds: Annotated[int | None, Field(description="From creation to the start request.")] = None
    provisioning_seconds: Annotated[int | None, Field(description="From there to the first running container.")] = None
    source_seconds: Annotated[int | None, Field(description="Fetching the source.")] = None
    build_seconds: Annotated[int | None, Field(description="The engine's own time.")] = None
    total_seconds: Annotated[int | None, Field(description="From creation to the end.")] = None


class Failure(Api):
    """Why the build failed."""

    class_: Annotated[
        Literal["User", "Infrastructure", "Policy"],
        Field(alias="class", description="Whose matter it is; only Infrastructure is tried again."),
    ]
    reason: Annotated[str, Field(max_length=64, description="Reason of the condition Succeeded.")]
    exit_code: Annotated[int | None, Field(description="Exit code that decided, where one did.")] = None
    message: Annotated[str, Field(max_length=1024, description="What happened.")] = ""
    log_tail: Annotated[str | None, Field(max_length=2048, description="Last lines of the log, without secrets.")] = (
        None
    )
    hint: Annotated[str | None, Field(max_length=512, description="What to do next.")] = None


class Logs(Api):
    """Where the build's log is in CloudWatch."""

    group: Annotated[str, Field(max_length=512, description="Log group.")]
    stream: Annotated[str, Field(max_length=512, description="Stream to read: of the container that explains the end.")]


class BuildStatus(Api):
    """What the operator reports."""

    observed_generation: Annotated[
        int, Field(description="metadata.generation that this status is about; -1: none yet.")
    ] = -1
    executor: ExecutorStatus | None = None
    queue: QueuePosition | None = None
    attempts: Annotated[
        tuple[Attempt, ...],
        Field(
            max_length=5,
            description="The newest attempts, in their order.",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()
    image: Image | None = None
    source: SourceStatus | None = None
    cache: CacheResult | None = None
    timing: Timing | None = None
    failure: Failure | None = None
    logs: Logs | None = None
    start_time: Annotated[
        str | None,
        Field(
            max_length=32, description="When the first task was asked for.", json_schema_extra={"format": "date-time"}
        ),
    ] = None
    completion_time: Annotated[
        str | None,
        Field(
            max_length=32,
            description="When the Build had ended, whatever came of it.",
            json_schema_extra={"format": "date-time"},
        ),
    ] = None
    conditions: Conditions = ()
