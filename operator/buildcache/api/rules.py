"""CEL rules of the CRDs, as the models carry them in their schema."""

from pydantic import ConfigDict


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
