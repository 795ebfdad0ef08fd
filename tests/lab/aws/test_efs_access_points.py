"""Access points: identity, states, pages and checks."""

from collections.abc import Callable
from typing import Any

import pytest

from lab.aws.timing import Timing
from tests.lab.aws.served import ENDLESS, Served, refused, served, tag_map, unique, until


@pytest.fixture
def file_system_id(aws: Served) -> str:
    efs = aws.client("efs")
    created = efs.create_file_system(CreationToken=unique())["FileSystemId"]
    until(
        lambda: efs.describe_file_systems(FileSystemId=created)["FileSystems"][0]["LifeCycleState"],
        lambda state: state == "available",
    )
    return str(created)


ROOT = {"Path": "/cache/a", "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0, "Permissions": "0755"}}


def test_t04_a_client_token_in_use_answers_the_access_point_that_has_it(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    token = unique()
    created = efs.create_access_point(
        ClientToken=token,
        FileSystemId=file_system_id,
        PosixUser={"Uid": 0, "Gid": 0},
        RootDirectory=ROOT,
        Tags=[{"Key": "a", "Value": "b"}],
    )
    assert tag_map(created["Tags"]) == {"a": "b"}
    with refused("AccessPointAlreadyExists", 409) as response:
        efs.create_access_point(ClientToken=token, FileSystemId=file_system_id)
    assert response["AccessPointId"] == created["AccessPointId"]
    assert len(efs.describe_access_points(FileSystemId=file_system_id)["AccessPoints"]) == 1


def test_an_access_point_is_creating_available_deleting_and_gone(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    created = efs.create_access_point(ClientToken=unique(), FileSystemId=file_system_id)
    assert created["LifeCycleState"] == "creating"
    mine = created["AccessPointId"]

    def states() -> list[str]:
        found = efs.describe_access_points(FileSystemId=file_system_id)["AccessPoints"]
        return [one["LifeCycleState"] for one in found]

    until(states, lambda found: found == ["available"])
    efs.delete_access_point(AccessPointId=mine)
    until(states, lambda found: not found)
    with refused("AccessPointNotFound", 404):
        efs.delete_access_point(AccessPointId=mine)
    with refused("AccessPointNotFound", 404):
        efs.describe_access_points(AccessPointId=mine)


def test_an_access_point_that_is_being_deleted_is_still_listed() -> None:
    with served(timing=ENDLESS) as endless:
        efs = endless.client("efs")
        created = efs.create_file_system(CreationToken=unique())["FileSystemId"]
        point = efs.create_access_point(ClientToken=unique(), FileSystemId=created)["AccessPointId"]
        efs.delete_access_point(AccessPointId=point)
        efs.delete_access_point(AccessPointId=point)
        (shown,) = efs.describe_access_points(FileSystemId=created)["AccessPoints"]
        assert shown["LifeCycleState"] == "deleting"


def test_access_points_are_listed_in_pages(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    created = {
        efs.create_access_point(ClientToken=unique(), FileSystemId=file_system_id)["AccessPointId"] for _ in range(5)
    }
    pages = list(
        efs.get_paginator("describe_access_points").paginate(
            FileSystemId=file_system_id, PaginationConfig={"PageSize": 2}
        )
    )
    assert [len(page["AccessPoints"]) for page in pages] == [2, 2, 1]
    assert {one["AccessPointId"] for page in pages for one in page["AccessPoints"]} == created


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"PosixUser": {"Uid": 1, "Gid": 1, "SecondaryGids": [1] * 17}}, id="too many groups"),
        pytest.param({"RootDirectory": {"Path": "cache"}}, id="a relative path"),
        pytest.param({"RootDirectory": {"Path": "/a/b/c/d/e"}}, id="a path of five levels"),
        pytest.param(
            {"RootDirectory": {"Path": "/a", "CreationInfo": {"OwnerUid": 0, "OwnerGid": 0, "Permissions": "rwx"}}},
            id="permissions in letters",
        ),
    ],
)
def test_values_out_of_bounds_are_refused(aws: Served, file_system_id: str, options: dict[str, Any]) -> None:
    raw = aws.client("efs")
    with pytest.raises(Exception, match=r"BadRequest|Parameter validation failed"):
        raw.create_access_point(ClientToken=unique(), FileSystemId=file_system_id, **options)
    assert raw.describe_access_points(FileSystemId=file_system_id)["AccessPoints"] == []


def test_t42_a_file_system_has_so_many_access_points_and_no_more() -> None:
    with served(timing=Timing(file_system_creating=0, access_points_of_a_file_system=2)) as small:
        efs = small.client("efs")
        created = efs.create_file_system(CreationToken=unique())["FileSystemId"]
        for _ in range(2):
            efs.create_access_point(ClientToken=unique(), FileSystemId=created)
        with refused("AccessPointLimitExceeded", 403):
            efs.create_access_point(ClientToken=unique(), FileSystemId=created)


def test_access_points_do_not_hold_a_file_system_and_go_with_it(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    point = efs.create_access_point(ClientToken=unique(), FileSystemId=file_system_id)["AccessPointId"]
    efs.delete_file_system(FileSystemId=file_system_id)
    until(
        lambda: [each["AccessPointId"] for each in efs.describe_access_points()["AccessPoints"]],
        lambda left: point not in left,
    )


def test_tags_of_an_access_point_are_set_and_taken_away(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    point = efs.create_access_point(ClientToken=unique(), FileSystemId=file_system_id)["AccessPointId"]
    efs.tag_resource(ResourceId=point, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    efs.untag_resource(ResourceId=point, TagKeys=["a"])
    (shown,) = efs.describe_access_points(AccessPointId=point)["AccessPoints"]
    assert tag_map(shown["Tags"]) == {"b": "2"}


@pytest.mark.parametrize(
    ("resource", "code"),
    [("fs-0123456789abcdef0", "FileSystemNotFound"), ("fsap-0123456789abcdef0", "AccessPointNotFound")],
)
def test_tags_are_of_what_is_there_only(aws: Served, resource: str, code: str) -> None:
    efs = aws.client("efs")
    calls: tuple[Callable[[], Any], ...] = (
        lambda: efs.tag_resource(ResourceId=resource, Tags=[{"Key": "a", "Value": "1"}]),
        lambda: efs.untag_resource(ResourceId=resource, TagKeys=["a"]),
        lambda: efs.list_tags_for_resource(ResourceId=resource),
    )
    for call in calls:
        with refused(code, 404):
            call()
