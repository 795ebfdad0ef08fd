"""The one table: what each error of AWS, of botocore and of what is between them means to a caller."""

from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from buildcache.aws.clients import Session
from buildcache.aws.errors import (
    CODES,
    SOON,
    THROUGHPUT_PAUSE,
    Absent,
    Exists,
    NotYet,
    translated,
)
from buildcache.core.errors import Denied, Rejected, Unavailable
from buildcache.core.status import CACHE_REASONS, ConditionType, Reason


def client_error(code: str, message: str = "told", status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")


def raised(error: Exception, operation: str = "svc:Operation") -> Exception:
    with pytest.raises(Exception) as caught, translated(operation, "thing"):  # noqa: PT011 - any of the six
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(client_error("ThrottlingException"), Unavailable, id="T38: throttled"),
        pytest.param(client_error("RequestLimitExceeded", status=503), Unavailable, id="T38: EC2's throttling"),
        pytest.param(client_error("TooManyRequestsException", status=429), Unavailable, id="generic 429"),
        pytest.param(client_error("InternalServerError", status=500), Unavailable, id="AWS failed"),
        pytest.param(client_error("500", status=500), Unavailable, id="T40: a 500 page of a JSON service"),
        pytest.param(client_error("Unheard", status=503), Unavailable, id="an unknown 5xx"),
        pytest.param(client_error("DependencyTimeout", status=504), Unavailable, id="T29: EFS dependency timeout"),
        pytest.param(client_error("ExpiredTokenException"), Unavailable, id="T72, F45: expired credentials"),
        pytest.param(client_error("RequestTimeTooSkewed"), Unavailable, id="T72: clock skew"),
        pytest.param(ResponseParserError("<html>"), Unavailable, id="T40, F49: HTML from an XML service"),
        pytest.param(EndpointConnectionError(endpoint_url="http://x"), Unavailable, id="no connection"),
        pytest.param(ConnectTimeoutError(endpoint_url="http://x"), Unavailable, id="connect timeout"),
        pytest.param(ReadTimeoutError(endpoint_url="http://x"), Unavailable, id="T41: read timeout"),
        pytest.param(client_error("AccessDeniedException"), Denied, id="T39, F44: denied"),
        pytest.param(client_error("UnauthorizedOperation", status=403), Denied, id="EC2's denied"),
        pytest.param(NoCredentialsError(), Denied, id="no credentials"),
        pytest.param(client_error("FileSystemNotFound", status=404), Absent, id="absent file system"),
        pytest.param(client_error("InvalidGroup.NotFound"), Absent, id="T44: absent group"),
        pytest.param(client_error("RepositoryNotFoundException"), Absent, id="absent repository"),
        pytest.param(client_error("LifecyclePolicyNotFoundException"), Absent, id="no policy"),
        pytest.param(client_error("PolicyNotFound", status=404), Absent, id="no backup policy"),
        pytest.param(client_error("FileSystemAlreadyExists", status=409), Exists, id="T02: token used"),
        pytest.param(client_error("InvalidPermission.Duplicate"), Exists, id="T10: rule is there"),
        pytest.param(client_error("MountTargetConflict", status=409), Exists, id="T05: zone taken"),
        pytest.param(client_error("IncorrectFileSystemLifeCycleState", status=409), NotYet, id="T14: updating"),
        pytest.param(client_error("FileSystemInUse", status=409), NotYet, id="T29, F39: mounts left"),
        pytest.param(client_error("DependencyViolation"), NotYet, id="T30, F40: group in use"),
        pytest.param(client_error("FileSystemLimitExceeded", status=403), Rejected, id="T42, F47: quota"),
        pytest.param(client_error("InvalidVpcID.NotFound"), Rejected, id="no VPC"),
        pytest.param(client_error("ClusterNotFoundException"), Rejected, id="T27, F34: no cluster"),
        pytest.param(client_error("ValidationException"), Rejected, id="refused"),
        pytest.param(client_error("Unheard"), Rejected, id="an unknown 4xx"),
        pytest.param(ParamValidationError(report="bad"), Rejected, id="refused by botocore's model"),
    ],
)
def test_what_an_error_means(error: Exception, expected: type[Exception]) -> None:
    assert type(raised(error)) is expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("ECS was unable to assume the role 'arn:aws:iam::1:role/r'", Rejected),
        ("Unable to describe task definition.", Absent),
        ("TaskDefinition is inactive", Absent),
        ("The specified capacity provider strategy cannot be accepted: capacity of PROVISIONING", Unavailable),
        ("Fargate requires something else", Rejected),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_t43_ecs_says_client_exception_to_everything(message: str, expected: type[Exception]) -> None:
    assert type(raised(client_error("ClientException", message))) is expected


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("LimitExceededException", Reason.QUOTA_EXCEEDED),
        ("NoFreeAddressesInSubnet", Reason.QUOTA_EXCEEDED),
        ("SubnetNotFound", Reason.NOT_FOUND),
        ("ClusterNotFoundException", Reason.CLUSTER_NOT_FOUND),
        ("InvalidParameterException", Reason.INVALID_SPEC),
    ],
)
def test_rejections_have_a_reason_of_the_closed_set(code: str, reason: Reason) -> None:
    error = raised(client_error(code))
    assert isinstance(error, Rejected)
    assert error.reason is reason
    assert reason in CACHE_REASONS[ConditionType.STALLED]
    assert str(error) == f"svc:Operation on thing: {code}: told"


