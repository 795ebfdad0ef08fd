"""CloudWatch Logs: the checks that moto leaves out."""

from __future__ import annotations

import re
from typing import Any

from moto.logs import urls
from moto.logs.exceptions import InvalidParameterException, ResourceNotFoundException, ValidationException
from moto.logs.models import LogsBackend, logs_backends

RETENTION_DAYS = frozenset(
    (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
)
GROUP_NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")


class Logs(LogsBackend):  # type: ignore[misc]  # moto carries no types
    """moto's backend with AWS's limits."""

    @property
    def _url_module(self) -> Any:
        return urls

    def create_log_group(self, log_group_name: str, tags: Any, **kwargs: Any) -> Any:
        """Refuse a name that AWS would."""
        if not GROUP_NAME.fullmatch(log_group_name):
            raise InvalidParameterException(
                constraint=f"Member must satisfy regular expression pattern: {GROUP_NAME.pattern}",
                parameter="logGroupName",
                value=log_group_name,
            )
        if log_group_name.startswith("aws/"):
            raise InvalidParameterException("Log groups starting with AWS/ are reserved for AWS.")
        return super().create_log_group(log_group_name, tags, **kwargs)

    def put_retention_policy(self, log_group_name: str, retention_in_days: Any) -> None:
        """Refuse a number of days that is not one of the list."""
        if retention_in_days not in RETENTION_DAYS:
            raise InvalidParameterException(
                constraint=f"Member must satisfy enum value set: {sorted(RETENTION_DAYS)}",
                parameter="retentionInDays",
                value=retention_in_days,
            )
        super().put_retention_policy(log_group_name, retention_in_days)

    def get_log_events(
        self, log_group_name: str, log_group_id: str, log_stream_name: str, *rest: Any, **kwargs: Any
    ) -> Any:
        """Say that it is the stream that is missing when the group is there."""
        group = self._find_log_group(log_group_id=log_group_id, log_group_name=log_group_name)
        if log_stream_name not in group.streams:
            raise ResourceNotFoundException("The specified log stream does not exist.")
        return super().get_log_events(log_group_name, log_group_id, log_stream_name, *rest, **kwargs)

    def filter_log_events(self, log_group_name: str, log_stream_names: list[str], *rest: Any, **kwargs: Any) -> Any:
        """Refuse the whole search when one of the named streams is not there (percona/rds_exporter#81)."""
        group = self.groups.get(log_group_name)
        if group is not None and any(name not in group.streams for name in log_stream_names or ()):
            raise ResourceNotFoundException("The specified log stream does not exist.")
        return super().filter_log_events(log_group_name, log_stream_names, *rest, **kwargs)

    def delete_log_group(self, log_group_name: str) -> None:
        """Let the tags go too: a group that is made anew has none of them."""
        group = self.groups.get(log_group_name)
        super().delete_log_group(log_group_name)
        if group is not None:
            self.tagger.delete_all_tags_for_resource(group.arn)

    def list_tags_for_resource(self, resource_arn: str) -> dict[str, str]:
        """Say so when there is no such group."""
        self._check(resource_arn)
        tags: dict[str, str] = super().list_tags_for_resource(resource_arn)
        return tags

    def tag_resource(self, arn: str, tags: dict[str, str]) -> None:
        """Tag what is there only."""
        self._check(arn)
        super().tag_resource(arn, tags)

    def untag_resource(self, arn: str, tag_keys: list[str]) -> None:
        """Untag what is there only."""
        self._check(arn)
        super().untag_resource(arn, tag_keys)

    def _check(self, arn: str) -> None:
        """Refuse what is no log group, and the form of an ARN that DescribeLogGroups gives (boto/boto3#4104)."""
        _, is_group, name = arn.partition(":log-group:")
        if is_group and name.endswith(":*"):
            raise ValidationException("Invalid resourceArn")
        if is_group and name not in self.groups:
            raise ResourceNotFoundException("The specified resource does not exist.")


def fill() -> None:
    """Let moto make this backend."""
    logs_backends.backend = Logs
