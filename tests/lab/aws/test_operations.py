"""Requests are known by service and operation: every operation of the services in use, as botocore itself would send it."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from lab.aws.operations import Operation, identify
from tests.lab.aws.served import Served, unique

SERVICES = ["ecs", "ecr", "efs", "logs", "s3", "sts", "iam"]
# Sent to a host or by a way of their own, so never to this endpoint with these rules.
ELSEWHERE = {"s3": {"WriteGetObjectResponse", "CreateSession", "ListDirectoryBuckets"}, "logs": {"StartLiveTail"}}


def sample(shape: Any, depth: int = 0) -> Any:
    """The smallest value that is valid for a shape."""
    match shape.type_name:
        case "structure":
            names = list(getattr(shape, "required_members", ()))
            if getattr(shape, "is_tagged_union", False):
                names = names or [next(iter(shape.members))]
            return {name: sample(shape.members[name], depth + 1) for name in names} if depth < 8 else {}
        case "list":
            return [sample(shape.member, depth + 1) for _ in range(shape.metadata.get("min", 1))]
        case "map":
            return {"key": sample(shape.value, depth + 1)}
        case "string":
            return shape.enum[0] if getattr(shape, "enum", None) else "a" * max(3, shape.metadata.get("min", 3))
        case "integer" | "long":
            return max(1, shape.metadata.get("min", 1))
        case "float" | "double":
            return 1.0
        case "boolean":
            return True
        case "timestamp":
            return 0
        case _:
            return b"x"


def client_for(service: str) -> Any:
    session: Any = boto3.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
    return session.client(service, endpoint_url="http://127.0.0.1:1", config=Config(s3={"addressing_style": "path"}))


def request_of(client: Any, name: str) -> AWSPreparedRequest:
    """What botocore sends for the smallest valid call of an operation."""
    sent: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), EmptyBody())

    client.meta.events.register_first("before-send", answer, unique_id="answer")
    shape = client.meta.service_model.operation_model(name).input_shape
    method = next(method for method, operation in client.meta.method_to_api_mapping.items() if operation == name)
    try:
        getattr(client, method)(**(sample(shape) if shape is not None else {}))
    except Exception:
        # The empty answer may be no answer to this operation; what was sent is what counts here.
        assert sent, f"{name} was never sent"
    finally:
        client.meta.events.unregister("before-send", unique_id="answer")
    return sent[0]


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_is_known_by_what_botocore_sends(service: str) -> None:
    client = client_for(service)
    taken_for = {}
    for name in client.meta.service_model.operation_names:
        if name not in ELSEWHERE.get(service, ()) and not client.meta.service_model.operation_model(name).deprecated:
            request = request_of(client, name)
            found = identify(environ(request), body(request))
            taken_for[name] = (found.service, found.name)
            assert found.region in ("us-east-1", None), name
    assert taken_for == {name: (service, name) for name in taken_for}


class EmptyBody:
    """The least that botocore reads a body from."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield b""

    def read(self, *_: object) -> bytes:
        return b""


def environ(request: AWSPreparedRequest) -> dict[str, Any]:
    parts = urlsplit(request.url)
    # Some values are bytes, whatever the type stubs say.
    sent: Any = request.headers
    headers = {
        "HTTP_" + key.upper().replace("-", "_"): value.decode() if isinstance(value, bytes) else str(value)
        for key, value in sent.items()
    }
    return {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": parts.path,
        "QUERY_STRING": parts.query,
        "CONTENT_TYPE": headers.pop("HTTP_CONTENT_TYPE", ""),
        **headers,
    }


def body(request: AWSPreparedRequest) -> bytes:
    raw: Any = request.body
    if raw is None:
        return b""
    if hasattr(raw, "read"):
        raw = raw.read()
    return raw.encode() if isinstance(raw, str) else bytes(raw)


@pytest.mark.parametrize(
    ("name", "mutating"),
    [
        ("DescribeTasks", False),
        ("GetLogEvents", False),
        ("ListTasks", False),
        ("HeadObject", False),
        ("BatchGetImage", False),
        ("BatchCheckLayerAvailability", False),
        ("BatchDeleteImage", True),
        ("RunTask", True),
        ("StopTask", True),
        ("PutRetentionPolicy", True),
        ("CreateFileSystem", True),
        ("TagResource", True),
        ("AuthorizeSecurityGroupIngress", True),
    ],
)
def test_what_is_not_named_as_a_read_is_mutating(name: str, mutating: bool) -> None:
    assert Operation("any", name, "json").mutating is mutating


def test_the_call_log_numbers_calls_in_order_of_arrival(aws: Served) -> None:
    start = aws.next_call
    aws.client("efs").describe_file_systems()
    aws.client("ec2").describe_vpcs()
    aws.client("s3").put_object(Bucket=aws.aws.world.bucket, Key=unique(), Body=b"x")
    calls = aws.calls(start)
    assert [(call["service"], call["operation"], call["mutating"], call["status"]) for call in calls] == [
        ("efs", "DescribeFileSystems", False, 200),
        ("ec2", "DescribeVpcs", False, 200),
        ("s3", "PutObject", True, 200),
    ]
    assert [call["n"] for call in calls] == [start, start + 1, start + 2]
    assert aws.next_call == start + 3
    assert aws.calls(start + 2) == calls[2:]
    assert calls[0]["at"] <= calls[1]["at"] <= calls[2]["at"]
