"""The BuildCache pass against the lab's AWS in this process: an object, a clock, and what a writer would do with an Outcome."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache as cache_forever
from typing import Any, Protocol

import boto3
import pytest

from buildcache.aws.clients import Session
from buildcache.reconcile.cache import CacheReconciler
from buildcache.reconcile.outcome import Outcome
from lab.aws import Aws, World
from lab.aws.timing import Timing
from tests.fakes.view import ListView

FAST = Timing(
    file_system_creating=0.05,
    file_system_updating=0.05,
    file_system_deleting=0.05,
    mount_target_creating=0.05,
    mount_target_deleting=0.05,
    access_point_creating=0.05,
    access_point_deleting=0.05,
    backup_policy_changing=0.05,
)
START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def spec_of(world: World, **more: Any) -> dict[str, Any]:
    """A full spec: every part is there."""
    return {
        "region": "us-east-1",
        "clusterARN": world.cluster_arn,
        "network": {"vpcID": world.vpc_id, "subnetIDs": list(world.subnet_ids[:2])},
        "registry": {"retentionDays": 30},
        "fileSystem": {},
        "executors": [
            {
                "name": "ec2",
                "engine": "BuildKit",
                "launchType": "EC2",
                "taskRoleARN": "arn:aws:iam::123456789012:role/task",
                "executionRoleARN": "arn:aws:iam::123456789012:role/execution",
            }
        ],
        **more,
    }


class Place(Protocol):
    """An AWS: the lab's, or one that somebody else wrote."""

    @property
    def world(self) -> World:
        """Where a BuildCache can be."""
        ...


@dataclass
class Cache:
    """One BuildCache in a cluster of its own, without a cluster: passes run on its body, outcomes change it."""

    aws: Place
    spec: dict[str, Any]
    name: str = "shop"
    uid: str = "11111111-2222-3333-4444-555555555555"
    cluster_id: str = "test"
    view: ListView = field(default_factory=ListView)
    now: datetime = START

    def __post_init__(self) -> None:
        self.session = Session(pool=4)
        self.restart()
        self.body: dict[str, Any] = {
            "apiVersion": "buildcache.dev/v1alpha1",
            "kind": "BuildCache",
            "metadata": {"name": self.name, "namespace": "team-a", "uid": self.uid, "generation": 1},
            "spec": self.spec,
            "status": {"observedGeneration": -1},
        }
        self._gone = False
        self.writes = 0

    def restart(self) -> None:
        """The operator starts anew: all its memory is lost (the clients hold none, and are slow to make)."""
        self.reconciler = CacheReconciler(
            self.session, self.view, cluster_id=self.cluster_id, runner_image="operator:test"
        )

    def step(self) -> Outcome:
        """One pass and what the writer makes of it."""
        outcome = self.reconciler.reconcile(self.body, self.now)
        if outcome.status is not None:
            self.body["status"] = dict(outcome.status)
            self.writes += 1
        if outcome.finalizer == "add":
            self.body["metadata"]["finalizers"] = ["buildcache.dev/finalizer"]
        if outcome.finalizer == "release":
            self.body["metadata"]["finalizers"] = []
            self._gone = True
        return outcome

    def settle(self, limit: int = 60) -> int:
        """Passes as the queue would run them, until nothing is to be done soon; their number."""
        for number in range(1, limit + 1):
            outcome = self.step()
            if self.is_gone():
                return number
            pause = 1.0 if outcome.failed or outcome.finalizer == "add" else outcome.again_after
            if pause is None or pause > 10:
                return number
            # The clock of the passes is theirs; AWS's own is real, and short.
            self.now += timedelta(seconds=pause)
            time.sleep(0.02)
        raise AssertionError(f"not settled after {limit} passes: {self.conditions()}")

    def is_gone(self) -> bool:
        """Whether the finalizer is off after a deletion."""
        return self._gone

    def edit(self, **fields: Any) -> None:
        self.body["spec"] = {**self.body["spec"], **fields}
        self.body["metadata"]["generation"] += 1

    def delete(self) -> None:
        self.body["metadata"]["deletionTimestamp"] = "2026-11-24T13:00:00Z"
        self.body["metadata"]["generation"] += 1

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)

    def conditions(self) -> dict[str, tuple[str, str]]:
        found = self.body["status"].get("conditions", [])
        return {condition["type"]: (condition["status"], condition["reason"]) for condition in found}

    def message(self, kind: str) -> str:
        return next(str(c["message"]) for c in self.body["status"]["conditions"] if c["type"] == kind)

    def part(self, name: str) -> str:
        return next(str(part["id"]) for part in self.body["status"]["parts"] if part["name"] == name)


@dataclass
class Calls:
    """The requests that arrived at AWS since a mark."""

    aws: Aws
    mark: int = 0

    def reset(self) -> None:
        self.mark = self.aws.calls(self.mark)["next"]

    def names(self) -> list[str]:
        return [call["operation"] for call in self.aws.calls(self.mark)["calls"]]

    def mutating(self) -> list[str]:
        return [call["operation"] for call in self.aws.calls(self.mark)["calls"] if call["mutating"]]


def client(service: Any) -> Any:
    """A client of the test's own: what a person would do by hand."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@cache_forever
def _client(service: Any, endpoint: str) -> Any:
    return shared_session().client(service, endpoint_url=endpoint)


@cache_forever
def shared_session() -> boto3.Session:
    """One session for all tests: reading the service models is the slow part of a client, and a session keeps them."""
    return boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


def left_over(world: World) -> dict[str, list[str]]:
    """Everything in AWS that is not of the world's beginning."""
    groups = client("ec2").describe_security_groups()["SecurityGroups"]
    families = client("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    found = {
        "groups": [group["GroupName"] for group in groups if group["GroupName"] != "default"],
        "file systems": [each["FileSystemId"] for each in client("efs").describe_file_systems()["FileSystems"]],
        "access points": [each["AccessPointId"] for each in client("efs").describe_access_points()["AccessPoints"]],
        "repositories": [each["repositoryName"] for each in client("ecr").describe_repositories()["repositories"]],
        "log groups": [each["logGroupName"] for each in client("logs").describe_log_groups()["logGroups"]],
        "task definitions": list(families),
    }
    return {kind: things for kind, things in found.items() if things}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    # An account of its own: a lab may run in this process too, and moto keeps one state for each account.
    served = Aws(registry="127.0.0.1:1", account="210000000000", timing=FAST)
    url = served.start()
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    session = shared_session()
    monkeypatch.setattr("buildcache.aws.clients.make_session", lambda: session)
    yield served
    served.stop()


def environment(url: str) -> Mapping[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@pytest.fixture
def calls(aws: Aws) -> Calls:
    return Calls(aws)


@pytest.fixture
def cache(aws: Aws) -> Cache:
    return Cache(aws, spec_of(aws.world))
