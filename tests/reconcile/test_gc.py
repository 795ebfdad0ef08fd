"""`buildcache gc` against the lab's AWS: what is left of objects that were forced away, and nothing else."""

from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from buildcache.cli import gc
from buildcache.cli.app import app
from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of
from tests.reconcile.test_cache import KANIKO
from tests.reconcile.test_scopes import build


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(gc, "PAUSE", 0.02)

    def run(*options: str, living: list[Mapping[str, Any]], cluster_id: str = "test") -> Result:
        monkeypatch.setattr(gc, "list_caches", lambda: living)
        return CliRunner().invoke(app, ["gc", "--cluster-id", cluster_id, "--region", "us-east-1", *options])

    return run


def test_f56_the_parts_of_a_cache_without_finalizer_are_found_and_removed(
    cache: Cache, aws: Aws, calls: Calls, run: Any
) -> None:
    other = Cache(aws, spec_of(aws.world), name="other", uid="99999999-2222-3333-4444-555555555555")
    stranger = Cache(
        aws, spec_of(aws.world), name="strange", uid="88888888-2222-3333-4444-555555555555", cluster_id="x"
    )
    for each in (cache, other, stranger):
        each.settle()
    calls.reset()
    dry = run("--dry-run", living=[other.body])
    assert dry.exit_code == 0, dry.output
    assert f"team-a/shop (UID {cache.uid}, us-east-1)" in dry.output
    assert cache.part("file-system") in dry.output
    assert "other" not in dry.output.replace("others", "")
    assert "1 gone ones have left parts" in dry.output
    assert calls.mutating() == []
    done = run("--apply", living=[other.body])
    assert done.exit_code == 0, done.output
    assert "removed 1 of 1" in done.output
    left = left_over(aws.world)
    assert {kind: len(things) for kind, things in left.items()} == {
        "groups": 4, "file systems": 2, "repositories": 2, "log groups": 2, "task definitions": 2,
    }  # fmt: skip
    calls.reset()
    for each in (other, stranger):
        each.later(minutes=12)
        each.settle()
    assert calls.mutating() == []
    assert "0 gone ones" in run("--dry-run", living=[other.body]).output


def test_access_points_are_found_and_removed_also_on_a_file_system_of_somebody_else(
    cache: Cache, aws: Aws, run: Any
) -> None:
    efs = client("efs")
    system = efs.create_file_system(CreationToken="theirs")["FileSystemId"]
    while efs.describe_file_systems(FileSystemId=system)["FileSystems"][0]["LifeCycleState"] != "available":
        pass
    efs.create_mount_target(FileSystemId=system, SubnetId=aws.world.subnet_ids[0])
    cache.spec.update(fileSystem={"management": "Observed", "id": system}, executors=[KANIKO])
    cache.settle()
    cache.view.builds = [build()]
    cache.settle()
    (point,) = efs.describe_access_points()["AccessPoints"]
    assert point["AccessPointId"] in run("--dry-run", living=[]).output
    done = run("--apply", living=[])
    assert done.exit_code == 0, done.output
    assert left_over(aws.world) == {"file systems": [system]}


def test_what_was_left_on_purpose_goes_only_when_that_is_said(cache: Cache, aws: Aws, run: Any) -> None:
    cache.spec["deletionPolicy"] = "Retain"
    cache.settle()
    cache.delete()
    cache.settle()
    before = left_over(aws.world)
    listed = run("--apply", living=[])
    assert "kept by deletionPolicy Retain" in listed.output
    assert left_over(aws.world) == before
    assert run("--apply", "--retained", living=[]).exit_code == 0
    assert left_over(aws.world) == {}


def test_another_cluster_s_kubeconfig_is_noticed(cache: Cache, aws: Aws, run: Any) -> None:
    cache.settle()
    other = Cache(aws, spec_of(aws.world), name="other", uid="99999999-2222-3333-4444-555555555555", cluster_id="y")
    other.settle()
    before = left_over(aws.world)
    refused = run("--apply", living=[other.body])
    assert refused.exit_code == 1
    assert "another cluster" in refused.output
    assert left_over(aws.world) == before


def test_what_holds_an_orphan_is_said_and_nothing_waits_for_ever(
    cache: Cache, aws: Aws, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.settle()
    group = cache.part("build-security-group")
    made = client("ec2").create_network_interface(SubnetId=aws.world.subnet_ids[0], Groups=[group])
    monkeypatch.setattr(gc.remove, "__kwdefaults__", {"deadline": 1.0})
    stuck = run("--apply", living=[])
    assert stuck.exit_code == 1
    assert made["NetworkInterface"]["NetworkInterfaceId"] in stuck.output
