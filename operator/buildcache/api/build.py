"""The kind Build: one image build of one service. Its spec is immutable but for `cancel` and `ttlAfterFinished`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .build_status import BuildStatus
from .meta import (
    NO_PARENT,
    PRINTABLE,
    Api,
    Duration,
    ImageRef,
    Kind,
    LongDuration,
    OutputImage,
    Pattern,
    Platform,
    RelativePath,
    check_no_parent,
    refuse,
)
from .rules import LONGEST_RUN, at_most, check_at_most, rule, rules

CacheMode = Literal["ReadWrite", "ReadOnly", "Refresh", "None"]

LONGEST_WAIT = "24h"

_SECRET = re.compile("TOKEN|PASSWORD|SECRET", re.IGNORECASE)
RESERVED_BUILD_ARGS = ("BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS")
"""BUILDKIT_SYNTAX would load a foreign frontend, BUILDKIT_CACHE_MOUNT_NS is set by the cache."""


class CacheRef(Api):
    """A BuildCache of the Build's own namespace."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253, description="Name of the BuildCache."),
        Pattern(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "must be the name of a BuildCache in this namespace"),
    ]


class Git(Api):
    """Source in a git repository."""

    url: Annotated[
        str,
        Field(max_length=1024, description="https:// or ssh:// without user information."),
        Pattern(
            r"(https|ssh)://[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9._~+%-]+)+/?",
            "must be https://host/path or ssh://host/path without user information, query or fragment",
        ),
    ]
    revision: Annotated[
        str,
        Field(min_length=1, max_length=255, description="Commit, tag or branch."),
        Pattern(
            r"[A-Za-z0-9_][A-Za-z0-9._/+@-]*",
            "must be a commit, tag or branch: letters, digits and . _ / + @ -, not beginning with -",
        ),
        Field(
            json_schema_extra={
                "x-kubernetes-validations": [
                    rule("!self.contains('..') && !self.contains('@{')", "must not contain '..' or '@{'")
                ]
            }
        ),
    ]

    @field_validator("revision")
    @classmethod
    def _one_revision(cls, value: str) -> str:
        if ".." in value or "@{" in value:
            raise refuse("", "must not contain '..' or '@{'")
        return value


class S3(Api):
    """Source as an archive in S3: .tar, .tar.gz, .tgz or .zip."""

    uri: Annotated[
        str,
        Field(max_length=1100, description="s3://bucket/key of the archive."),
        Pattern(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9!_.*()/+=@-]+", "must be s3://bucket/key"),
    ]
    version_id: Annotated[
        str | None,
        Field(max_length=1024, description="Version of the object; none: the newest."),
        Pattern(r"[A-Za-z0-9._-]+", "must be the version id of the object"),
    ] = None


class Inline(Api):
    """A Dockerfile without context. It travels with the start request: 4 KiB at most."""

    dockerfile: Annotated[
        str,
        Field(min_length=1, max_length=4096, description="The Dockerfile's text."),
        Pattern(r"[^\x00-\x08\x0b-\x1f\x7f]+", "must be text without control characters"),
    ]


class Source(Api):
    """Where the build context comes from: exactly one."""

    model_config = rules(
        rule(
            "[has(self.git), has(self.s3), has(self.inline)].filter(given, given).size() == 1",
            "exactly one of git, s3 and inline must be set",
        )
    )

    git: Git | None = None
    s3: S3 | None = None
    inline: Inline | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for value in (self.git, self.s3, self.inline)) != 1:
            raise refuse("", "exactly one of git, s3 and inline must be set")
        return self


