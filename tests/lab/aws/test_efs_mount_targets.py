"""Mount targets: states, network interfaces, security groups, one for each zone."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws.timing import Timing
from tests.lab.aws.served import ENDLESS, Served, refused, served, unique, until


@pytest.fixture
def file_system_id(aws: Served) -> str:
    efs = aws.client("efs")
    created = efs.create_file_system(CreationToken=unique())["FileSystemId"]
    until(
        lambda: efs.describe_file_systems(FileSystemId=created)["FileSystems"][0]["LifeCycleState"],
        lambda state: state == "available",
    )
    return str(created)


def group(aws: Served) -> str:
    created = aws.client("ec2").create_security_group(
        GroupName=unique("group"), Description="test", VpcId=aws.aws.world.vpc_id
    )
    return str(created["GroupId"])


def state(aws: Served, target: str) -> str:
    found = aws.client("efs").describe_mount_targets(MountTargetId=target)["MountTargets"]
    return str(found[0]["LifeCycleState"])


def create(aws: Served, file_system_id: str, **options: Any) -> str:
    options.setdefault("SubnetId", aws.aws.world.subnet_ids[0])
    return str(aws.client("efs").create_mount_target(FileSystemId=file_system_id, **options)["MountTargetId"])


def interfaces(aws: Served, target: str) -> list[dict[str, Any]]:
    found = aws.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    return [one for one in found if target in one["Description"]]


def test_t15_a_mount_target_is_creating_for_a_while_and_then_available(aws: Served, file_system_id: str) -> None:
    target = create(aws, file_system_id)
    until(lambda: state(aws, target), lambda found: found == "available")


def test_t30_the_network_interface_says_whose_it_is_and_goes_with_the_mount_target(
    aws: Served, file_system_id: str
) -> None:
    mine = group(aws)
    target = create(aws, file_system_id, SecurityGroups=[mine])
    (interface,) = interfaces(aws, target)
    assert interface["Description"] == f"Mount target {target} for file system {file_system_id}"
    assert interface["RequesterManaged"]
    assert interface["Status"] == "in-use"
    assert [one["GroupId"] for one in interface["Groups"]] == [mine]

    aws.client("efs").delete_mount_target(MountTargetId=target)
    until(lambda: interfaces(aws, target), lambda found: not found)
    with refused("MountTargetNotFound", 404):
        aws.client("efs").delete_mount_target(MountTargetId=target)


def test_security_groups_change_only_while_available(file_system_id: str, aws: Served) -> None:
    with served(timing=Timing(file_system_creating=0, mount_target_creating=60)) as slow:
        efs = slow.client("efs")
        created = efs.create_file_system(CreationToken=unique())["FileSystemId"]
        target = create(slow, created)
        assert state(slow, target) == "creating"
        with refused("IncorrectMountTargetState", 409):
            efs.modify_mount_target_security_groups(MountTargetId=target, SecurityGroups=[group(slow)])
        with refused("IncorrectMountTargetState", 409):
            efs.describe_mount_target_security_groups(MountTargetId=target)


def test_changed_security_groups_are_those_of_the_interface(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")
    first, second = group(aws), group(aws)
    target = create(aws, file_system_id, SecurityGroups=[first])
    until(lambda: state(aws, target), lambda found: found == "available")
    efs.modify_mount_target_security_groups(MountTargetId=target, SecurityGroups=[second])
    assert efs.describe_mount_target_security_groups(MountTargetId=target)["SecurityGroups"] == [second]
    assert [one["GroupId"] for one in interfaces(aws, target)[0]["Groups"]] == [second]
    with refused("SecurityGroupNotFound", 400):
        efs.modify_mount_target_security_groups(MountTargetId=target, SecurityGroups=["sg-0123456789abcdef0"])
    with refused("SecurityGroupLimitExceeded", 400):
        efs.modify_mount_target_security_groups(MountTargetId=target, SecurityGroups=[second] * 6)


def test_t30_the_interface_of_a_mount_target_that_is_being_deleted_still_holds_its_group() -> None:
    with served(timing=ENDLESS) as endless:
        created = endless.client("efs").create_file_system(CreationToken=unique())["FileSystemId"]
        mine = group(endless)
        target = create(endless, created, SecurityGroups=[mine])
        endless.client("efs").delete_mount_target(MountTargetId=target)
        assert interfaces(endless, target)
        with refused("DependencyViolation"):
            endless.client("ec2").delete_security_group(GroupId=mine)


def test_without_groups_it_has_the_default_one_of_the_vpc(aws: Served, file_system_id: str) -> None:
    target = create(aws, file_system_id)
    until(lambda: state(aws, target), lambda found: found == "available")
    (found,) = aws.client("efs").describe_mount_target_security_groups(MountTargetId=target)["SecurityGroups"]
    groups = aws.client("ec2").describe_security_groups(GroupIds=[found])["SecurityGroups"]
    assert groups[0]["GroupName"] == "default"


def test_t05_parallel_creates_in_one_zone_make_one_mount_target(aws: Served, file_system_id: str) -> None:
    efs = aws.client("efs")

    def attempt(_: int) -> str:
        try:
            return create(aws, file_system_id)
        except ClientError as problem:
            return str(problem.response["Error"]["Code"])

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert outcomes.count("MountTargetConflict") == 3
    assert len(efs.describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]) == 1


def test_t45_each_zone_takes_one(aws: Served, file_system_id: str) -> None:
    for subnet in aws.aws.world.subnet_ids[:3]:
        create(aws, file_system_id, SubnetId=subnet)
    found = aws.client("efs").describe_mount_targets(FileSystemId=file_system_id)["MountTargets"]
    assert {one["AvailabilityZoneName"] for one in found} == set(aws.aws.world.zones[:3])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"SubnetId": "subnet-0123456789abcdef0"}, "SubnetNotFound"),
        ({"SecurityGroups": ["sg-0123456789abcdef0"]}, "SecurityGroupNotFound"),
        ({"SecurityGroups": ["sg-0123456789abcdef0"] * 6}, "SecurityGroupLimitExceeded"),
    ],
)
def test_t44_what_it_names_must_exist(aws: Served, file_system_id: str, options: dict[str, Any], code: str) -> None:
    with refused(code, 400):
        create(aws, file_system_id, **options)
    assert aws.client("efs").describe_mount_targets(FileSystemId=file_system_id)["MountTargets"] == []
