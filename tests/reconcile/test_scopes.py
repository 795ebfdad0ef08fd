"""Access points and the task definitions that mount them, by the BuildCache pass against the lab's AWS."""

from typing import Any

import pytest

from buildcache.api.meta import FINALIZER
from lab.aws import Aws
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of
from tests.reconcile.test_cache import KANIKO, SETTLED_LOOK

UID = "11111111-2222-3333-4444-555555555555"


def build(name: str = "web-1", service: str = "web", **more: Any) -> dict[str, Any]:
    """A Build that stands in line, as the shell has seen it."""
    held = more.pop("held", False)
    return {
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-11-24T12:00:00Z",
            "finalizers": [FINALIZER] if held else [],
        },
        "spec": {"cacheRef": {"name": "shop"}, "service": service, **more},
        "status": {},
    }


@pytest.fixture
def kaniko(aws: Aws) -> Cache:
    return Cache(aws, spec_of(aws.world, executors=[KANIKO]))


def points() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client("efs").describe_access_points()["AccessPoints"]
    return [point for point in found if point["LifeCycleState"] != "deleting"]


def tags(point: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in point["Tags"]}


def rows(cache: Cache) -> dict[str, tuple[str, str]]:
    return {
        part["name"]: (part.get("id", ""), part.get("state", ""))
        for part in cache.body["status"]["parts"]
        if part["kind"] == "efs/AccessPoint" or part["name"].count("/") > 1
    }


def test_a_build_that_needs_a_scope_gets_one_and_nothing_is_said_of_drift(kaniko: Cache, calls: Calls) -> None:
    kaniko.settle()
    assert points() == []
    before = kaniko.conditions()
    kaniko.view.builds = [build()]
    kaniko.settle()
    (point,) = points()
    assert point["PosixUser"] == {"Uid": 0, "Gid": 0}
    assert point["RootDirectory"] == {
        "Path": f"/buildcache/{UID}/amd64/web",
        "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0, "Permissions": "0755"},
    }
    assert tags(point)["buildcache.dev/uid"] == UID
    assert tags(point)["buildcache.dev/scope"] == "amd64/web"
    found = rows(kaniko)
    assert found["access-point/amd64/web"] == (point["AccessPointId"], "available")
    arn = found["executor/kaniko/amd64/web"][0]
    definition = client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    volume = definition["volumes"][-1]["efsVolumeConfiguration"]
    assert volume["authorizationConfig"] == {"accessPointId": point["AccessPointId"], "iam": "ENABLED"}
    assert volume["transitEncryption"] == "ENABLED"
    assert kaniko.conditions() == before
    calls.reset()
    kaniko.later(minutes=12)
    writes = kaniko.writes
    kaniko.step()
    assert calls.mutating() == []
    assert kaniko.writes == writes


def test_a_need_is_looked_at_at_once_and_what_nobody_needs_costs_nothing(kaniko: Cache, calls: Calls) -> None:
    kaniko.settle()
    kaniko.view.builds = [build()]
    kaniko.settle()
    kaniko.later(seconds=10)
    kaniko.view.builds = []
    calls.reset()
    kaniko.step()
    assert calls.names() == []
    kaniko.later(minutes=12)
    kaniko.step()
    assert rows(kaniko) == {}
    calls.reset()
    kaniko.later(minutes=12)
    kaniko.step()
    assert calls.names() == [*SETTLED_LOOK, "DescribeTaskDefinition"]
    assert len(points()) == 1  # it is the cache
    kaniko.view.builds = [build("web-2")]
    calls.reset()
    kaniko.step()  # no time has passed
    assert "DescribeAccessPoints" in calls.names()
    assert calls.mutating() == []
    assert rows(kaniko)["executor/kaniko/amd64/web"][1] == "ACTIVE"


def test_only_builds_that_mount_need_something(cache: Cache) -> None:
    cache.spec["executors"].append(KANIKO)
    cache.settle()
    cache.view.builds = [
        build("buildkit"),
        build("read-only", executor="kaniko", cache={"mode": "ReadOnly"}),
        build("none", executor="kaniko", cache={"mode": "None"}),
        build("unknown", executor="other"),
    ]
    cache.settle()
    assert points() == []
    cache.view.builds.append(build("writes", executor="kaniko"))
    cache.settle()
    assert len(points()) == 1


