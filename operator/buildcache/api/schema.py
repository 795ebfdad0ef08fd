"""From a pydantic model to a structural schema, the kind of JSON schema that a CRD may hold. What cannot be expressed is an error."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_KEPT = frozenset(
    {"type", "description", "default", "enum", "format", "pattern", "nullable"}
    | {"minLength", "maxLength", "minItems", "maxItems", "maxProperties", "minimum", "maximum"}
)
_DROPPED = frozenset({"title", "minProperties"})


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The structural schema of a model: references resolved, null unions dropped (an absent field is the null of this API).

    Raises ValueError with the field's path for anything that a CRD cannot hold, such as a union of types.
    """
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}), model.__name__)


def without_defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without any default: a status must read back as it was written, or it would be written again and again."""
    out = {key: value for key, value in node.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {name: without_defaults(each) for name, each in out["properties"].items()}
    if "items" in out:
        out["items"] = without_defaults(out["items"])
    return out


def _convert(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = _merge(node, definitions, path)
    out: dict[str, Any] = {}
    for key, value in merged.items():
        if key in _DROPPED or (key == "default" and value is None):
            continue
        if key == "default":
            out[key] = _without_nulls(value)
        elif key in _KEPT or key.startswith("x-kubernetes-"):
            out[key] = value
        elif key == "const":
            out["enum"] = [value]
        elif key == "properties":
            out[key] = {name: _convert(each, definitions, f"{path}.{name}") for name, each in value.items()}
        elif key == "required":
            out[key] = sorted(value)
        elif key == "items":
            out[key] = _convert(value, definitions, f"{path}[]")
        elif key == "additionalProperties" and isinstance(value, Mapping):
            out[key] = _convert(value, definitions, f"{path}{{}}")
        elif key != "$defs":
            raise ValueError(f"{path}: a structural schema cannot hold {key!r}: {value!r}")
    if out.get("nullable") and "enum" in out:
        # The API server tests null against an enumeration and refuses it, even one that holds null; a pattern lets null pass.
        out["pattern"] = f"^(?:{'|'.join(out.pop('enum'))})$"
    if "type" not in out:
        raise ValueError(f"{path}: has no type")
    return out


def _merge(node: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The node with its reference or null union put in its place; what stands beside them wins, CEL rules are joined."""
    beside = {key: value for key, value in node.items() if key not in ("$ref", "anyOf", "allOf")}
    inner: Mapping[str, Any] = {}
    if "$ref" in node:
        inner = definitions[node["$ref"].rsplit("/", 1)[1]]
    for keyword in ("anyOf", "allOf"):
        if keyword in node:
            members = [member for member in node[keyword] if member.get("type") != "null"]
            if len(members) != 1:
                raise ValueError(f"{path}: a union cannot be part of a structural schema")
            inner = members[0]
    if not inner:
        return beside
    below = _merge(inner, definitions, path)
    validations = "x-kubernetes-validations"
    joined = [*below.get(validations, ()), *beside.get(validations, ())]
    return {**below, **beside, **({validations: joined} if joined else {})}


def _without_nulls(value: Any) -> Any:
    """A default that the API server takes: in a structural schema null is not a value of a typed field."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return value
