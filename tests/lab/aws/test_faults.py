"""Faults on request: each kind on each wire protocol, and what counts as a call."""

import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, ReadTimeoutError

from tests.lab.aws.served import Served, refused, served, unique, until

Call = Callable[[Served], Any]

# One operation of each protocol: json, json, ec2, rest-json, query, rest-xml.
OPERATIONS: dict[str, Call] = {
    "CreateCluster": lambda aws: aws.client("ecs").create_cluster(clusterName=unique()),
    "CreateRepository": lambda aws: aws.client("ecr").create_repository(repositoryName=unique()),
    "CreateLogGroup": lambda aws: aws.client("logs").create_log_group(logGroupName=unique()),
    "CreateSecurityGroup": lambda aws: aws.client("ec2").create_security_group(
        GroupName=unique("group"), Description="test", VpcId=aws.aws.world.vpc_id
    ),
    "CreateFileSystem": lambda aws: aws.client("efs").create_file_system(CreationToken=unique()),
    "GetCallerIdentity": lambda aws: aws.client("sts").get_caller_identity(),
    "PutObject": lambda aws: aws.client("s3").put_object(Bucket=aws.aws.world.bucket, Key=unique(), Body=b"x"),
}
CODES: dict[str, dict[str, tuple[str, int]]] = {
    "CreateCluster": {
        "throttle": ("ThrottlingException", 400),
        "error": ("ServerException", 500),
        "denied": ("AccessDeniedException", 400),
    },
    "CreateRepository": {
        "throttle": ("ThrottlingException", 400),
        "error": ("ServerException", 500),
        "denied": ("AccessDeniedException", 400),
    },
    "CreateLogGroup": {
        "throttle": ("ThrottlingException", 400),
        "error": ("ServiceUnavailableException", 500),
        "denied": ("AccessDeniedException", 400),
    },
    "CreateSecurityGroup": {
        "throttle": ("RequestLimitExceeded", 503),
        "error": ("InternalError", 500),
        "denied": ("UnauthorizedOperation", 403),
    },
    "CreateFileSystem": {
        "throttle": ("ThrottlingException", 429),
        "error": ("InternalServerError", 500),
        "denied": ("AccessDeniedException", 403),
    },
    "GetCallerIdentity": {
        "throttle": ("Throttling", 400),
        "error": ("InternalFailure", 500),
        "denied": ("AccessDenied", 403),
    },
    "PutObject": {"throttle": ("SlowDown", 503), "error": ("InternalError", 500), "denied": ("AccessDenied", 403)},
}


