"""The one table from AWS error codes to what a caller does about them.

Every call of a driver runs inside `translated`, which turns what botocore raises into one of six answers: three that the driver itself
handles, because they are states and not failures (Absent, Exists, NotYet), and the three of `core/errors.py` that end a pass. Codes are
compared as codes; only where one code means several things does a phrase of the message decide (ECS answers ClientException to nearly
everything).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

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
    # Codes that are not listed and come with a 4xx status are answered the same way: the request as it is cannot succeed.
    Answer.INVALID: ("BadRequest", "InvalidParameterException", "ValidationException", "KmsException"),
}
CODES: Mapping[str, Answer] = {code: answer for answer, codes in _TABLE.items() for code in codes}

_FULL = (("ClientException", "capacity"), ("InvalidParameterException", "No Container Instances were found"))

PHRASES: tuple[tuple[str, str, Answer], ...] = (
    # RunTask with a role that IAM has not spread yet, or with one that ECS may not assume: told apart by time only, so it is tried
    # again for as long as a refusal may last.
    ("ClientException", "unable to assume the role", Answer.NO_ROLE),
    ("ClientException", "Unable to describe task definition", Answer.ABSENT),
    ("ClientException", "TaskDefinition is inactive", Answer.ABSENT),
    ("ClientException", "The specified task definition does not exist", Answer.ABSENT),
    *((code, phrase, Answer.UNAVAILABLE) for code, phrase in _FULL),
    ("InvalidParameterException", "referenced task was not found", Answer.ABSENT),
)
"""Codes that mean several things: code, phrase in the message, answer."""


def answer_of(code: str, message: str = "", status: int = 0) -> Answer:
    """The answer to an error code; the message and the HTTP status decide where the code does not."""
    for ambiguous, phrase, answer in PHRASES:
        if code == ambiguous and phrase in message:
            return answer
    if code in CODES:
        return CODES[code]
    # A proxy's HTML page and moto's 500 arrive with the status as their code.
    return Answer.UNAVAILABLE if status >= 500 or code.startswith("5") or status == 429 else Answer.INVALID


def is_throttling(error: Unavailable) -> bool:
    """Whether AWS only asked for slower calls: nothing is broken, and nothing was done."""
    return _code(error) in THROTTLING


def is_full(error: Unavailable) -> bool:
    """Whether ECS has no room for the task now."""
    return any(_code(error) == code and phrase in error.message for code, phrase in _FULL)


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
        _raise(answer_of(code, message, status), code, message, operation, resource, error)
    except (NoCredentialsError, PartialCredentialsError) as error:
        message = "the operator has no AWS credentials: give its service account a role (IRSA or Pod Identity)"
        raise Denied(message, operation=operation, resource=resource) from error
    except ParamValidationError as error:
        message = str(error)[:_MESSAGE_LIMIT]
        raise Rejected(Reason.INVALID_SPEC, message, operation=operation, resource=resource) from error
    except (BotoCoreError, ResponseParserError) as error:
        # ResponseParserError is neither a ClientError nor a BotoCoreError; it is what an HTML error page of an XML service becomes.
        message = str(error) if isinstance(error, CircuitOpen) else f"no usable answer ({type(error).__name__})"
        raise Unavailable(message, operation=operation, resource=resource) from error


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
            # AWS's own message may hold an encoded authorisation context: the code and the action are what helps.
            advice = f"{code}: the operator's role is not allowed this action (manifests/aws lists all it needs)"
            raise Denied(advice, operation=operation, resource=resource) from error
        case Answer.INVALID | Answer.QUOTA | Answer.NOT_FOUND | Answer.NO_CLUSTER | Answer.NO_ROLE:
            raise Rejected(answer.value, text, operation=operation, resource=resource) from error
