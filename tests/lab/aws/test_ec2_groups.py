"""Security groups: names, duplicates, dependencies, pages."""

from typing import Any

import pytest

from tests.lab.aws.served import Served, refused, unique


def create(aws: Served, name: str | None = None, description: str = "test") -> str:
    return str(
        aws.client("ec2").create_security_group(
            GroupName=name or unique("group"), Description=description, VpcId=aws.aws.world.vpc_id
        )["GroupId"]
    )


def nfs_from(source: str) -> list[dict[str, Any]]:
    return [{"IpProtocol": "tcp", "FromPort": 2049, "ToPort": 2049, "UserIdGroupPairs": [{"GroupId": source}]}]


def test_t31_a_group_that_a_rule_of_another_names_can_not_be_deleted(aws: Served) -> None:
    ec2 = aws.client("ec2")
    build, cache = create(aws), create(aws)
    ec2.authorize_security_group_ingress(GroupId=cache, IpPermissions=nfs_from(build))
    with refused("DependencyViolation", 400) as response:
        ec2.delete_security_group(GroupId=build)
    assert build in response["Error"]["Message"]
    ec2.delete_security_group(GroupId=cache)
    ec2.delete_security_group(GroupId=build)
    with refused("InvalidGroup.NotFound", 400):
        ec2.delete_security_group(GroupId=build)


def test_t31_groups_that_name_each_other_go_only_after_a_revoke(aws: Served) -> None:
    ec2 = aws.client("ec2")
    build, cache = create(aws), create(aws)
    ec2.authorize_security_group_ingress(GroupId=cache, IpPermissions=nfs_from(build))
    ec2.authorize_security_group_egress(GroupId=build, IpPermissions=nfs_from(cache))
    for group in (build, cache):
        with refused("DependencyViolation"):
            ec2.delete_security_group(GroupId=group)
    ec2.revoke_security_group_egress(GroupId=build, IpPermissions=nfs_from(cache))
    ec2.delete_security_group(GroupId=cache)
    ec2.delete_security_group(GroupId=build)


def test_a_group_that_names_itself_can_be_deleted(aws: Served) -> None:
    ec2 = aws.client("ec2")
    group = create(aws)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=nfs_from(group))
    ec2.delete_security_group(GroupId=group)


def test_t30_a_group_of_a_network_interface_can_not_be_deleted(aws: Served) -> None:
    ec2 = aws.client("ec2")
    group = create(aws)
    interface = ec2.create_network_interface(SubnetId=aws.aws.world.subnet_ids[0], Groups=[group])["NetworkInterface"]
    with refused("DependencyViolation"):
        ec2.delete_security_group(GroupId=group)
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    ec2.delete_security_group(GroupId=group)


def test_t10_a_rule_twice_and_a_rule_that_is_not_there(aws: Served) -> None:
    ec2 = aws.client("ec2")
    build, cache = create(aws), create(aws)
    with refused("InvalidPermission.NotFound", 400):
        ec2.revoke_security_group_ingress(GroupId=cache, IpPermissions=nfs_from(build))
    ec2.authorize_security_group_ingress(GroupId=cache, IpPermissions=nfs_from(build))
    with refused("InvalidPermission.Duplicate", 400):
        ec2.authorize_security_group_ingress(GroupId=cache, IpPermissions=nfs_from(build))


def test_t10_names_are_taken_whatever_their_case(aws: Served) -> None:
    name = unique("Group")
    create(aws, name)
    with refused("InvalidGroup.Duplicate", 400):
        create(aws, name.upper())


@pytest.mark.parametrize(
    ("name", "description"),
    [
        pytest.param("sg-mine", "test", id="a name like an id"),
        pytest.param("x" * 256, "test", id="a name too long"),
        pytest.param("büro", "test", id="a name beyond ASCII"),
        pytest.param("fine", "a — b", id="a description beyond ASCII"),
        pytest.param("fine", "x" * 256, id="a description too long"),
    ],
)
def test_t48_names_that_aws_does_not_take_are_refused(aws: Served, name: str, description: str) -> None:
    with refused("InvalidParameterValue", 400):
        create(aws, name, description)


def test_the_default_group_stays(aws: Served) -> None:
    ec2 = aws.client("ec2")
    filters = [{"Name": "group-name", "Values": ["default"]}, {"Name": "vpc-id", "Values": [aws.aws.world.vpc_id]}]
    (default,) = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    with refused("CannotDelete", 400):
        ec2.delete_security_group(GroupId=default["GroupId"])


def test_groups_are_listed_in_pages_when_asked(aws: Served) -> None:
    ec2 = aws.client("ec2")
    created = {create(aws) for _ in range(7)}
    pages = list(ec2.get_paginator("describe_security_groups").paginate(PaginationConfig={"PageSize": 5}))
    assert len(pages) > 1
    assert created <= {group["GroupId"] for page in pages for group in page["SecurityGroups"]}


def test_the_world_begins_with_a_network_that_tasks_can_use(aws: Served) -> None:
    ec2 = aws.client("ec2")
    world = aws.aws.world
    subnets = ec2.describe_subnets(SubnetIds=list(world.subnet_ids))["Subnets"]
    assert {subnet["VpcId"] for subnet in subnets} == {world.vpc_id}
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) >= 3
    assert {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in subnets} == dict(
        zip(world.subnet_ids, world.zones, strict=True)
    )
    for attribute, key in (("enableDnsHostnames", "EnableDnsHostnames"), ("enableDnsSupport", "EnableDnsSupport")):
        assert ec2.describe_vpc_attribute(VpcId=world.vpc_id, Attribute=attribute)[key]["Value"] is True
    clusters = aws.client("ecs").describe_clusters(clusters=["builds"])["clusters"]
    assert [cluster["clusterArn"] for cluster in clusters] == [world.cluster_arn]
    assert aws.client("s3").list_objects_v2(Bucket=world.bucket)["KeyCount"] == 0


def test_a_group_is_made_in_a_vpc_that_is_there_only(aws: Served) -> None:
    with refused("InvalidVpcID.NotFound", 400):
        aws.client("ec2").create_security_group(
            GroupName=unique("group"), Description="build", VpcId="vpc-0123456789abcdef0"
        )
