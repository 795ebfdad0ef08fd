"""A served AWS with clients and a few shortcuts, for the tests of the lab's AWS and ECS."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lab.aws import Aws
from lab.aws.timing import Timing

T = TypeVar("T")
REGISTRY = "127.0.0.1:5001"
QUICK = Timing(
    file_system_creating=0.1,
    file_system_updating=0.1,
    file_system_deleting=0.1,
    mount_target_creating=0.2,
    mount_target_deleting=0.2,
    access_point_creating=0.1,
    access_point_deleting=0.1,
    backup_policy_changing=0.1,
)
ENDLESS = Timing(
    file_system_creating=0,
    file_system_deleting=600,
    mount_target_creating=0,
    mount_target_deleting=600,
    access_point_creating=0,
    access_point_deleting=600,
)
"""Everything is made at once and deleting it never ends."""
# moto keeps its state by account: one of its own for each Aws, also beside a lab that runs in this process.
_accounts = itertools.count(200_000_000_000)


class Served:
    """One running Aws."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self._clients: dict[tuple[str, int, float], Any] = {}
        self._session: Any = boto3.Session(
            aws_access_key_id="test", aws_secret_access_key="test", region_name=aws.region
        )

    def client(self, service: str, *, attempts: int = 1, read_timeout: float = 20) -> Any:
        """A client that by default does not retry, so that tests see what one call answers."""
        key = (service, attempts, read_timeout)
        if key not in self._clients:
            config = Config(
                retries={"mode": "standard", "total_max_attempts": attempts},
                read_timeout=read_timeout,
                connect_timeout=5,
            )
            self._clients[key] = self._session.client(service, endpoint_url=self.aws.url, config=config)
        return self._clients[key]

    def calls(self, since: int = 0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.aws.calls(since)["calls"]
        return found

    @property
    def next_call(self) -> int:
        return int(self.aws.calls()["next"])

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self.aws.stop()


@contextmanager
def served(**options: Any) -> Iterator[Served]:
    """Serve one Aws of its own account."""
    options = {"registry": REGISTRY, "timing": QUICK, "account": str(next(_accounts)), **options}
    aws = Aws(**options)
    aws.start()
    world = Served(aws)
    try:
        yield world
    finally:
        world.close()


@contextmanager
def refused(code: str, status: int | None = None) -> Iterator[dict[str, Any]]:
    """Expect an AWS error; the dict has its response afterwards."""
    response: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield response
    response.update(caught.value.response)
    assert response["Error"]["Code"] == code, response["Error"]
    if status is not None:
        assert response["ResponseMetadata"]["HTTPStatusCode"] == status


def until(read: Callable[[], T], wanted: Callable[[T], bool], seconds: float = 20) -> T:
    """Read until it is as wanted."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if wanted(value):
            return value
        assert time.monotonic() < deadline, f"still not as wanted after {seconds} s: {value!r}"
        time.sleep(0.01)


def unique(prefix: str = "t") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def tag_map(tags: list[Mapping[str, str]]) -> dict[str, str]:
    return {(tag.get("Key") or tag["key"]): (tag.get("Value") or tag.get("value") or "") for tag in tags}


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[Served]:
    with served() as world:
        yield world


@pytest.fixture
def aws(shared_aws: Served) -> Iterator[Served]:
    """The module's AWS without faults."""
    shared_aws.aws.clear_faults()
    yield shared_aws
    shared_aws.aws.clear_faults()
