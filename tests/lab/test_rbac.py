"""The operator runs as the service account of the manifests, with exactly its rights."""

import pytest

from tests.lab.world import World

pytestmark = pytest.mark.lab


def test_no_request_of_the_operator_is_refused_by_rbac(world: World, namespace: str) -> None:
    """H08: a whole life of both kinds without a request that the authorizer forbids.

    Not every 403 is one: an Event in a namespace that is being deleted is refused by admission.
    """
    world.ready(namespace)
    world.create(namespace, "builds", world.build("web-1"))
    world.ended(namespace, "web-1")
    world.delete(namespace, "builds", "web-1")
    world.delete(namespace, "buildcaches", "shop")
    world.gone(namespace, "buildcaches", "shop")
    entries = world.audit()
    decisions = [
        (entry["annotations"]["authorization.k8s.io/decision"], entry["verb"], entry["requestURI"]) for entry in entries
    ]
    assert any(decision == "allow" for decision, _, _ in decisions)
    assert [decided for decided in decisions if decided[0] != "allow"] == []