class BuildArg(Api):
    """A build argument. It is visible in the image's history: never a secret."""

    model_config = rules(
        rule(
            "!self.name.upperAscii().matches('TOKEN|PASSWORD|SECRET')",
            "build arguments are visible in the image: names with TOKEN, PASSWORD or SECRET are refused",
            fieldPath=".name",
        ),
        rule(
            f"!(self.name in {list(RESERVED_BUILD_ARGS)})".replace('"', "'"),
            "this name is reserved by the engine",
            fieldPath=".name",
        ),
    )

    name: Annotated[
        str,
        Field(max_length=128, description="Name of the ARG."),
        Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "must be an identifier: letters, digits and _, not beginning with a digit"),
    ]
    value: Annotated[
        str,
        Field(max_length=2048, description="Its value."),
        Pattern(PRINTABLE, "must not contain control characters or line breaks"),
    ] = ""

    @field_validator("name")
    @classmethod
    def _neither_secret_nor_reserved(cls, value: str) -> str:
        if _SECRET.search(value):
            raise refuse(
                "", "build arguments are visible in the image: names with TOKEN, PASSWORD or SECRET are refused"
            )
        if value in RESERVED_BUILD_ARGS:
            raise refuse("", "this name is reserved by the engine")
        return value


class Output(Api):
    """What the build makes."""

    model_config = rules(
        rule(
            "(has(self.images) && size(self.images) > 0) || !self.push",
            "images needs at least one reference with push: true",
            fieldPath=".images",
        ),
    )

    images: Annotated[
        tuple[OutputImage, ...],
        Field(
            max_length=10, description="References to push, 1..10.", json_schema_extra={"x-kubernetes-list-type": "set"}
        ),
    ] = ()
    push: Annotated[
        bool, Field(description="false: build and write the cache only, to check a Dockerfile or to warm a cache.")
    ] = True
    labels: Annotated[
        Mapping[
            str,
            Annotated[
                str, Field(max_length=1024), Pattern(PRINTABLE, "must not contain control characters or line breaks")
            ],
        ],
        Field(
            max_length=64,
            description="Labels of the image.",
            json_schema_extra={
                "x-kubernetes-validations": [
                    rule(
                        "self.all(key, key.matches('^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,127}$'))",
                        "label names must be letters, digits and . _ / -",
                    )
                ]
            },
        ),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something_to_push(self) -> Self:
        if self.push and not self.images:
            raise refuse("images", "needs at least one reference with push: true")
        for key in self.labels:
            if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._/-]{0,127}", key):
                raise refuse("labels", "label names must be letters, digits and . _ / -")
        return self


class CacheUse(Api):
    """How this build uses the cache."""

    mode: Annotated[
        CacheMode, Field(description="Refresh builds afresh and writes back; None neither reads nor writes.")
    ] = "ReadWrite"
    import_from: Annotated[
        tuple[ImageRef, ...],
        Field(
            max_length=8,
            description="Further cache references to read (BuildKit engines).",
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
        ),
    ] = ()


class Timeouts(Api):
    """How long a build may wait, start and run."""

    model_config = rules(at_most("queue", LONGEST_WAIT), at_most("start", LONGEST_WAIT), at_most("run", LONGEST_RUN))

    queue: Annotated[Duration, Field(description="From creation to the start request; at most 24h.")] = "1h"
    start: Annotated[
        Duration, Field(description="From the start request to the first running container; at most 24h.")
    ] = "10m"
    run: Annotated[
        Duration, Field(description="From then to the end; at most 11h, and limits.maxRunTimeout of the BuildCache.")
    ] = "1h"

    @model_validator(mode="after")
    def _not_for_ever(self) -> Self:
        check_at_most(self, "queue", LONGEST_WAIT)
        check_at_most(self, "start", LONGEST_WAIT)
        check_at_most(self, "run", LONGEST_RUN)
        return self


def _fixed(*more: dict[str, str], **schema: Any) -> dict[str, Any]:
    """Schema of a field that cannot change once the Build exists, with `more` CEL rules."""
    return {
        "x-kubernetes-validations": [rule("self == oldSelf", "is immutable: create another Build"), *more],
        **schema,
    }


