"""The errors of the ECS task API: raised by its rules, turned into answers by `lab.aws.task_api`."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """A request that ECS answers with an error."""

    def __init__(self, code: str, message: str, *, status: int = 400, **members: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members


def invalid(message: str) -> Refused:
    """A parameter that ECS does not take."""
    return Refused("InvalidParameterException", message)


def client(message: str) -> Refused:
    """A fault of the client of another kind."""
    return Refused("ClientException", message)