@pytest.mark.parametrize("without", [{"fileSystem": None}, {"enabled": False}], ids=str)
def test_a_cache_without_a_file_system_makes_none(kaniko: Cache, without: dict[str, Any]) -> None:
    kaniko.spec.update(without)
    kaniko.view.builds = [build()]
    kaniko.settle()
    assert points() == []


def test_no_more_are_made_ahead_than_builds_may_soon_start(kaniko: Cache) -> None:
    kaniko.spec["limits"] = {"maxConcurrentBuilds": 2}
    kaniko.settle()
    kaniko.view.builds = [build(f"b-{number}", f"service-{number}") for number in range(9)]
    kaniko.settle()
    assert sorted(tags(point)["buildcache.dev/scope"] for point in points()) == [f"amd64/service-{n}" for n in range(4)]


@pytest.mark.parametrize("kind", ["lost", "reset", "throttle", "error", "delay"])
def test_t04_whatever_happens_to_the_call_there_is_one_access_point(kaniko: Cache, aws: Aws, kind: str) -> None:
    kaniko.settle()
    aws.add_faults([{"operation": "CreateAccessPoint", "kind": kind, "times": 1, "seconds": 0.1}])
    kaniko.view.builds = [build()]
    kaniko.settle()
    assert len(points()) == 1
    assert rows(kaniko)["access-point/amd64/web"][1] == "available"


def test_t04_a_restart_after_a_lost_answer_makes_no_second_one(kaniko: Cache, aws: Aws) -> None:
    kaniko.settle()
    aws.add_faults([{"operation": "CreateAccessPoint", "kind": "lost", "times": 1}])
    kaniko.view.builds = [build()]
    kaniko.step()
    kaniko.restart()
    kaniko.body["status"] = {"observedGeneration": -1}
    kaniko.settle()
    assert len(points()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"PosixUser": {"Uid": 1000, "Gid": 0}},
        {"PosixUser": {"Uid": 0, "Gid": 7}},
        {"PosixUser": {"Uid": 0, "Gid": 0, "SecondaryGids": [7]}},
        {"RootDirectory": {"Path": "/elsewhere"}},
        {},
    ],
    ids=str,
)
def test_t04_one_of_ours_that_is_not_as_it_must_be_is_not_used_and_told(kaniko: Cache, wrong: dict[str, Any]) -> None:
    kaniko.settle()
    kaniko.view.builds = [build()]
    kaniko.settle()
    (right,) = points()
    efs = client("efs")
    efs.delete_access_point(AccessPointId=right["AccessPointId"])
    given = {"PosixUser": right["PosixUser"], "RootDirectory": right["RootDirectory"]} if wrong else {}
    made = efs.create_access_point(
        ClientToken="by hand", FileSystemId=right["FileSystemId"], Tags=right["Tags"], **{**given, **wrong}
    )["AccessPointId"]
    kaniko.later(minutes=12)
    kaniko.settle()
    assert rows(kaniko)["access-point/amd64/web"] == (made, "unusable")
    assert kaniko.conditions()["Stalled"] == ("True", "ImmutableField")
    assert made in kaniko.message("Stalled")
    assert kaniko.conditions()["FileSystemReady"] == ("True", "Available")  # other services have theirs
    assert [point["AccessPointId"] for point in points()] == [made]
    efs.delete_access_point(AccessPointId=made)
    kaniko.later(minutes=12)
    kaniko.settle()
    assert rows(kaniko)["access-point/amd64/web"][1] == "available"
    assert "Stalled" not in kaniko.conditions()


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("CreateAccessPoint", "access-point/amd64/web"),
        ("DescribeAccessPoints", "access-point/amd64/web"),
        ("RegisterTaskDefinition", "executor/kaniko/amd64/web"),
    ],
)
def test_what_is_denied_is_a_row_that_no_build_waits_for_and_heals(
    kaniko: Cache, aws: Aws, operation: str, part: str
) -> None:
    kaniko.settle()
    aws.add_faults([{"operation": operation, "kind": "denied", "times": -1}])
    kaniko.view.builds = [build()]
    kaniko.settle()
    assert rows(kaniko)[part][1] == "refused"
    assert kaniko.conditions()["Stalled"] == ("True", "AccessDenied")
    assert operation in kaniko.message("Stalled")
    assert kaniko.conditions()["FileSystemReady"] == ("True", "Available")
    aws.clear_faults()
    kaniko.later(minutes=12)
    kaniko.settle()
    assert rows(kaniko)["executor/kaniko/amd64/web"][1] == "ACTIVE"
    assert "Stalled" not in kaniko.conditions()


