"""Validation errors as lines for people: the path of the field in JSON names, and what is allowed."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

_WORDS = {
    "missing": "is required",
    "string_too_short": "needs at least {min_length} character(s)",
    "string_too_long": "may have at most {max_length} characters",
    "too_short": "needs at least {min_length} item(s)",
    "too_long": "may have at most {max_length} items",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
}
"""pydantic's kinds of error that its own message puts in Python's words."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One refused field. `path` such as `spec.executors[0].memory`; `message` says what is allowed."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def problems(error: ValidationError) -> tuple[Problem, ...]:
    """All problems of a validation error, in the order of the fields. User values are never repeated in a message."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        context = item.get("ctx", {})
        path = _join(item["loc"])
        if item["type"] == "rule":
            path = ".".join(part for part in (path, str(context["field"])) if part)
        words = _WORDS.get(item["type"])
        found.append(Problem(path.replace(".[", "["), words.format_map(context) if words else item["msg"]))
    return tuple(found)


def summary(found: Iterable[Problem], limit: int = 5) -> str:
    """The problems as one message for a condition, bounded."""
    lines = [str(problem) for problem in found]
    more = f"; and {len(lines) - limit} more" if len(lines) > limit else ""
    return "; ".join(lines[:limit]) + more


def _join(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
