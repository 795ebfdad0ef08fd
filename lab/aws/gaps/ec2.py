"""EC2: security groups that are in use can not be deleted, and names that AWS refuses are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2 import urls
from moto.ec2.exceptions import (
    DependencyViolationError,
    EC2ClientError,
    InvalidSecurityGroupDuplicateError,
    InvalidVPCIdError,
)
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.responses import EC2Response

from lab.aws.gaps.efs_backend import settle
from lab.aws.gaps.pages import page

TEXT = re.compile(r"[a-zA-Z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{1,255}")


class Ec2(EC2Backend):  # type: ignore[misc]  # moto carries no types
    """moto's backend with AWS's rules for security groups."""

    @property
    def _url_module(self) -> Any:
        return urls

    def create_security_group(self, name: str, description: str, vpc_id: str | None = None, **kwargs: Any) -> Any:
        """Refuse names and descriptions that AWS would; names differ by more than case."""
        if not TEXT.fullmatch(name) or name.lower().startswith("sg-"):
            raise _invalid(
                "GroupName", name, "Up to 255 characters of a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*; not sg-"
            )
        if description and not TEXT.fullmatch(description):
            raise _invalid("GroupDescription", description, "Character sets beyond ASCII are not supported.")
        vpc_id = vpc_id or self.default_vpc.id
        if vpc_id not in self.vpcs:
            raise InvalidVPCIdError(vpc_id)
        if any(group.name.lower() == name.lower() for group in self.groups[vpc_id].values()):
            raise InvalidSecurityGroupDuplicateError(name)
        return super().create_security_group(name, description, vpc_id, **kwargs)

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> None:
        """Refuse while a network interface or a rule of another group needs the group."""
        group = self.get_security_group_from_id(group_id) if group_id else self.get_security_group_from_name(name)
        if group is not None:
            if group.is_default:
                raise EC2ClientError(
                    "CannotDelete", f'the specified group: "{group.id}" name: "default" cannot be deleted by a user'
                )
            if any(True for _ in self._users(group.id)):
                raise DependencyViolationError(f"resource {group.id} has a dependent object")
        super().delete_security_group(name, group_id)

    def _users(self, group_id: str) -> Iterator[str]:
        for interface in list(self.enis.values()):
            if any(group.id == group_id for group in interface.group_set):
                yield interface.id
        for groups in list(self.groups.values()):
            for group in list(groups.values()):
                if group.id != group_id and any(
                    (rule.source_group or {}).get("GroupId") == group_id
                    for rule in (*group.ingress_rules, *group.egress_rules)
                ):
                    yield group.id


class Ec2Response(EC2Response):  # type: ignore[misc]  # moto carries no types
    """moto's answers, the list of security groups in pages."""

    def call_action(self) -> Any:
        """Let deleted mount targets give their network interfaces free first."""
        settle(self.current_account, self.region)
        return super().call_action()

    def describe_security_groups(self) -> Any:
        """List in pages when a page size is given."""
        found = self.ec2_backend.describe_security_groups(
            group_ids=self._get_param("GroupIds", []),
            groupnames=self._get_param("GroupNames", []),
            filters=self._filters_from_querystring(),
        )
        size = self._get_param("MaxResults")
        if size is None:
            return ActionResult({"SecurityGroups": found})
        if not 5 <= int(size) <= 1000:
            raise EC2ClientError(
                "InvalidParameterValue", f"Value ( {size} ) for parameter maxResults is invalid. Expecting 5 to 1000."
            )
        part, token = page(found, int(size), self._get_param("NextToken"))
        return ActionResult({"SecurityGroups": part, **({"NextToken": token} if token else {})})


def _invalid(parameter: str, value: str, rule: str) -> Exception:
    refusal: Exception = EC2ClientError(
        "InvalidParameterValue", f"Value ({value}) for parameter {parameter} is invalid. {rule}"
    )
    return refusal


def fill() -> None:
    """Let moto make this backend and answer with these responses."""
    ec2_backends.backend = Ec2
    urls.url_paths = dict.fromkeys(urls.url_paths, Ec2Response.dispatch)
