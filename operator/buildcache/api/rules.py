"""CEL rules of the CRDs, as the models carry them in their schema."""

from pydantic import ConfigDict

from .meta import Api, json_name, refuse, seconds

LONGEST_RUN = "11h"
"""A build logs in to its registries when it begins, and a login to ECR lives twelve hours."""


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


def at_most(field: str, longest: str) -> dict[str, str]:
    """CEL rule: a duration is no longer than that. `check_at_most` is the model's."""
    name = json_name(field)
    return rule(f"duration(self.{name}) <= duration('{longest}')", f"must be at most {longest}", fieldPath=f".{name}")


def check_at_most(model: Api, field: str, longest: str) -> None:
    """Refuses a duration that is too long."""
    if seconds(getattr(model, field)) > seconds(longest):
        raise refuse(json_name(field), f"must be at most {longest}")


def rules(*each: dict[str, str]) -> ConfigDict:
    """Model configuration that adds CEL rules to the schema."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": [dict(each_rule) for each_rule in each]})
