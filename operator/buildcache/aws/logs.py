"""CloudWatch Logs: the log group of the builds."""

from typing import TYPE_CHECKING

from buildcache.core.action import CreateLogGroup, DeleteLogGroup, PutRetention, Tags
from buildcache.core.observed import LogGroup

from .errors import Absent, translated
from .tags import is_owned

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient


def observe_log_group(client: "CloudWatchLogsClient", name: str, owner: Tags) -> LogGroup | None:
    """The log group of exactly that name."""
    described = None
    try:
        with translated("logs:DescribeLogGroups", name):
            for page in client.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name):
                for group in page["logGroups"]:
                    if group.get("logGroupName") == name:
                        described = group
        if described is None:
            return None
        # The ARN ends in :*, which the tag operations do not take.
        arn = described.get("logGroupArn") or described.get("arn", "").removesuffix(":*")
        with translated("logs:ListTagsForResource", name):
            tags = client.list_tags_for_resource(resourceArn=arn)["tags"]
    except Absent:
        return None
    return LogGroup(
        name=name,
        owned=is_owned(tags, owner),
        retention_days=described.get("retentionInDays"),
        arn=arn,
        tags=tags,
    )


def create_log_group(client: "CloudWatchLogsClient", action: CreateLogGroup) -> None:
    """Make the log group with its tags."""
    with translated("logs:CreateLogGroup", action.name):
        client.create_log_group(logGroupName=action.name, tags=dict(action.tags))


def put_retention(client: "CloudWatchLogsClient", action: PutRetention) -> None:
    """Set how long events are kept."""
    with translated("logs:PutRetentionPolicy", action.name):
        client.put_retention_policy(logGroupName=action.name, retentionInDays=action.days)


def delete_log_group(client: "CloudWatchLogsClient", action: DeleteLogGroup) -> None:
    """Remove the log group."""
    try:
        with translated("logs:DeleteLogGroup", action.name):
            client.delete_log_group(logGroupName=action.name)
    except Absent:
        return
