"""EC2: security groups, subnets and the network interfaces of mount targets."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from buildcache.core.action import AuthorizeRules, CreateSecurityGroup, DeleteSecurityGroup, RevokeRules, Tags
from buildcache.core.errors import Rejected
from buildcache.core.observed import Rule, SecurityGroup, Subnet
from buildcache.core.status import Reason

from .errors import Absent, Exists, NotYet, translated
from .tags import is_owned, key_value

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_ec2.type_defs import IpPermissionOutputTypeDef, SecurityGroupTypeDef

_NAMED = 3
"""Users of a group that a message names."""
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


def observe_security_groups(
    client: "EC2Client", vpc_id: str, group_names: Sequence[str], owner: Tags
) -> Mapping[str, SecurityGroup]:
    """Name → group, of those that exist in the VPC."""
    filters: list[Any] = [
        {"Name": "vpc-id", "Values": [vpc_id]},
        {"Name": "group-name", "Values": list(group_names)},
    ]
    found = {}
    with translated("ec2:DescribeSecurityGroups", vpc_id):
        for page in client.get_paginator("describe_security_groups").paginate(Filters=filters):
            for group in page["SecurityGroups"]:
                found[group["GroupName"]] = _security_group(group, owner)
    return found


def observe_given_groups(client: "EC2Client", group_ids: Sequence[str]) -> Mapping[str, str]:
    """Id → VPC of the groups that exist; the filter leaves out the others, where a list of ids would fail."""
    filters: list[Any] = [{"Name": "group-id", "Values": sorted(group_ids)}]
    found = {}
    with translated("ec2:DescribeSecurityGroups"):
        for page in client.get_paginator("describe_security_groups").paginate(Filters=filters):
            for group in page["SecurityGroups"]:
                found[group["GroupId"]] = group.get("VpcId", "")
    return found


def observe_subnets(client: "EC2Client", subnet_ids: Iterable[str]) -> Mapping[str, Subnet]:
    """Id → subnet, of those that exist; a filter answers nothing for the others, where a list of ids would fail."""
    filters: list[Any] = [{"Name": "subnet-id", "Values": sorted(subnet_ids)}]
    found = {}
    with translated("ec2:DescribeSubnets"):
        for page in client.get_paginator("describe_subnets").paginate(Filters=filters):
            for subnet in page["Subnets"]:
                found[subnet["SubnetId"]] = Subnet(subnet["SubnetId"], subnet["AvailabilityZone"], subnet["VpcId"])
    return found


def observe_interface_groups(client: "EC2Client", interface_ids: Iterable[str]) -> Mapping[str, frozenset[str]]:
    """Network interface → its security groups: one read for all mount targets, where EFS would need one for each."""
    filters: list[Any] = [{"Name": "network-interface-id", "Values": sorted(interface_ids)}]
    found = {}
    with translated("ec2:DescribeNetworkInterfaces"):
        for page in client.get_paginator("describe_network_interfaces").paginate(Filters=filters):
            for interface in page["NetworkInterfaces"]:
                groups = interface.get("Groups", [])
                found[interface["NetworkInterfaceId"]] = frozenset(group["GroupId"] for group in groups)
    return found


def create_security_group(client: "EC2Client", action: CreateSecurityGroup) -> None:
    """Make the group with its tags; a group of that name that is already there is seen by the next pass."""
    with translated("ec2:CreateSecurityGroup", action.name):
        client.create_security_group(
            GroupName=action.name,
            Description=action.description,
            VpcId=action.vpc_id,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": key_value(action.tags)}],
        )


def authorize_rules(client: "EC2Client", action: AuthorizeRules) -> None:
    """Add the rules one by one: AWS rejects a whole request for one rule that is there already.

    Raises Absent when EC2 does not know a group yet: one that was just created is not visible everywhere at once.
    """
    unknown: Absent | None = None
    for rule in sorted(action.rules):
        try:
            with translated(f"ec2:AuthorizeSecurityGroup{action.direction.capitalize()}", action.group_id):
                if action.direction == "ingress":
                    client.authorize_security_group_ingress(GroupId=action.group_id, IpPermissions=[_permission(rule)])
                else:
                    client.authorize_security_group_egress(GroupId=action.group_id, IpPermissions=[_permission(rule)])
        except Exists:
            continue
        except Absent as absent:
            unknown = absent
    if unknown is not None:
        raise unknown


def revoke_rules(client: "EC2Client", action: RevokeRules) -> None:
    """Take the rules away one by one; one that is gone already is no failure."""
    for rule in sorted(action.rules):
        try:
            with translated(f"ec2:RevokeSecurityGroup{action.direction.capitalize()}", action.group_id):
                if action.direction == "ingress":
                    client.revoke_security_group_ingress(GroupId=action.group_id, IpPermissions=[_permission(rule)])
                else:
                    client.revoke_security_group_egress(GroupId=action.group_id, IpPermissions=[_permission(rule)])
        except Absent:
            continue


def delete_security_group(client: "EC2Client", action: DeleteSecurityGroup) -> None:
    """Remove the group. Raises NotYet while an interface or another group's rule uses it, and says which."""
    try:
        with translated("ec2:DeleteSecurityGroup", action.group_id):
            client.delete_security_group(GroupId=action.group_id)
    except Absent:
        return
    except NotYet as refused:
        users = _users(client, action.group_id)
        if not users:
            raise
        named = ", ".join(users[:_NAMED]) + (f" and {len(users) - _NAMED} more" if len(users) > _NAMED else "")
        raise NotYet(f"security group {action.group_id} is used by {named}", refused.seconds) from refused


