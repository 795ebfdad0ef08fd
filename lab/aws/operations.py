"""Which service and operation a request means: by header, form field, or method and path as botocore's service models give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import botocore.session

SERVICES_BY_SIGNING_NAME = {
    "elasticfilesystem": "efs",
    "tagging": "resourcegroupstaggingapi",
    "monitoring": "cloudwatch",
}
READING = re.compile(r"^(Describe|Get|List|Head|BatchGet|BatchCheck)")


@dataclass(frozen=True, slots=True)
class Operation:
    """One request's service and operation, in botocore's names."""

    service: str
    name: str
    protocol: str
    """json, query, ec2, rest-json or rest-xml."""
    region: str | None = None

    @property
    def mutating(self) -> bool:
        """True for everything that is not named as a read."""
        return not READING.match(self.name)


@dataclass(frozen=True, slots=True)
class Route:
    """Method and path of one operation of a REST service."""

    operation: str
    method: str
    path: re.Pattern[str]
    literals: int
    query: Mapping[str, str | None]
    headers: frozenset[str]

    @property
    def precision(self) -> tuple[int, int, int]:
        """A more precise route wins over a more general one."""
        return len(self.query), len(self.headers), self.literals

    def matches(self, method: str, path: str, query: Mapping[str, list[str]], environ: Mapping[str, Any]) -> bool:
        """Compare method, path, fixed query parameters and required headers."""
        return (
            method == self.method
            and self.path.fullmatch(path) is not None
            and all(key in query and (value is None or query[key] == [value]) for key, value in self.query.items())
            and all(_environ_key(header) in environ for header in self.headers)
        )


def identify(environ: Mapping[str, Any], body: bytes) -> Operation:
    """Name the operation of a WSGI request; an unknown one is named by its method and path."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    region, service = _signed_for(environ, query)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if "." in target:
        return Operation(service or _by_target(target), target.rpartition(".")[2], "json", region)
    action = _action(environ, query, body)
    if action is not None:
        service = service or "sts"
        return Operation(service, action, protocol_of(service) or "query", region)
    method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
    service = service or "s3"
    for route in routes(service):
        if route.matches(method, path, query, environ):
            return Operation(service, route.operation, protocol_of(service) or "rest-json", region)
    return Operation(service, f"{method} {path}", protocol_of(service) or "rest-json", region)


@cache
def protocol_of(service: str) -> str | None:
    """Return the wire protocol of a service, or None when botocore does not know the service."""
    model = _model(service)
    return None if model is None else str(model.metadata["protocol"])


@cache
def routes(service: str) -> tuple[Route, ...]:
    """Return the routes of a REST service, the most precise first."""
    return tuple(sorted(_routes(service), key=lambda route: route.precision, reverse=True))


def _routes(service: str) -> Iterator[Route]:
    model = _model(service)
    if model is None or not model.metadata["protocol"].startswith("rest"):
        return
    for name in model.operation_names:
        operation = model.operation_model(name)
        if operation.deprecated:
            # S3's old operations share method and path with those that replaced them.
            continue
        path, _, query = operation.http["requestUri"].partition("?")
        pattern = re.escape(path.rstrip("/") or "/")
        pattern = re.sub(r"\\\{[A-Za-z]+\\\+\\\}", "(.+)", pattern)
        pattern = re.sub(r"\\\{[A-Za-z]+\\\}", "([^/]+)", pattern)
        required = () if operation.input_shape is None else operation.input_shape.metadata.get("required", ())
        members = {} if operation.input_shape is None else operation.input_shape.members
        located = [(members[key].serialization, key) for key in required]
        yield Route(
            operation=name,
            method=operation.http["method"],
            path=re.compile(pattern + ("" if pattern == "/" else "/?")),
            literals=sum(1 for part in path.split("/") if part and "{" not in part),
            query={
                **{key: (values[0] or None) for key, values in parse_qs(query, keep_blank_values=True).items()},
                **{
                    serialization["name"]: None
                    for serialization, _ in located
                    if serialization.get("location") == "querystring"
                },
            },
            headers=frozenset(
                serialization["name"] for serialization, _ in located if serialization.get("location") == "header"
            ),
        )


@cache
def _model(service: str) -> Any:
    session = botocore.session.get_session()
    if service not in session.get_available_services():
        return None
    return session.get_service_model(service)


def _signed_for(environ: Mapping[str, Any], query: Mapping[str, list[str]]) -> tuple[str | None, str | None]:
    """Read region and service from the credential scope of the signature, in the header or in a presigned URL."""
    found = re.search(r"Credential=([^,\s]+)", environ.get("HTTP_AUTHORIZATION", ""))
    scope = found.group(1) if found else query.get("X-Amz-Credential", [""])[0]
    parts = scope.split("/")
    if len(parts) < 5:
        return None, None
    return parts[-3], SERVICES_BY_SIGNING_NAME.get(parts[-2], parts[-2])


def _action(environ: Mapping[str, Any], query: Mapping[str, list[str]], body: bytes) -> str | None:
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        found = re.search(rb"(?:^|&)Action=(\w+)", body)
        if found:
            return found.group(1).decode()
    return query["Action"][0] if "Action" in query else None


def _by_target(target: str) -> str:
    known = {
        "AmazonEC2ContainerServiceV20141113": "ecs",
        "AmazonEC2ContainerRegistry_V20150921": "ecr",
        "Logs_20140328": "logs",
    }
    prefix = target.rpartition(".")[0]
    return known.get(prefix, prefix)


def _environ_key(header: str) -> str:
    return "HTTP_" + header.upper().replace("-", "_")
