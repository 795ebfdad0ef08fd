"""The one table from AWS error codes to what a caller does about them.

Every call of a driver runs inside `translated`, which turns what botocore raises into one of six answers: three that the driver itself
handles, because they are states and not failures (Absent, Exists, NotYet), and the three of `core/errors.py` that end a pass. Codes are
compared as codes; only where one code means several things does a phrase of the message decide (ECS answers ClientException to nearly
everything).
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.status import Reason

from .breaker import CircuitOpen

SOON = 5.0
"""Seconds until AWS is asked again when it says that something else must end first."""

THROUGHPUT_PAUSE = 3600.0
"""Seconds between attempts at a throughput change, of which AWS allows one in 24 hours."""

_MESSAGE_LIMIT = 400

SIGN_IN = ("AssumeRole", "AssumeRoleWithWebIdentity")
"""What botocore itself calls when credentials are due, inside of whatever call needs them: its errors are of the operator's set-up."""


class Absent(Exception):
    """The thing is not there: the end of a deletion, the start of a creation."""


class Exists(Exception):
    """The thing is there already: somebody, perhaps an earlier pass whose answer was lost, was first."""


class NotYet(Exception):
    """AWS must first finish something; asking again later is all there is to do."""

    def __init__(self, message: str, seconds: float = SOON) -> None:
        super().__init__(message)
        self.message = message
        self.seconds = seconds


class Answer(Enum):
    """What an error means to the caller."""

    ABSENT = "absent"
    EXISTS = "exists"
    NOT_YET = "not yet"
    UNAVAILABLE = "unavailable"
    DENIED = "denied"
    INVALID = Reason.INVALID_SPEC
    QUOTA = Reason.QUOTA_EXCEEDED
    NOT_FOUND = Reason.NOT_FOUND
    NO_CLUSTER = Reason.CLUSTER_NOT_FOUND
    NO_ROLE = Reason.ACCESS_DENIED


THROTTLING = (
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
)

_TABLE: Mapping[Answer, tuple[str, ...]] = {
    Answer.UNAVAILABLE: (
        *THROTTLING,
        # AWS is in trouble
        "DependencyTimeout",
        "IDPCommunicationError",  # STS cannot reach the cluster's OIDC issuer
        "InsufficientThroughputCapacity",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "OperationAbortedException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unavailable",
        # the SDK fetches new credentials and looks at the clock again before the next try
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
    ),
    Answer.DENIED: (
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "SubscriptionRequiredException",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    ),
    Answer.ABSENT: (
        "AccessPointNotFound",
        "FileSystemNotFound",
        "InvalidGroup.NotFound",
        "InvalidGroupId.NotFound",
        "InvalidPermission.NotFound",
        "LifecyclePolicyNotFoundException",
        "MountTargetNotFound",
        "PolicyNotFound",
        "RepositoryNotFoundException",
        "ResourceNotFoundException",
        "SecurityGroupNotFound",
    ),
    Answer.EXISTS: (
        "AccessPointAlreadyExists",
        "ConflictException",  # RunTask: the client token has its task already
        "FileSystemAlreadyExists",
        "InvalidGroup.Duplicate",
        "InvalidPermission.Duplicate",
        "MountTargetConflict",
        "RepositoryAlreadyExistsException",
        "ResourceAlreadyExistsException",
    ),
    Answer.NOT_YET: (
        "DependencyViolation",
        "FileSystemInUse",
        "IncorrectFileSystemLifeCycleState",
        "IncorrectMountTargetState",
        "InvalidGroup.InUse",
        "ResourceInUseException",
        "TooManyRequests",
        "UpdateInProgressException",
    ),
    Answer.QUOTA: (
        "AccessPointLimitExceeded",
        "FileSystemLimitExceeded",
        "LimitExceeded",
        "LimitExceededException",
        "NetworkInterfaceLimitExceeded",
        "NoFreeAddressesInSubnet",
        "RulesPerSecurityGroupLimitExceeded",
        "SecurityGroupLimitExceeded",
        "ThroughputLimitExceeded",
        "TooManyTagsException",
    ),
    Answer.NOT_FOUND: ("InvalidSubnetID.NotFound", "InvalidVpcID.NotFound", "SubnetNotFound"),
    Answer.NO_CLUSTER: ("ClusterNotFoundException",),
    # A write that is refused with an unlisted code and a 4xx status gets the same answer: the request cannot succeed as it is.
    Answer.INVALID: ("BadRequest", "InvalidParameterException", "ValidationException", "KmsException"),
}
CODES: Mapping[str, Answer] = {code: answer for answer, codes in _TABLE.items() for code in codes}