@pytest.mark.parametrize("kind", ["throttle", "error", "denied"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_t38_t39_an_answered_fault_has_the_code_that_the_service_really_uses(
    aws: Served, operation: str, kind: str
) -> None:
    aws.aws.add_faults([{"operation": operation, "kind": kind, "times": 1}])
    code, status = CODES[operation][kind]
    start = aws.next_call
    with refused(code, status) as response:
        OPERATIONS[operation](aws)
    if kind == "denied":
        assert operation in response["Error"]["Message"]
    assert [(call["operation"], call["status"]) for call in aws.calls(start)] == [(operation, status)]
    OPERATIONS[operation](aws)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_t41_a_reset_has_no_effect_and_no_answer(aws: Served, operation: str) -> None:
    aws.aws.add_faults([{"operation": operation, "kind": "reset"}])
    start = aws.next_call
    with pytest.raises((ConnectionError, HTTPClientError)):
        OPERATIONS[operation](aws)
    assert [(call["operation"], call["status"]) for call in aws.calls(start)] == [(operation, None)]
    OPERATIONS[operation](aws)


def test_c5_one_region_hangs_and_another_answers(aws: Served) -> None:
    aws.aws.add_faults([{"operation": "*", "kind": "hang", "region": "eu-west-3", "times": -1}])
    hasty = Config(read_timeout=0.5, retries={"total_max_attempts": 1})
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test")
    there = session.client("ecs", region_name="eu-west-3", endpoint_url=aws.aws.url, config=hasty)
    here = aws.client("ecs")
    with pytest.raises(ReadTimeoutError):
        there.create_cluster(clusterName="hung")
    here.create_cluster(clusterName="answered")
    aws.aws.clear_faults()
    time.sleep(0.3)  # for what hangs to notice
    assert there.list_clusters()["clusterArns"] == [], "it had no effect"
    there.close()


def test_t41_a_reset_create_made_nothing(aws: Served) -> None:
    aws.aws.add_faults([{"operation": "CreateFileSystem", "kind": "reset"}])
    efs, token = aws.client("efs"), unique()
    with pytest.raises(BotoCoreError):
        efs.create_file_system(CreationToken=token)
    assert efs.describe_file_systems(CreationToken=token)["FileSystems"] == []


def test_t02_a_lost_create_made_it_and_the_retry_meets_it(aws: Served) -> None:
    aws.aws.add_faults([{"operation": "CreateFileSystem", "kind": "lost"}])
    token = unique()
    with pytest.raises(ClientError) as caught:
        aws.client("efs", attempts=3).create_file_system(CreationToken=token)
    assert caught.value.response["Error"]["Code"] == "FileSystemAlreadyExists"
    (made,) = aws.client("efs").describe_file_systems(CreationToken=token)["FileSystems"]
    response: dict[str, Any] = dict(caught.value.response)
    assert response["FileSystemId"] == made["FileSystemId"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_lost_answer_never_arrives(aws: Served, operation: str) -> None:
    aws.aws.add_faults([{"operation": operation, "kind": "lost"}])
    with pytest.raises((ConnectionError, HTTPClientError)):
        OPERATIONS[operation](aws)


def test_t70_a_delayed_call_is_answered_late(aws: Served) -> None:
    aws.aws.add_faults([{"operation": "DescribeClusters", "kind": "delay", "seconds": 0.3}])
    ecs = aws.client("ecs")
    began = time.monotonic()
    assert ecs.describe_clusters(clusters=["builds"])["clusters"]
    assert time.monotonic() - began >= 0.3


def test_t41_a_delayed_write_happens_although_the_client_gave_up(aws: Served) -> None:
    aws.aws.add_faults([{"operation": "CreateLogGroup", "kind": "delay", "seconds": 0.5}])
    group = unique()
    with pytest.raises(BotoCoreError):
        aws.client("logs", read_timeout=0.1).create_log_group(logGroupName=group)
    logs = aws.client("logs")
    until(lambda: logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"], lambda found: len(found) == 1)


def test_times_counts_down_and_minus_one_lasts_until_deleted(aws: Served) -> None:
    ecs = aws.client("ecs")
    aws.aws.add_faults([{"operation": "ListClusters", "kind": "throttle", "times": 2}])
    for _ in range(2):
        with refused("ThrottlingException"):
            ecs.list_clusters()
    ecs.list_clusters()
    aws.aws.add_faults([{"operation": "ListClusters", "kind": "throttle", "times": -1}])
    for _ in range(5):
        with refused("ThrottlingException"):
            ecs.list_clusters()
    aws.aws.clear_faults()
    ecs.list_clusters()


def test_rules_for_one_operation_are_used_in_order(aws: Served) -> None:
    ecs = aws.client("ecs")
    aws.aws.add_faults(
        [{"operation": "ListClusters", "kind": "throttle"}, {"operation": "ListClusters", "kind": "denied"}]
    )
    with refused("ThrottlingException"):
        ecs.list_clusters()
    with refused("AccessDeniedException"):
        ecs.list_clusters()
    ecs.list_clusters()


def test_t29_t42_an_error_can_be_any_code_of_the_service(aws: Served) -> None:
    aws.aws.add_faults(
        [{"operation": "DeleteMountTarget", "kind": "error", "code": "DependencyTimeout", "status": 504}]
    )
    with refused("DependencyTimeout", 504):
        aws.client("efs").delete_mount_target(MountTargetId="fsmt-0123456789abcdef0")


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "throttle"},
        {"operation": "RunTask", "kind": "explode"},
        {"operation": "RunTask", "kind": "throttle", "times": 0},
        {"operation": "RunTask", "kind": "throttle", "times": "many"},
        {"operation": "StopTask", "kind": "failures"},
        {"operation": "RunTask", "kind": "delay", "seconds": "long"},
        {"operation": "RunTask", "kind": "throttle", "reasons": "typo"},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_and_none_is_added(aws: Served, rule: dict[str, Any]) -> None:
    good = {"operation": "ListClusters", "kind": "throttle"}
    with pytest.raises(ValueError, match=r"\w"):
        aws.aws.add_faults([good, rule])
    aws.client("ecs").list_clusters()


def test_t33_a_crash_before_the_effect_leaves_nothing() -> None:
    crashes: list[str] = []
    with served(on_crash=lambda: crashes.append("crashed")) as aws:
        efs, token = aws.client("efs"), unique()
        aws.aws.crash("CreateFileSystem", "before")
        with pytest.raises(BotoCoreError):
            efs.create_file_system(CreationToken=token)
        assert crashes == ["crashed"]
        assert efs.describe_file_systems(CreationToken=token)["FileSystems"] == []
        efs.create_file_system(CreationToken=token)
        assert crashes == ["crashed"]


def test_t01_a_crash_after_the_effect_leaves_it() -> None:
    seen: list[int] = []
    token = unique()

    def look() -> None:
        seen.append(len(aws.client("efs").describe_file_systems(CreationToken=token)["FileSystems"]))

    with served(on_crash=look) as aws:
        aws.aws.crash("CreateFileSystem", "after")
        with pytest.raises(BotoCoreError):
            aws.client("efs", read_timeout=5).create_file_system(CreationToken=token)
        look()
    assert seen == [1, 1]


def test_a_crash_is_before_or_after(aws: Served) -> None:
    with pytest.raises(ValueError, match="before or after"):
        aws.aws.crash("RunTask", "during")


def test_clearing_faults_clears_crashes_too(aws: Served) -> None:
    aws.aws.crash("ListClusters", "before")
    aws.aws.clear_faults()
    aws.client("ecs").list_clusters()
