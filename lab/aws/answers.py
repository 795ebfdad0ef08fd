"""Error answers as AWS forms them on each wire protocol, with the codes each service really uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

from lab.aws.operations import Operation

JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]

    @property
    def status_line(self) -> str:
        """Status as WSGI wants it."""
        return f"{self.status} {'OK' if self.status < 300 else 'Error'}"


THROTTLED: Mapping[str, tuple[str, int]] = {
    "ec2": ("RequestLimitExceeded", 503),
    "efs": ("ThrottlingException", 429),
    "s3": ("SlowDown", 503),
    "sts": ("Throttling", 400),
    "iam": ("Throttling", 400),
}
FAILED: Mapping[str, tuple[str, int]] = {
    "ec2": ("InternalError", 500),
    "efs": ("InternalServerError", 500),
    "s3": ("InternalError", 500),
    "sts": ("InternalFailure", 500),
    "iam": ("ServiceFailure", 500),
    "logs": ("ServiceUnavailableException", 500),
}
DENIED: Mapping[str, tuple[str, int]] = {
    "ec2": ("UnauthorizedOperation", 403),
    "efs": ("AccessDeniedException", 403),
    "s3": ("AccessDenied", 403),
    "sts": ("AccessDenied", 403),
    "iam": ("AccessDenied", 403),
}
ACTION_PREFIXES = {"efs": "elasticfilesystem"}


def throttled(operation: Operation) -> Answer:
    """Rate exceeded."""
    code, status = THROTTLED.get(operation.service, ("ThrottlingException", 400))
    return error(operation, code, "Rate exceeded", status)


def failed(operation: Operation, code: str | None = None, status: int | None = None) -> Answer:
    """An error of the service's own, or the one named."""
    usual_code, usual_status = FAILED.get(operation.service, ("ServerException", 500))
    return error(
        operation, code or usual_code, "The service met an error (asked for by a lab rule).", status or usual_status
    )


def denied(operation: Operation, account: str) -> Answer:
    """No permission, in the words of IAM."""
    code, status = DENIED.get(operation.service, ("AccessDeniedException", 400))
    action = f"{ACTION_PREFIXES.get(operation.service, operation.service)}:{operation.name}"
    message = (
        f"User: arn:aws:iam::{account}:user/lab is not authorized to perform: {action} on resource: * "
        f"because no identity-based policy allows the {action} action"
    )
    return error(operation, code, message, status)


def success(document: Mapping[str, Any]) -> Answer:
    """A JSON 1.1 answer."""
    return json_text(json.dumps(document, separators=(",", ":")))


def json_text(text: str) -> Answer:
    """A JSON 1.1 answer that is text already."""
    return _answer(200, text.encode(), JSON)


def error(operation: Operation, code: str, message: str, status: int, **members: Any) -> Answer:
    """Form an error for the operation's protocol; `members` are further members of its shape."""
    match operation.protocol:
        case "json":
            document = {"__type": code, "message": message, **members}
            return _answer(status, json.dumps(document).encode(), JSON, ("x-amzn-ErrorType", code))
        case "rest-json":
            document = {"ErrorCode": code, "Message": message, "message": message, **members}
            return _answer(status, json.dumps(document).encode(), "application/json", ("x-amzn-ErrorType", code))
        case "ec2":
            body = (
                f"<Response><Errors><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></Errors>"
                f"<RequestID>{uuid4()}</RequestID></Response>"
            )
        case "query":
            side = "Receiver" if status >= 500 else "Sender"
            body = (
                f"<ErrorResponse><Error><Type>{side}</Type><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
                f"<RequestId>{uuid4()}</RequestId></ErrorResponse>"
            )
        case _:
            body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>{uuid4()}</RequestId></Error>"
    return _answer(status, ('<?xml version="1.0" encoding="UTF-8"?>\n' + body).encode(), "text/xml")


def _answer(status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> Answer:
    return Answer(
        status,
        body,
        (
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("x-amzn-RequestId", str(uuid4())),
            *headers,
        ),
    )
