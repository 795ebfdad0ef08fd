"""ECS: the cluster (only looked at) and task definitions. Tasks are in `tasks.py`."""

from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from buildcache.core.action import DeregisterTaskDefinition, RegisterTaskDefinition, Tags
from buildcache.core.build import family_of
from buildcache.core.names import CONTENT_HASH_TAG
from buildcache.core.observed import ACTIVE, TaskRevision

from .errors import Absent, translated
from .tags import is_owned, lower_key_value

if TYPE_CHECKING:
    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.type_defs import TaskDefinitionTypeDef

RETIRED_AT_ONCE = 10
"""Older revisions that one look describes, newest first; the rest comes when these are gone. ECS lets one go each second."""


def observe_cluster(client: "ECSClient", cluster_arn: str) -> str | None:
    """The cluster's status, ACTIVE when tasks can run on it; None when it does not exist."""
    with translated("ecs:DescribeClusters", cluster_arn):
        found = client.describe_clusters(clusters=[cluster_arn])["clusters"]
    return found[0].get("status") if found else None


def find_families(client: "ECSClient", prefix: str) -> Sequence[str]:
    """All families that begin with `prefix` and have an active revision."""
    found: list[str] = []
    with translated("ecs:ListTaskDefinitionFamilies", prefix):
        paginator = client.get_paginator("list_task_definition_families")
        for page in paginator.paginate(familyPrefix=prefix, status="ACTIVE"):
            found += page["families"]
    return found


def observe_revisions(
    client: "ECSClient", families: Iterable[str], owner: Tags, alone: Container[str] = ()
) -> Sequence[TaskRevision]:
    """The active revisions of the families. Older ones are not looked for beside a newest one that is known to be `alone`."""
    found: list[TaskRevision] = []
    for family in families:
        newest = _describe(client, family, owner)
        if newest is None:
            continue
        found.append(newest)
        if newest.revision > 1 and newest.arn not in alone:
            others = [arn for arn in _active(client, family) if arn != newest.arn][:RETIRED_AT_ONCE]
            described = [_describe(client, arn, owner) for arn in others]
            found += [revision for revision in described if revision is not None]
    return found


def register_task_definition(client: "ECSClient", action: RegisterTaskDefinition) -> None:
    """Make a new revision; its tag says what content it has."""
    request: Any = dict(action.definition.request)
    tags = {**action.tags, CONTENT_HASH_TAG: action.definition.content_hash}
    with translated("ecs:RegisterTaskDefinition", request["family"]):
        client.register_task_definition(**request, tags=lower_key_value(tags))


def deregister_task_definition(client: "ECSClient", action: DeregisterTaskDefinition) -> None:
    """Retire a revision; tasks that run from it go on."""
    try:
        with translated("ecs:DeregisterTaskDefinition", action.arn):
            client.deregister_task_definition(taskDefinition=action.arn)
    except Absent:
        return


def _describe(client: "ECSClient", family_or_arn: str, owner: Tags) -> TaskRevision | None:
    try:
        with translated("ecs:DescribeTaskDefinition", family_or_arn):
            answer = client.describe_task_definition(taskDefinition=family_or_arn, include=["TAGS"])
    except Absent:
        return None
    described = answer["taskDefinition"]
    if described.get("status") != ACTIVE:
        return None
    tags = {tag.get("key", ""): tag.get("value", "") for tag in answer.get("tags", [])}
    return TaskRevision(
        arn=described["taskDefinitionArn"],
        family=described["family"],
        revision=described["revision"],
        owned=is_owned(tags, owner),
        content_hash=tags.get(CONTENT_HASH_TAG, ""),
        log_group=_log_group(described),
        tags=tags,
    )


def _log_group(described: "TaskDefinitionTypeDef") -> str:
    for container in described.get("containerDefinitions", []):
        group = container.get("logConfiguration", {}).get("options", {}).get("awslogs-group")
        if group is not None:
            return group
    return ""


def _active(client: "ECSClient", family: str) -> list[str]:
    found: list[str] = []
    with translated("ecs:ListTaskDefinitions", family):
        paginator = client.get_paginator("list_task_definitions")
        for page in paginator.paginate(familyPrefix=family, status="ACTIVE", sort="DESC"):
            found += page["taskDefinitionArns"]
    # The parameter is called a prefix, and other implementations of this API take it for one.
    return [arn for arn in found if family_of(arn) == family]
