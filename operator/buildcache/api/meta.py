"""What both kinds share: names of the API, the model base, field types, metadata and conditions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

GROUP = "buildcache.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = f"{GROUP}/finalizer"
FINISHED_LABEL = f"{GROUP}/finished"
RECONCILE_ANNOTATION = f"{GROUP}/reconcile-requested-at"
TAG_PREFIX = f"{GROUP}/"
"""Prefix of the operator's own AWS tags: users' tags may not begin with it."""

_ACRONYMS = {
    "arn": "ARN",
    "gib": "GiB",
    "ia": "IA",
    "id": "ID",
    "ids": "IDs",
    "ip": "IP",
    "mibps": "MiBps",
    "uri": "URI",
}


def json_name(name: str) -> str:
    """The field's name in JSON: camelCase, acronyms after the first word in capitals (`vpc_id` → `vpcID`, `uri` → `uri`)."""
    first, *rest = name.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in rest)


class Api(BaseModel):
    """Base of every API model. Unknown fields are ignored when read: the API server has pruned what the schema does not know."""

    model_config = ConfigDict(alias_generator=json_name, populate_by_name=True, frozen=True)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON with JSON names; fields that are null are left out."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)


def refuse(field: str, message: str) -> PydanticCustomError:
    """An error of a rule that spans several fields: `field` is the path, from the model that has the rule, of the one to change."""
    return PydanticCustomError("rule", "{message}", {"field": field, "message": message})


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string's form: the whole value must match. `says` tells people what is allowed; the expression means the same in RE2."""

    expression: str
    says: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks with `fullmatch`, so that a trailing line break never passes a `$`."""
        compiled, says = re.compile(self.expression), self.says

        def check(value: str | None) -> str | None:
            if value is not None and not compiled.fullmatch(value):
                raise PydanticCustomError("pattern", "{says}", {"says": says})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The same form for the API server."""
        return {**handler(schema), "pattern": f"^(?:{self.expression})$"}


PRINTABLE = r"[^\x00-\x1f\x7f]*"
"""Text without control characters: it may travel in argument lists, JSON and log fields."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Duration = Annotated[
    str,
    Field(min_length=2, max_length=32),
    Pattern(
        r"([0-9]{1,5}[smh])*0*[1-9][0-9]{0,4}[smh]([0-9]{1,5}[smh])*",
        "must be a positive duration such as 90s, 10m or 1h30m, of at most 5 digits for each unit",
    ),
]
"""Of minutes and hours. Each field says how much is too much; the digits are few, so that no reader of a duration overflows before."""
LongDuration = Annotated[
    str,
    Field(min_length=2, max_length=32),
    Pattern(
        r"([0-9]{1,9}[smhd])*0*[1-9][0-9]{0,8}[smhd]([0-9]{1,9}[smhd])*",
        "must be a positive duration such as 6h or 14d",
    ),
]
REGION = r"[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}"
Region = Annotated[
    str,
    Field(max_length=32),
    Pattern(REGION, "must be an AWS region such as eu-west-1"),
]
RoleARN = Annotated[
    str,
    Field(max_length=2048),
    Pattern(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}",
        "must be the ARN of an IAM role: arn:aws:iam::111122223333:role/name",
    ),
]
KeyARN = Annotated[
    str,
    Field(max_length=2048),
    Pattern(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]{1,128}",
        "must be the ARN of a KMS key (not of an alias): arn:aws:kms:eu-west-1:111122223333:key/…",
    ),
]
Platform = Annotated[
    str,
    Field(max_length=32),
    Pattern(
        r"linux/(386|amd64(/v[2-4])?|arm64(/v8)?|arm(/v[5-7])?|ppc64le|riscv64|s390x)",
        "must be a platform such as linux/amd64 or linux/arm64",
    ),
]

_HOST = r"(([A-Za-z0-9-]+\.)+[A-Za-z0-9-]+(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}|localhost)"
_SEGMENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"

RepositoryName = Annotated[
    str,
    Field(min_length=2, max_length=256),
    Pattern(
        rf"{_SEGMENT}(/{_SEGMENT})*",
        "must be an ECR repository name: lower-case letters and digits, with . _ or - between them and / between parts",
    ),
]
ImageRef = Annotated[
    str,
    Field(max_length=512),
    Pattern(
        rf"({_HOST}/)?{_SEGMENT}(/{_SEGMENT})*(:{_TAG})?(@sha256:[a-f0-9]{{64}})?",
        "must be an image reference: [registry/]repository[:tag][@sha256:…], the repository in lower case",
    ),
]
OutputImage = Annotated[
    str,
    Field(max_length=512),
    Pattern(
        rf"{_HOST}/{_SEGMENT}(/{_SEGMENT})*(:{_TAG})?",
        "must be registry/repository[:tag] with a registry host and the repository in lower case",
    ),
]
RelativePath = Annotated[
    str,
    Field(min_length=1, max_length=255),
    Pattern(
        r"[A-Za-z0-9._@+][A-Za-z0-9._@+-]*(/[A-Za-z0-9._@+-]+)*",
        "must be a relative path of letters, digits and . _ @ + - that does not begin with - or /",
    ),
]
NO_PARENT = {"rule": "!self.split('/').exists(part, part == '..')", "message": "must not contain '..'"}
"""The CEL rule that belongs to each relative path, beside `check_no_parent`."""


def seconds(duration: str) -> int:
    """Length of a valid duration in whole seconds (`1h30m` → 5400)."""
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([smhd])", duration))


def check_no_parent(path: str, field: str) -> None:
    """Refuses `..` in a relative path: it would leave the source tree."""
    if ".." in path.split("/"):
        raise refuse(field, "must not contain '..'")


class Metadata(Api):
    """The part of an object's metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    labels: Mapping[str, str] = Field(default_factory=dict)
    annotations: Mapping[str, str] = Field(default_factory=dict)


class Condition(Api):
    """A `metav1.Condition`."""

    type: Annotated[str, Field(max_length=64, description="What the condition is about.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[str, Field(min_length=1, max_length=64, description="Why, as one word for programs.")]
    message: Annotated[str, Field(max_length=2048, description="Why, and what to do, for people.")] = ""
    last_transition_time: Annotated[
        str, Field(max_length=32, description="When status last changed.", json_schema_extra={"format": "date-time"})
    ]
    observed_generation: Annotated[
        int | None, Field(description="metadata.generation that the condition is about.")
    ] = None


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=16,
        description="The state of the object, one entry for each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Kind(Api):
    """Base of the two kinds: type and metadata."""

    api_version: str = API_VERSION
    kind: str = ""
    metadata: Metadata

    @model_validator(mode="before")
    @classmethod
    def _status_is_optional(cls, data: Any) -> Any:
        # An object that was just created with `status: null`, or without one, reads as never observed.
        return (
            {key: value for key, value in data.items() if key != "status" or value is not None}
            if isinstance(data, dict)
            else data
        )

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """Reads an object as the API server gives it.

        Raises pydantic's ValidationError; `problems.problems` turns it into lines with field paths.
        """
        return cls.model_validate(body)
