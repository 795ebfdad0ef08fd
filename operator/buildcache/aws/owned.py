"""Everything in one region that carries the owner tags of a cluster, whoever the owner is. Asked by `buildcache gc`, not by passes."""

from collections.abc import Iterator, Mapping
from typing import Any

from buildcache.api.meta import TAG_PREFIX
from buildcache.core.action import Tags
from buildcache.core.names import MANAGED_BY, POLICY_TAG, UID_TAG, Identity
from buildcache.core.orphan import OwnedPart

from . import ecs
from .clients import Clients
from .errors import Absent, translated

_LOG_GROUPS = "/buildcache/"
_FAMILIES = "buildcache-"


def find_owned(clients: Clients, cluster_id: str) -> list[OwnedPart]:
    """All parts of all BuildCaches of that cluster. Mount targets carry no tags and belong to their file system."""
    found = []
    for kind, part_id, tags, more in (
        *_groups(clients),
        *_file_systems(clients),
        *_access_points(clients),
        *_repositories(clients),
        *_log_groups(clients),
        *_definitions(clients),
    ):
        if tags.get(f"{TAG_PREFIX}cluster-id") == cluster_id and tags.get(f"{TAG_PREFIX}managed-by") == MANAGED_BY:
            namespace, name, uid = (
                tags.get(key, "") for key in (f"{TAG_PREFIX}namespace", f"{TAG_PREFIX}name", UID_TAG)
            )
            owner = Identity(cluster_id, namespace, name, uid)
            found.append(OwnedPart(owner, kind, part_id, retained=tags.get(POLICY_TAG) == "Retain", **more))
    return [part for part in found if part.owner.uid]


_Found = Iterator[tuple[str, str, Tags, Mapping[str, Any]]]


def _groups(clients: Clients) -> _Found:
    filters: list[Any] = [{"Name": f"tag:{TAG_PREFIX}managed-by", "Values": [MANAGED_BY]}]
    with translated("ec2:DescribeSecurityGroups"):
        for page in clients.ec2.get_paginator("describe_security_groups").paginate(Filters=filters):
            for group in page["SecurityGroups"]:
                tags = {tag.get("Key", ""): tag.get("Value", "") for tag in group.get("Tags", [])}
                yield "ec2/SecurityGroup", group["GroupId"], tags, {"vpc_id": group.get("VpcId", "")}


def _file_systems(clients: Clients) -> _Found:
    with translated("elasticfilesystem:DescribeFileSystems"):
        for page in clients.efs.get_paginator("describe_file_systems").paginate():
            for system in page["FileSystems"]:
                tags = {tag["Key"]: tag["Value"] for tag in system["Tags"]}
                yield "efs/FileSystem", system["FileSystemId"], tags, {}


def _access_points(clients: Clients) -> _Found:
    """Also those on a file system that is not ours."""
    with translated("elasticfilesystem:DescribeAccessPoints"):
        for page in clients.efs.get_paginator("describe_access_points").paginate():
            for point in page["AccessPoints"]:
                tags = {tag["Key"]: tag["Value"] for tag in point.get("Tags", [])}
                yield "efs/AccessPoint", point["AccessPointId"], tags, {}


def _repositories(clients: Clients) -> _Found:
    with translated("ecr:DescribeRepositories"):
        pages = list(clients.ecr.get_paginator("describe_repositories").paginate())
    for repository in (repository for page in pages for repository in page["repositories"]):
        arn, name = repository["repositoryArn"], repository["repositoryName"]
        try:
            with translated("ecr:ListTagsForResource", name):
                listed = clients.ecr.list_tags_for_resource(resourceArn=arn)["tags"]
        except Absent:
            continue
        yield "ecr/Repository", arn, {tag["Key"]: tag["Value"] for tag in listed}, {"name": name}


def _log_groups(clients: Clients) -> _Found:
    with translated("logs:DescribeLogGroups", _LOG_GROUPS):
        pages = list(clients.logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=_LOG_GROUPS))
    for group in (group for page in pages for group in page["logGroups"]):
        name, arn = group.get("logGroupName", ""), group.get("arn", "").removesuffix(":*")
        try:
            with translated("logs:ListTagsForResource", name):
                tags = clients.logs.list_tags_for_resource(resourceArn=arn)["tags"]
        except Absent:
            continue
        yield "logs/LogGroup", name, tags, {}


def _definitions(clients: Clients) -> _Found:
    for family in ecs.find_families(clients.ecs, _FAMILIES):
        for revision in ecs.observe_revisions(clients.ecs, [family], {}):
            yield "ecs/TaskDefinition", revision.arn, revision.tags, {}