_FULL = (("ClientException", "capacity"), ("InvalidParameterException", "No Container Instances were found"))

PHRASES: tuple[tuple[str, str, Answer], ...] = (
    # RunTask with a role that IAM has not spread yet, or with one that ECS may not assume: told apart by time only, so it is tried
    # again for as long as a refusal may last.
    ("ClientException", "unable to assume the role", Answer.NO_ROLE),
    # RunTask with a definition that is gone: AWS documents ClientException, and answers InvalidParameterException as well.
    *(
        (code, phrase, Answer.ABSENT)
        for code in ("ClientException", "InvalidParameterException")
        for phrase in (
            "Unable to describe task definition",
            "TaskDefinition is inactive",
            "TaskDefinition not found",
            "The specified task definition does not exist",
        )
    ),
    *((code, phrase, Answer.UNAVAILABLE) for code, phrase in _FULL),
    # RegisterTaskDefinition while another revision of the family is being made: passes by itself.
    ("ClientException", "Too many concurrent attempts to create a new revision", Answer.UNAVAILABLE),
    ("InvalidParameterException", "referenced task was not found", Answer.ABSENT),
)
"""Codes that mean several things: code, phrase in the message, answer."""


_READS = ("Describe", "List", "Get", "BatchGet", "Filter")

_HTML = (b"<!doctype", b"<html")


def answer_of(code: str, message: str = "", status: int = 0, operation: str = "") -> Answer:
    """Map an error code to its answer; the message, the HTTP status and the operation decide where the code does not.

    An unlisted code in the answer to a read says nothing about the spec, because a read sends little more than names of ours.
    """
    for ambiguous, phrase, answer in PHRASES:
        if code == ambiguous and phrase in message:
            return answer
    if code in CODES:
        return CODES[code]
    # A proxy's HTML page and moto's 500 arrive with the status as their code.
    if status >= 500 or code.startswith("5") or status == 429:
        return Answer.UNAVAILABLE
    return Answer.UNAVAILABLE if operation.partition(":")[2].startswith(_READS) else Answer.INVALID


def refuse_html(response_dict: Mapping[str, Any], **_: object) -> None:
    """Handle botocore's `before-parse` event: an HTML page is a proxy's answer, never that of AWS, whatever its status.

    botocore's JSON parser takes such a page with status 200 for an empty answer.
    """
    body = response_dict.get("body")
    if isinstance(body, bytes) and body.lstrip()[:16].lower().startswith(_HTML):
        raise ResponseParserError(f"an HTML page with status {response_dict.get('status_code')} instead of an answer")


def is_throttling(error: Unavailable) -> bool:
    """Whether AWS only asked for slower calls: nothing is broken, and nothing was done."""
    return _code(error) in THROTTLING


def is_full(error: Unavailable) -> bool:
    """Whether ECS has no room for the task now."""
    return any(_code(error) == code and phrase in error.message for code, phrase in _FULL)


def is_unasked(error: Unavailable) -> bool:
    """Whether AWS was not asked, at least not again, because it has not answered other calls."""
    return isinstance(error.__cause__, CircuitOpen)


def _code(error: Exception) -> str:
    cause = error.__cause__
    return str(cause.response.get("Error", {}).get("Code", "")) if isinstance(cause, ClientError) else ""


