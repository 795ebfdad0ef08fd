"""The CRDs on a real API server: the table of refusals that the models have, immutability, defaults."""

from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.api.examples import BUILD, CACHE, REFUSED, Refused, changed
from tests.lab.world import World

pytestmark = pytest.mark.lab
PLURAL = {"BuildCache": "buildcaches", "Build": "builds"}


def dry_run(world: World, kind: str, body: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = world.objects.create_namespaced_custom_object(
        "buildcache.dev", "v1alpha1", "default", PLURAL[kind], body, dry_run="All"
    )
    return made


def status(world: World, case: Refused) -> int:
    """The server's answer to a changed object."""
    try:
        dry_run(world, case.kind, changed(case.kind, case.path, case.value))
    except ApiException as error:
        return int(error.status)
    return 201


def test_the_server_refuses_what_the_models_refuse(world: World) -> None:
    answers = {str(case): status(world, case) for case in REFUSED}
    assert {case: code for case, code in answers.items() if code not in (400, 422)} == {}


def test_the_server_fills_in_the_defaults_of_the_contract(world: World) -> None:
    cache = dry_run(world, "BuildCache", dict(CACHE))
    assert cache["spec"]["registry"]["export"]["compression"] == "estargz"
    assert cache["spec"]["limits"] == {"maxConcurrentBuilds": 8, "maxQueuedBuilds": 200, "maxRunTimeout": "4h"}
    assert cache["status"] == {"observedGeneration": -1}
    assert dry_run(world, "Build", dict(BUILD))["spec"]["timeouts"] == {"queue": "1h", "start": "10m", "run": "1h"}


def test_null_of_the_transition_to_infrequent_access_is_kept(world: World) -> None:
    cache = dry_run(world, "BuildCache", changed("BuildCache", "spec.fileSystem", {"transitionToIA": None}))
    assert cache["spec"]["fileSystem"]["transitionToIA"] is None


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"service": "api"}, True),
        ({"target": "test"}, True),
        ({"source": {"git": {"revision": "v2"}}}, True),
        ({"retries": 3}, True),
        ({"cancel": True}, False),
        ({"ttlAfterFinished": "1d"}, False),
    ],
    ids=str,
)
def test_a_build_is_immutable_but_for_cancel_and_ttl(
    world: World, namespace: str, change: dict[str, Any], refused: bool
) -> None:
    """F51: an edit after the dispatch is refused."""
    world.create(namespace, "builds", {**BUILD, "metadata": {"name": "web-1"}})
    if refused:
        with pytest.raises(ApiException, match="immutable"):
            world.patch(namespace, "builds", "web-1", {"spec": change})
    else:
        world.patch(namespace, "builds", "web-1", {"spec": change})


def test_identity_of_a_cache_is_immutable(world: World, namespace: str) -> None:
    body = world.cache(suspend=True, registry={"repositoryName": "acme/shop"})
    world.create(namespace, "buildcaches", body)
    for change in (
        {"region": "us-east-2"},
        {"network": {"vpcID": "vpc-00000000"}},
        {"registry": {"repositoryName": "acme/other"}},
    ):
        with pytest.raises(ApiException, match="immutable"):
            world.patch(namespace, "buildcaches", "shop", {"spec": change})
    world.patch(namespace, "buildcaches", "shop", {"spec": {"suspend": False}})  # a suspended cache would not go
