"""Clients: made once for each region, bounded, and with the configuration that the table of errors counts on."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from buildcache.aws import clients
from buildcache.aws.clients import Session


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")


def test_one_client_for_all_threads() -> None:
    session = Session(pool=8)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: session.region("us-east-1").ecr, range(32)))
    assert len({id(client) for client in found}) == 1


def test_the_configuration() -> None:
    config: Any = Session(pool=7).region("eu-west-1").logs.meta.config
    assert config.retries == {"mode": "standard", "total_max_attempts": 2}
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (5, 20, 7)
    assert "buildcache-operator/" in config.user_agent_extra


def test_each_service_is_of_its_region() -> None:
    region = Session(pool=1).region("eu-west-1")
    found = [region.ec2, region.ecr, region.ecs, region.efs, region.logs]
    assert {client.meta.region_name for client in found} == {"eu-west-1"}
    assert len({client.meta.service_model.service_name for client in found}) == 5


def test_t69_regions_are_bounded_and_the_one_unused_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REGION_LIMIT", 2)
    session = Session(pool=1)
    first, second = session.region("eu-west-1"), session.region("eu-west-2")
    assert session.region("eu-west-1") is first
    session.region("eu-west-3")
    assert session.region("eu-west-1") is first
    assert session.region("eu-west-2") is not second