@contextmanager
def translated(operation: str, resource: str = "") -> Iterator[None]:
    """Raises what botocore raises as one of the six answers. `operation` as IAM names it: `ecr:CreateRepository`."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code, message = str(told.get("Code", "")), str(told.get("Message", ""))[:_MESSAGE_LIMIT]
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if error.operation_name in SIGN_IN and CODES.get(code) is not Answer.UNAVAILABLE and status < 500:
            raise Denied(_sign_in_advice(code), operation=f"sts:{error.operation_name}", resource="") from error
        _raise(answer_of(code, message, status, operation), code, message, operation, resource, error)
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = "the operator has no AWS credentials: give its service account a role (IRSA or Pod Identity)"
        raise Denied(message, operation=operation, resource=resource) from error
    except ParamValidationError as error:
        message = str(error)[:_MESSAGE_LIMIT]
        raise Rejected(Reason.INVALID_SPEC, message, operation=operation, resource=resource) from error
    except (BotoCoreError, ResponseParserError) as error:
        # ResponseParserError is neither a ClientError nor a BotoCoreError; it is what an HTML page becomes.
        message = str(error) if isinstance(error, CircuitOpen) else f"no usable answer ({type(error).__name__})"
        raise Unavailable(message, operation=operation, resource=resource) from error
    except OSError as error:
        # After BotoCoreError, of which the timeouts are OSErrors too: this is the token of the web identity, read when credentials are due.
        if error.filename is None:
            message = f"no usable answer ({type(error).__name__}: {error.strerror or error})"
            raise Unavailable(message, operation=operation, resource=resource) from error
        message = (
            f"cannot read {error.filename} ({error.strerror}), which the operator signs in to AWS with:"
            " check AWS_WEB_IDENTITY_TOKEN_FILE, the projected volume of its Pod and fsGroup in its securityContext"
        )
        raise Denied(message, operation="sts:AssumeRoleWithWebIdentity", resource="") from error


def _sign_in_advice(code: str) -> str:
    match code:
        case "InvalidIdentityToken" | "IDPRejectedClaim":
            advice = (
                "register this cluster's OIDC issuer as an identity provider in IAM, with audience sts.amazonaws.com"
            )
        case "AccessDenied" | "AccessDeniedException":
            advice = (
                "the trust policy of its role must name this cluster's OIDC provider and the operator's service account"
            )
        case _:
            advice = "check the role ARN in the annotation of its service account, and the role's trust policy"
    return f"{code}: the operator cannot sign in to AWS; {advice} (manifests/aws)"


def _raise(answer: Answer, code: str, message: str, operation: str, resource: str, error: ClientError) -> None:
    text = f"{code}: {message}" if message else code
    match answer:
        case Answer.ABSENT:
            raise Absent(text) from error
        case Answer.EXISTS:
            raise Exists(text) from error
        case Answer.NOT_YET:
            raise NotYet(text, THROUGHPUT_PAUSE if code == "TooManyRequests" else SOON) from error
        case Answer.UNAVAILABLE:
            raise Unavailable(text, operation=operation, resource=resource) from error
        case Answer.DENIED:
            raise Denied(f"{code}: {_denial(message)}", operation=operation, resource=resource) from error
        case Answer.INVALID | Answer.QUOTA | Answer.NOT_FOUND | Answer.NO_CLUSTER | Answer.NO_ROLE:
            raise Rejected(answer.value, text, operation=operation, resource=resource) from error


_DENIED = re.compile(
    r"not authorized to perform:? (?P<action>[A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on resource:? (?P<resource>\S+))?"
    r"(?P<why>,? (?:because|with) [^.]*)?"
)


def _denial(message: str) -> str:
    """Say which action on which resource AWS refused: not always the one that was called (`iam:PassRole`).

    Only these parts are kept. The rest of AWS's message may hold an encoded authorization context.
    """
    found = _DENIED.search(message)
    if found is None:
        return "the operator's role does not allow this action; manifests/aws/README.md lists the permissions it needs"
    resource = (found["resource"] or "").rstrip(".,")
    where = f" on resource {resource}" if resource else ""
    why = (found["why"] or "").rstrip()
    return (
        f"the operator's role is not authorized to perform {found['action']}{where}{why}; "
        "manifests/aws/README.md lists the permissions it needs"
    )