def observe_dns(client: "EC2Client", vpc_id: str) -> bool:
    """Whether the VPC resolves and gives names, which mounting a file system by its name needs; of an unknown VPC: not the question."""
    try:
        with translated("ec2:DescribeVpcAttribute", vpc_id):
            support = client.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsSupport")
            hostnames = client.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsHostnames")
    except Rejected as error:
        if error.reason is Reason.NOT_FOUND:
            return True
        raise
    return all(answer.get("Value", True) for answer in (support["EnableDnsSupport"], hostnames["EnableDnsHostnames"]))


def _users(client: "EC2Client", group_id: str) -> list[str]:
    """What keeps a group from being deleted: network interfaces with their descriptions, and groups whose rules name it."""
    interfaces: list[Any] = [{"Name": "group-id", "Values": [group_id]}]
    with translated("ec2:DescribeNetworkInterfaces", group_id):
        found = client.describe_network_interfaces(Filters=interfaces)["NetworkInterfaces"]
    users = []
    for interface in found:
        text = interface.get("Description", "")
        users.append(f"network interface {interface['NetworkInterfaceId']}" + (f" ({text})" if text else ""))
    rules: list[Any] = [{"Name": "ip-permission.group-id", "Values": [group_id]}]
    with translated("ec2:DescribeSecurityGroups", group_id):
        groups = client.describe_security_groups(Filters=rules)["SecurityGroups"]
    return users + [f"a rule of security group {group['GroupId']}" for group in groups if group["GroupId"] != group_id]


def _security_group(group: "SecurityGroupTypeDef", owner: Tags) -> SecurityGroup:
    tags = {tag.get("Key", ""): tag.get("Value", "") for tag in group.get("Tags", [])}
    return SecurityGroup(
        id=group["GroupId"],
        owned=is_owned(tags, owner),
        ingress=_rules(group.get("IpPermissions", [])),
        egress=_rules(group.get("IpPermissionsEgress", [])),
        tags=tags,
    )


def _rules(permissions: Iterable["IpPermissionOutputTypeDef"]) -> frozenset[Rule]:
    """One rule for each peer, in one spelling: EC2 answers protocols as names or numbers and merges peers as it likes."""
    found = set()
    for permission in permissions:
        protocol = _PROTOCOLS.get(permission.get("IpProtocol", "-1"), permission.get("IpProtocol", "-1"))
        first, last = (-1, -1) if protocol == "-1" else (permission.get("FromPort", -1), permission.get("ToPort", -1))
        peers = [
            *(pair.get("GroupId", "") for pair in permission.get("UserIdGroupPairs", [])),
            *(block.get("CidrIp", "") for block in permission.get("IpRanges", [])),
            *(block.get("CidrIpv6", "") for block in permission.get("Ipv6Ranges", [])),
            *(prefixes.get("PrefixListId", "") for prefixes in permission.get("PrefixListIds", [])),
        ]
        found |= {Rule(protocol, first, last, peer) for peer in peers}
    return frozenset(found)


def _permission(rule: Rule) -> Any:
    permission: dict[str, Any] = {"IpProtocol": rule.protocol}
    if rule.protocol != "-1":
        permission |= {"FromPort": rule.from_port, "ToPort": rule.to_port}
    if rule.peer.startswith("sg-"):
        permission["UserIdGroupPairs"] = [{"GroupId": rule.peer}]
    elif rule.peer.startswith("pl-"):
        permission["PrefixListIds"] = [{"PrefixListId": rule.peer}]
    elif ":" in rule.peer:
        permission["Ipv6Ranges"] = [{"CidrIpv6": rule.peer}]
    else:
        permission["IpRanges"] = [{"CidrIp": rule.peer}]
    return permission
