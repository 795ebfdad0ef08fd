"""The operator where users run it: its image as a Pod of a real cluster, installed with `kubectl apply -k`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lab.errors import LabError
from lab.files import PROJECT
from lab.kind.deployment import NAME, NAMESPACE, SETTINGS
from tests.kind.cluster import KindWorld
from tests.lab.world import wait_for

pytestmark = pytest.mark.kind

BUILDS = ("one", "two", "three")
CRDS = ("builds.buildcache.dev", "buildcaches.buildcache.dev")


def test_p1_the_shipped_image_is_ready_within_30_seconds(world: KindWorld) -> None:
    assert world.ready_after < 30
    assert world.readyz()[0] == 200
    pod = world.pod()
    (state,) = pod["status"]["containerStatuses"]
    assert state["ready"]
    assert pod["spec"]["serviceAccountName"] == NAME
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert not pod["spec"].get("hostNetwork")
    name = world.cluster.kubectl(
        "exec", f"--namespace={NAMESPACE}", pod["metadata"]["name"], "--",
        "python", "-c", "import getpass; print(getpass.getuser())",
    )  # fmt: skip
    assert name.strip() == "buildcache"


def test_the_namespace_refuses_pods_that_are_not_restricted(world: KindWorld) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "plain", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "plain", "image": "buildcache-operator:dev"}]},
    }
    with pytest.raises(LabError, match="violates PodSecurity"):
        world.cluster.kubectl("apply", "-f", "-", "--dry-run=server", stdin=json.dumps(body))


def test_a_cache_and_a_build_come_and_go_and_aws_is_empty(world: KindWorld, namespace: str) -> None:
    world.ready(namespace, fileSystem={})
    world.create(namespace, "builds", world.build("app"))
    body = world.reaches(namespace, "builds", "app", "Succeeded", "True", "Completed")
    assert len(world.tasks(body)) == 1
    assert world.left_in_aws()
    for plural, name in (("builds", "app"), ("buildcaches", "shop")):
        world.delete(namespace, plural, name)
        world.gone(namespace, plural, name)
    assert not world.left_in_aws()


def _rollout_restart(world: KindWorld) -> None:
    world.cluster.kubectl("rollout", "restart", f"deployment/{NAME}", f"--namespace={NAMESPACE}")


def _restart_node(world: KindWorld) -> None:
    world.cluster.restart_node()
    world.until_api_answers()


def _delete_pod(world: KindWorld) -> None:
    name = world.pod()["metadata"]["name"]
    world.cluster.kubectl("delete", "pod", name, f"--namespace={NAMESPACE}")


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(_rollout_restart, id="rollout-restart"),
        pytest.param(_restart_node, id="node-restarted"),
        pytest.param(_delete_pod, id="pod-deleted"),
    ],
)
def test_each_running_build_keeps_its_one_task_and_ends_when(
    world: KindWorld, namespace: str, happens: Callable[[KindWorld], None]
) -> None:
    world.ready(namespace)
    world.simulate(build=8.0)
    for name in BUILDS:
        world.create(namespace, "builds", world.build(name))
    for name in BUILDS:
        world.reaches(namespace, "builds", name, "Succeeded", "Unknown", "Running")
    before = _identity(world)
    happens(world)
    world.operator.wait_until_ready()
    for name in BUILDS:
        body = world.reaches(namespace, "builds", name, "Succeeded", "True", "Completed", timeout=90)
        assert len(world.tasks(body)) == 1, name
    assert _identity(world) != before, "the operator was not restarted"


def _identity(world: KindWorld) -> tuple[str, int]:
    """Changes with every process of the operator."""
    pod = world.pod()
    restarts: int = pod["status"]["containerStatuses"][0]["restartCount"]
    return pod["metadata"]["uid"], restarts


@contextmanager
def _repaired(world: KindWorld, *repairs: Callable[[], Any]) -> Iterator[None]:
    """Whatever happens inside, the operator is as installed afterwards."""
    try:
        yield
    finally:
        for repair in repairs:
            repair()
        world.operator.wait_until_ready()


def test_without_a_cluster_id_the_log_and_the_probe_name_it(world: KindWorld) -> None:
    with _repaired(world, world.operator.apply):
        world.cluster.kubectl("set", "env", f"deployment/{NAME}", f"--namespace={NAMESPACE}", "BUILDCACHE_CLUSTER_ID=")
        text = world.unready_with("BUILDCACHE_CLUSTER_ID is required")
        world.logged("BUILDCACHE_CLUSTER_ID is required")
        assert world.probe("healthz")[0] == 200, text
    assert world.readyz()[0] == 200


def test_without_aws_credentials_the_log_and_the_probe_name_them(world: KindWorld) -> None:
    def give_them_back() -> None:
        world.operator.apply_credentials()
        _rollout_restart(world)

    with _repaired(world, give_them_back):
        world.cluster.kubectl("delete", "secret", SETTINGS, f"--namespace={NAMESPACE}")
        _rollout_restart(world)
        world.unready_with("AWS credentials")
        world.logged("not ready", "AWS credentials")
        assert world.probe("healthz")[0] == 200
    assert world.readyz()[0] == 200


def test_p5_missing_crds_are_named_and_seen_once_they_are_applied(world: KindWorld) -> None:
    with _repaired(world, world.operator.apply):
        world.operator.stop()
        world.cluster.kubectl("delete", "crd", *CRDS)
        world.cluster.kubectl("scale", f"deployment/{NAME}", "--replicas=1", f"--namespace={NAMESPACE}")
        world.unready_with(*CRDS)
        world.logged("not ready", CRDS[0])
        pod = world.pod()["metadata"]["uid"]
        world.cluster.kubectl("apply", "-k", str(PROJECT / "crds"))
        world.cluster.kubectl("wait", "--for=condition=Established", "crd", *CRDS)
        wait_for("/readyz says 200 again", lambda: world.readyz()[0] == 200, timeout=10)
        assert world.pod()["metadata"]["uid"] == pod
