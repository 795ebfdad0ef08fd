"""What exists in the lab's AWS before anyone calls it: a network, a cluster, a bucket for sources.

Made without API calls, so that the call log starts empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from moto.ec2.models import ec2_backends
from moto.ecs.models import ecs_backends
from moto.s3.models import s3_backends

CLUSTER = "builds"
BUCKET = "lab-sources"
USUAL_ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class World:
    """Ids of what the lab starts with."""

    vpc_id: str
    subnet_ids: tuple[str, ...]
    zones: tuple[str, ...]
    """The zone of each subnet, in the same order."""
    cluster_arn: str
    bucket: str


def create(region: str, account: str) -> World:
    """Make the first things of an empty AWS."""
    ec2 = ec2_backends[account][region]
    vpc = ec2.default_vpc
    # Tasks in awsvpc mode and EFS mounts need both; a real default VPC has them.
    vpc.enable_dns_hostnames = True
    vpc.enable_dns_support = True
    subnets = sorted(
        (subnet for zone in ec2.subnets.values() for subnet in zone.values() if subnet.vpc_id == vpc.id),
        key=lambda subnet: str(subnet.availability_zone),
    )
    cluster = ecs_backends[account][region].create_cluster(
        CLUSTER,
        tags=[],
        cluster_settings=None,
        configuration=None,
        capacity_providers=["FARGATE", "FARGATE_SPOT"],
        default_capacity_provider_strategy=None,
    )
    # Bucket names are global: a further account of this process needs one of its own.
    bucket = BUCKET if account == USUAL_ACCOUNT else f"{BUCKET}-{account}"
    s3_backends[account]["aws"].create_bucket(bucket, region)
    return World(
        vpc_id=vpc.id,
        subnet_ids=tuple(subnet.id for subnet in subnets),
        zones=tuple(subnet.availability_zone for subnet in subnets),
        cluster_arn=cluster.arn,
        bucket=bucket,
    )
