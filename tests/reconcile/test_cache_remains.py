"""Deleted BuildCaches whose stored spec this version's models refuse: taken down from the few fields that a teardown needs."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.remains import remains
from buildcache.core.desired import DesiredCache, desired
from buildcache.core.names import Identity
from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of
from tests.strategies import cache_specs

Spoil = Callable[[dict[str, Any]], object]
TEARDOWN = ("region", "vpc_id", "subnet_ids", "repository_name", "repository_managed", "retain", "build_group_name")

HARMLESS: dict[str, Spoil] = {
    "an executor that is not valid any more": lambda spec: spec["executors"][0].update(memory=-1),
    "no executors": lambda spec: spec.update(executors=[]),
    "a broken cluster": lambda spec: spec.update(clusterARN="builds"),
    "an interval that is too long": lambda spec: spec.update(reconcileInterval="99999999h"),
    "limits of another type": lambda spec: spec.update(limits="many"),
    "a file system without sense": lambda spec: spec.update(fileSystem={"management": "Observed"}),
    "an export that the rules refuse": lambda spec: spec.update(
        registry={**spec.get("registry", {}), "export": {"ociMediaTypes": False}}
    ),
    "tags with our prefix": lambda spec: spec.update(tags={"buildcache.dev/uid": "x"}),
}
NEEDED: dict[str, tuple[Spoil, str]] = {
    "no region": (lambda spec: spec.update(region="Mars"), "spec.region"),
    "no VPC": (lambda spec: spec["network"].update(vpcID="the big one"), "spec.network.vpcID"),
    "a repository name that AWS does not take": (
        lambda spec: spec.update(registry={"repositoryName": "A B"}),
        "spec.registry.repositoryName",
    ),
    "an unknown policy": (lambda spec: spec.update(deletionPolicy="Burn"), "spec.deletionPolicy"),
}


def spoil(cache: Cache, change: Spoil) -> None:
    spec = copy.deepcopy(cache.body["spec"])
    change(spec)
    cache.body["spec"] = spec
    cache.body["metadata"]["generation"] += 1


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_c10_a_deleted_cache_with_an_invalid_spec_goes_without_a_trace(cache: Cache, aws: Aws, change: Spoil) -> None:
    cache.settle()
    spoil(cache, change)
    cache.step()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_c10_an_observed_repository_stays_also_when_the_rest_of_the_spec_is_invalid(cache: Cache, aws: Aws) -> None:
    client("ecr").create_repository(repositoryName="shared/cache")
    cache.spec["registry"] = {"management": "Observed", "repositoryName": "shared/cache"}
    cache.settle()
    spoil(cache, HARMLESS["no executors"])
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {"repositories": ["shared/cache"]}


@pytest.mark.parametrize(("change", "path"), NEEDED.values(), ids=NEEDED)
def test_c10_a_field_that_the_teardown_needs_is_named_and_nothing_is_removed(
    cache: Cache, calls: Calls, change: Spoil, path: str
) -> None:
    cache.settle()
    spoil(cache, change)
    cache.delete()
    calls.reset()
    cache.step()
    assert not cache.is_gone()
    assert cache.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert path in cache.message("Stalled")
    assert "deletionPolicy: Retain" in cache.message("Stalled")
    assert calls.names() == []
    assert cache.step().status is None


@pytest.mark.parametrize(
    "change", [*HARMLESS.values(), *(change for change, path in NEEDED.values() if path != "spec.deletionPolicy")]
)
def test_c10_retain_lets_an_invalid_object_go_in_one_pass(cache: Cache, calls: Calls, change: Spoil) -> None:
    cache.settle()
    spoil(cache, change)
    spoil(cache, lambda spec: spec.update(deletionPolicy="Retain"))
    cache.delete()
    calls.reset()
    cache.step()
    assert cache.is_gone()
    assert not any(name.startswith(("Delete", "Deregister")) for name in calls.names())


def test_c10_a_suspended_invalid_object_keeps_its_parts(cache: Cache, calls: Calls) -> None:
    cache.settle()
    spoil(cache, HARMLESS["no executors"])
    spoil(cache, lambda spec: spec.update(suspend=True))
    cache.delete()
    calls.reset()
    cache.step()
    assert not cache.is_gone()
    assert calls.mutating() == []


def test_c10_running_builds_hold_an_invalid_object_too(cache: Cache, calls: Calls) -> None:
    cache.settle()
    spoil(cache, HARMLESS["no executors"])
    cache.view.builds.append({"status": {"attempts": [{"number": 1, "taskARN": "t"}]}})
    cache.delete()
    calls.reset()
    cache.step()
    assert cache.conditions()["DeletionBlocked"] == ("True", "BuildsRunning")
    assert calls.names() == []


@given(cache_specs(), st.sampled_from(["Delete", "Retain"]))
def test_c10_the_remains_of_a_valid_spec_lead_to_the_same_parts(spec: Any, policy: str) -> None:
    identity = Identity("test", "team-a", "shop", "uid")
    valid = spec.model_copy(update={"deletion_policy": policy})
    whole = desired(valid, identity, runner_image="r")
    rest = desired(remains({"spec": valid.to_json()}), identity, runner_image="r")
    assert teardown(rest) == teardown(whole)


def teardown(want: DesiredCache) -> list[object]:
    return [getattr(want, name) for name in TEARDOWN]


def test_c10_a_spec_of_the_lab_is_read(aws: Aws) -> None:
    assert remains({"spec": spec_of(aws.world)}).region == "us-east-1"
