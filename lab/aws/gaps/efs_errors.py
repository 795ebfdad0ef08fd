"""EFS errors with the status and members of botocore's model. Raised by `efs.py` and its rules."""

from __future__ import annotations

import json
from functools import cache

import botocore.session
from moto.efs import exceptions
from moto.efs.exceptions import EFSError


class EfsError(EFSError):  # type: ignore[misc]  # moto carries no types
    """An error of the EFS model; `members` are further members of its shape, such as FileSystemId."""

    def __init__(self, error_code: str, message: str, **members: str) -> None:
        super().__init__(error_code, message)
        self.code = statuses()[error_code]
        self.description = json.dumps({"ErrorCode": error_code, "Message": message, "message": message, **members})


@cache
def statuses() -> dict[str, int]:
    """Return the HTTP status of each EFS error."""
    model = botocore.session.get_session().get_service_model("efs")
    return {shape.name: int(shape.metadata["error"]["httpStatusCode"]) for shape in model.error_shapes}


def correct_statuses() -> None:
    """Give moto's own EFS errors the status that AWS uses."""
    for name, status in statuses().items():
        raised = getattr(exceptions, name, None)
        if raised is not None:
            raised.code = status


def bad_request(message: str) -> EfsError:
    """Parameters that do not make sense."""
    return EfsError("BadRequest", message)


def file_system_not_found(file_system_id: str) -> EfsError:
    """No such file system."""
    return EfsError("FileSystemNotFound", f"File system '{file_system_id}' does not exist.")