def test_one_deleted_by_hand_is_made_again_and_its_task_definition_goes(kaniko: Cache) -> None:
    kaniko.settle()
    kaniko.view.builds = [build()]
    kaniko.settle()
    (first,) = points()
    old = rows(kaniko)["executor/kaniko/amd64/web"][0]
    client("efs").delete_access_point(AccessPointId=first["AccessPointId"])
    kaniko.later(minutes=62)
    kaniko.settle()
    (second,) = points()
    assert second["AccessPointId"] != first["AccessPointId"]
    assert second["RootDirectory"] == first["RootDirectory"]
    assert rows(kaniko)["executor/kaniko/amd64/web"][0] != old
    assert client("ecs").describe_task_definition(taskDefinition=old)["taskDefinition"]["status"] == "INACTIVE"


def test_a_changed_executor_changes_what_mounts_too_and_a_running_build_keeps_its_own(kaniko: Cache) -> None:
    kaniko.settle()
    kaniko.view.builds = [build(held=True)]
    kaniko.settle()
    old = rows(kaniko)["executor/kaniko/amd64/web"][0]
    running = {"attempts": [{"number": 1, "taskARN": "arn:task"}], "executor": {"taskDefinitionARN": old}}
    kaniko.view.builds = [{**build(held=True), "status": running}]
    kaniko.edit(executors=[{**KANIKO, "memory": 4096}])
    kaniko.settle()
    new = rows(kaniko)["executor/kaniko/amd64/web"][0]
    assert new != old
    status = [
        client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]["status"] for arn in (old, new)
    ]
    assert status == ["ACTIVE", "ACTIVE"]
    kaniko.view.builds = [build("web-2")]
    kaniko.later(minutes=62)
    kaniko.settle()
    assert client("ecs").describe_task_definition(taskDefinition=old)["taskDefinition"]["status"] == "INACTIVE"


def test_tags_of_the_spec_are_on_access_points_and_followed(kaniko: Cache) -> None:
    kaniko.spec["tags"] = {"team": "a"}
    kaniko.settle()
    kaniko.view.builds = [build()]
    kaniko.settle()
    assert tags(points()[0])["team"] == "a"
    kaniko.edit(tags={"cost": "1"})
    kaniko.settle()
    found = tags(points()[0])
    assert found["cost"] == "1"
    assert "team" not in found


def used(kaniko: Cache) -> None:
    kaniko.settle()
    kaniko.view.builds = [build(), build("api-1", "api")]
    kaniko.settle()
    assert len(points()) == 2
    kaniko.view.builds = []


def test_a_deleted_cache_takes_its_access_points_along(kaniko: Cache, aws: Aws, calls: Calls) -> None:
    used(kaniko)
    kaniko.delete()
    calls.reset()
    kaniko.settle()
    assert kaniko.is_gone()
    assert points() == []
    assert left_over(aws.world) == {}
    order = [
        name for name in calls.mutating() if name in ("DeleteAccessPoint", "DeleteMountTarget", "DeleteFileSystem")
    ]
    assert order.index("DeleteAccessPoint") < order.index("DeleteMountTarget") < order.index("DeleteFileSystem")


@pytest.mark.parametrize("change", [{"fileSystem": None}, {"enabled": False}], ids=str)
def test_they_go_with_the_file_system_and_come_again(kaniko: Cache, change: dict[str, Any]) -> None:
    used(kaniko)
    kaniko.edit(**change)
    kaniko.settle()
    assert points() == []
    assert client("efs").describe_file_systems()["FileSystems"] == []
    families = client("ecs").list_task_definition_families(status="ACTIVE")["families"]
    assert [family for family in families if "fsap" in family] == []
    kaniko.edit(fileSystem={}, enabled=True)
    kaniko.view.builds = [build()]
    kaniko.settle()
    assert len(points()) == 1
    assert rows(kaniko)["executor/kaniko/amd64/web"][1] == "ACTIVE"


@pytest.mark.parametrize("change", [{"fileSystem": None}, {"enabled": False}], ids=str)
def test_they_stay_with_the_policy_retain(kaniko: Cache, change: dict[str, Any]) -> None:
    kaniko.spec["deletionPolicy"] = "Retain"
    used(kaniko)
    kaniko.edit(**change)
    kaniko.settle()
    assert len(points()) == 2
    kaniko.delete()
    kaniko.settle()
    assert kaniko.is_gone()
    assert {tags(point)["buildcache.dev/deletion-policy"] for point in points()} == {"Retain"}