class BuildSpec(Api):
    """What to build."""

    model_config = rules(
        rule(
            "has(self.target) == has(oldSelf.target) && has(self.executor) == has(oldSelf.executor)",
            "target and executor are immutable: create another Build",
        ),
        rule("!oldSelf.cancel || self.cancel", "cancel cannot be taken back", fieldPath=".cancel"),
        rule(
            "size(self.noCacheFilter) == 0 || !(self.cache.mode in ['Refresh', 'None'])",
            "noCacheFilter cannot be combined with cache mode Refresh or None",
            fieldPath=".noCacheFilter",
        ),
    )

    cache_ref: Annotated[CacheRef, Field(json_schema_extra=_fixed())]
    service: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Names the cache reference and the cache-mount scope.",
            json_schema_extra=_fixed(),
        ),
        Pattern(PRINTABLE, "must not contain control characters or line breaks"),
    ]
    source: Annotated[Source, Field(json_schema_extra=_fixed())]
    context_dir: Annotated[
        RelativePath,
        Field(description="Build context, relative to the source's root.", json_schema_extra=_fixed(NO_PARENT)),
    ] = "."
    dockerfile: Annotated[
        RelativePath, Field(description="Relative to contextDir.", json_schema_extra=_fixed(NO_PARENT))
    ] = "Dockerfile"
    target: Annotated[
        str | None,
        Field(max_length=128, description="Stage to build; none: the last one.", json_schema_extra=_fixed()),
        Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "must be the name of a stage: letters, digits and _ . -"),
    ] = None
    build_args: Annotated[
        tuple[BuildArg, ...],
        Field(
            max_length=64,
            description="Values for the Dockerfile's ARGs.",
            json_schema_extra=_fixed(**{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
        ),
    ] = ()
    platforms: Annotated[
        tuple[Platform, ...],
        Field(
            max_length=8,
            description="Empty: the executor's platform. Several only with BuildKit engines.",
            json_schema_extra=_fixed(**{"x-kubernetes-list-type": "set"}),
        ),
    ] = ()
    output: Annotated[Output, Field(json_schema_extra=_fixed())]
    cache: Annotated[CacheUse, Field(json_schema_extra=_fixed())] = CacheUse()
    no_cache_filter: Annotated[
        tuple[
            Annotated[
                str,
                Field(max_length=128),
                Pattern(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "must be the name of a stage: letters, digits and _ . -"),
            ],
            ...,
        ],
        Field(
            max_length=16,
            description="Stages to build afresh (BuildKit engines).",
            json_schema_extra=_fixed(**{"x-kubernetes-list-type": "set"}),
        ),
    ] = ()
    executor: Annotated[
        str | None,
        Field(
            max_length=63,
            description="Name of an executor; none: the first that can build.",
            json_schema_extra=_fixed(),
        ),
        Pattern(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", "must be the name of an executor of the BuildCache"),
    ] = None
    timeouts: Annotated[Timeouts, Field(json_schema_extra=_fixed())] = Timeouts()
    retries: Annotated[
        int, Field(ge=0, le=10, description="New attempts after infrastructure failures.", json_schema_extra=_fixed())
    ] = 2
    cancel: Annotated[bool, Field(description="true stops the build.")] = False
    ttl_after_finished: Annotated[
        LongDuration | None,
        Field(description="The object is deleted this long after its end, unless a GitOps tool tracks it."),
    ] = None

    @model_validator(mode="after")
    def _across_fields(self) -> Self:
        check_no_parent(self.context_dir, "contextDir")
        check_no_parent(self.dockerfile, "dockerfile")
        if self.no_cache_filter and self.cache.mode in ("Refresh", "None"):
            raise refuse("noCacheFilter", "cannot be combined with cache mode Refresh or None")
        names = [argument.name for argument in self.build_args]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise refuse(f"buildArgs[{index}].name", "must be unique among the build arguments")
        return self


class Build(Kind):
    """One image build: queued, run as an ECS task with the cache's flags, followed and reported."""

    kind: str = "Build"
    spec: BuildSpec
    status: BuildStatus = BuildStatus()