def test_t18_a_throughput_change_too_many_is_a_long_wait_and_other_waits_are_short() -> None:
    pauses = [raised(client_error(code)) for code in ("TooManyRequests", "FileSystemInUse")]
    assert [pause.seconds for pause in pauses if isinstance(pause, NotYet)] == [THROUGHPUT_PAUSE, SOON]


def test_f44_a_denial_says_what_is_missing_and_repeats_nothing_that_aws_said() -> None:
    error = raised(client_error("UnauthorizedOperation", "Encoded authorization failure message: 7f3c-secret"))
    assert "svc:Operation on thing" in str(error)
    assert "secret" not in str(error)


ROLE = "arn:aws:iam::111122223333:role/build"
USER = "arn:aws:sts::111122223333:assumed-role/operator/buildcache-operator"


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (
            f"User: {USER} is not authorized to perform: iam:PassRole on resource: {ROLE} because no identity-based policy "
            "allows the iam:PassRole action",
            f"not authorized to perform iam:PassRole on resource {ROLE} because no identity-based policy allows",
        ),
        (
            "You are not authorized to perform this operation. User: u is not authorized to perform: ec2:CreateSecurityGroup "
            "on resource: arn:aws:ec2:eu-west-1:111122223333:vpc/vpc-1 with an explicit deny in a service control policy. "
            "Encoded authorization failure message: 7f3c-secret",
            "not authorized to perform ec2:CreateSecurityGroup on resource arn:aws:ec2:eu-west-1:111122223333:vpc/vpc-1 with an "
            "explicit deny in a service control policy",
        ),
        (f"User: {USER} is not authorized to perform: ecs:ListTasks", "not authorized to perform ecs:ListTasks;"),
    ],
    ids=["a role that may not be passed", "a service control policy", "no resource"],
)
def test_a11_the_action_and_the_resource_that_aws_names_are_kept(message: str, kept: str) -> None:
    error = raised(client_error("AccessDeniedException", message), "ecs:RegisterTaskDefinition")
    assert isinstance(error, Denied)
    assert str(error).startswith("ecs:RegisterTaskDefinition on thing: AccessDeniedException: ")
    assert kept in str(error)
    assert "secret" not in str(error)
    assert USER not in str(error)


def test_m11_an_unlisted_refusal_of_a_read_is_tried_again_in_the_words_of_aws_and_that_of_a_write_is_not() -> None:
    unheard = client_error("UnheardException", "the moon is in the way")
    for operation in ("svc:DescribeThings", "svc:ListThings", "svc:GetThing"):
        read = raised(unheard, operation)
        assert type(read) is Unavailable
        assert "UnheardException: the moon is in the way" in str(read)
    written = raised(unheard, "svc:CreateThing")
    assert isinstance(written, Rejected)
    assert written.reason is Reason.INVALID_SPEC