def test_running_builds_keep_them(kaniko: Cache, calls: Calls) -> None:
    used(kaniko)
    running = {"attempts": [{"number": 1, "taskARN": "arn:task"}], "executor": {"engine": "Kaniko"}}
    kaniko.view.builds = [{**build(held=True), "status": running}]
    kaniko.edit(fileSystem=None)
    kaniko.step()
    assert len(points()) == 2
    kaniko.view.builds = []
    kaniko.settle()
    assert points() == []


@pytest.fixture
def observed(kaniko: Cache, aws: Aws) -> str:
    """A file system of somebody else, with an access point of theirs."""
    efs = client("efs")
    system = efs.create_file_system(CreationToken="theirs")["FileSystemId"]
    group = client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
    for _ in range(50):
        if efs.describe_file_systems(FileSystemId=system)["FileSystems"][0]["LifeCycleState"] == "available":
            break
    else:
        raise AssertionError
    efs.create_mount_target(FileSystemId=system, SubnetId=aws.world.subnet_ids[0], SecurityGroups=[group])
    efs.create_access_point(ClientToken="theirs", FileSystemId=system)
    kaniko.spec["fileSystem"] = {"management": "Observed", "id": system}
    return str(system)


@pytest.mark.parametrize("end", ["deleted", "without a file system", "disabled"])
def test_on_an_observed_file_system_ours_are_made_and_removed_and_nothing_else(
    kaniko: Cache, observed: str, calls: Calls, end: str
) -> None:
    used_points = len(points())
    kaniko.settle()
    kaniko.view.builds = [build()]
    calls.reset()
    kaniko.settle()
    assert len(points()) == used_points + 1
    assert {name for name in calls.mutating() if "AccessPoint" in name or "FileSystem" in name} == {"CreateAccessPoint"}
    kaniko.view.builds = []
    kaniko.later(minutes=12)
    kaniko.step()
    calls.reset()
    if end == "deleted":
        kaniko.delete()
    else:
        kaniko.edit(**({"fileSystem": None} if end == "without a file system" else {"enabled": False}))
    kaniko.settle()
    assert [point["ClientToken"] for point in points()] == ["theirs"]
    assert [each["FileSystemId"] for each in client("efs").describe_file_systems()["FileSystems"]] == [observed]
    assert "DeleteMountTarget" not in calls.names()


def test_two_caches_on_one_observed_file_system_have_directories_of_their_own(
    kaniko: Cache, observed: str, aws: Aws
) -> None:
    other = Cache(aws, dict(kaniko.spec), name="other", uid="33333333-2222-3333-4444-555555555555")
    for each in (kaniko, other):
        each.view.builds = [build()]
        each.settle()
    paths = {point["RootDirectory"]["Path"] for point in points() if point["ClientToken"] != "theirs"}
    assert len(paths) == 2


def test_with_report_and_while_suspended_none_is_made_and_none_is_drift(kaniko: Cache, calls: Calls) -> None:
    kaniko.settle()
    kaniko.edit(reconcilePolicy="Report")
    kaniko.view.builds = [build()]
    calls.reset()
    kaniko.settle()
    assert {state for _, state in rows(kaniko).values()} == {"absent"}
    kaniko.edit(reconcilePolicy="Correct", suspend=True)
    kaniko.settle()
    assert calls.mutating() == []
    assert kaniko.body["status"].get("drift", []) == []
    assert kaniko.conditions()["Drifted"][0] == "False"


def test_a_lost_status_changes_nothing(kaniko: Cache, calls: Calls) -> None:
    kaniko.settle()
    kaniko.view.builds = [build()]
    kaniko.settle()
    before = rows(kaniko)
    calls.reset()
    kaniko.body["status"] = {"observedGeneration": -1}
    kaniko.restart()
    kaniko.settle()
    assert calls.mutating() == []
    assert rows(kaniko) == before


def test_with_report_what_is_there_is_used(kaniko: Cache, calls: Calls) -> None:
    used(kaniko)
    kaniko.edit(reconcilePolicy="Report")
    kaniko.settle()
    kaniko.view.builds = [build()]
    calls.reset()
    kaniko.settle()
    assert {state for _, state in rows(kaniko).values()} == {"available", "ACTIVE"}
    assert calls.mutating() == []