def test_m11_a_revision_that_is_being_made_at_the_same_time_is_waited_for() -> None:
    message = "Too many concurrent attempts to create a new revision of the specified family."
    error = raised(client_error("ClientException", message), "ecs:RegisterTaskDefinition")
    assert type(error) is Unavailable
    assert message in str(error)


def test_long_messages_are_cut() -> None:
    assert len(str(raised(client_error("ValidationException", "x" * 10_000)))) < 500


def test_a_bug_stays_a_bug() -> None:
    assert type(raised(KeyError("FileSystems"))) is KeyError


OPERATIONS = {
    "efs": (
        "CreateFileSystem DescribeFileSystems UpdateFileSystem DeleteFileSystem PutLifecycleConfiguration PutBackupPolicy "
        "DescribeLifecycleConfiguration DescribeBackupPolicy CreateMountTarget DescribeMountTargets DeleteMountTarget "
        "ModifyMountTargetSecurityGroups"
    ),
    "ecr": (
        "CreateRepository DescribeRepositories DeleteRepository PutImageTagMutability PutLifecyclePolicy "
        "GetLifecyclePolicy DeleteLifecyclePolicy ListTagsForResource"
    ),
    "logs": "CreateLogGroup DescribeLogGroups DeleteLogGroup PutRetentionPolicy ListTagsForResource",
    "ecs": (
        "DescribeClusters RegisterTaskDefinition DescribeTaskDefinition DeregisterTaskDefinition ListTaskDefinitions "
        "ListTaskDefinitionFamilies"
    ),
}
"""Service → the operations of the drivers of BuildCache parts."""

INVALID_ON_PURPOSE = {
    # a request that cannot succeed as it is: what a code that is not listed means
    "AvailabilityZonesMismatch",
    "ClientException",
    "IpAddressInUse",
    "InvalidTagParameterException",
    "RepositoryNotEmptyException",
    "TemplateNotFoundException",
    "UnsupportedAvailabilityZone",
}


def test_every_error_that_our_operations_declare_is_in_the_table_or_left_out_on_purpose() -> None:
    session = botocore.session.get_session()
    declared = set()
    for service, operations in OPERATIONS.items():
        model = session.get_service_model(service)
        for operation in operations.split():
            shapes = model.operation_model(operation).error_shapes
            declared |= {shape.metadata.get("error", {}).get("code", shape.name) for shape in shapes}
    assert declared - CODES.keys() - INVALID_ON_PURPOSE == set()


def test_c14_an_error_of_this_machine_that_names_no_file_is_not_the_token() -> None:
    error = raised(OSError(24, "Too many open files"))
    assert isinstance(error, Unavailable)
    assert "Too many open files" in error.message
    assert isinstance(raised(FileNotFoundError(2, "No such file", "/var/run/token")), Denied)


@pytest.mark.parametrize("serve_html", [200, 403, 502], indirect=True)
@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("ecr", "describe_repositories", {}),
        ("ecs", "register_task_definition", {"family": "f", "containerDefinitions": []}),
        ("efs", "describe_file_systems", {}),
        ("logs", "describe_log_groups", {}),
        ("ec2", "describe_subnets", {}),
    ],
)
def test_m11_t40_an_html_page_is_no_answer_whatever_its_status_and_the_service(
    serve_html: Callable[[], str], monkeypatch: pytest.MonkeyPatch, service: str, operation: str, arguments: Any
) -> None:
    for name, value in (("AWS_ENDPOINT_URL", serve_html()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(name, value)
    client = getattr(Session(pool=1).region("us-east-1"), service)
    with pytest.raises(Unavailable), translated(f"{service}:Operation"):
        getattr(client, operation)(**arguments)


def test_t40_a_real_client_that_meets_an_html_page(serve_html: Callable[[], str]) -> None:
    client = boto3.client(
        "ec2", region_name="us-east-1", endpoint_url=serve_html(), aws_access_key_id="a", aws_secret_access_key="b"
    )
    with pytest.raises(Unavailable), translated("ec2:DescribeSubnets"):
        client.describe_subnets()
