"""The rules by which ECS refuses a RunTask request before anything exists. Pure; called by `lab.aws.task_api`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.ecs.refusals import invalid

MAX_COUNT = 10
MAX_OVERRIDES = 8192
MAX_SUBNETS = 16
MAX_SECURITY_GROUPS = 5
FARGATE_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
LAUNCH_TYPES = ("EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES")


def check(request: Mapping[str, Any]) -> None:
    """Refuse what is wrong by itself, whatever exists in the account."""
    count = request.get("count", 1)
    if not 1 <= count <= MAX_COUNT:
        raise invalid(f"count should be less than or equal to {MAX_COUNT} and at least 1.")
    if len(compact(request.get("overrides") or {})) > MAX_OVERRIDES:
        raise invalid(f"Container Overrides length must be at most {MAX_OVERRIDES}")
    token = request.get("clientToken")
    if token is not None and not re.fullmatch(r"[\x21-\x7e]{1,64}", token):
        raise invalid("clientToken must be 1 to 64 characters of printable ASCII without blanks.")
    started_by = request.get("startedBy")
    if started_by is not None and not re.fullmatch(r"[A-Za-z0-9_/-]{0,128}", started_by):
        raise invalid("startedBy may hold up to 128 letters, digits, hyphens, slashes and underscores.")
    if request.get("launchType") and request.get("capacityProviderStrategy"):
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    if request.get("launchType") not in (None, *LAUNCH_TYPES):
        raise invalid(f"Launch type {request['launchType']} is not supported.")
    check_tags(request.get("tags") or ())


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    """Refuse tags beyond the limits of ECS."""
    if len(tags) > 50:
        raise invalid("Tags length must be at most 50.")
    keys = [tag.get("key", "") for tag in tags]
    if len(set(keys)) != len(keys):
        raise invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    for tag in tags:
        key, value = tag.get("key", ""), tag.get("value", "")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("A tag key has 1 to 128 characters, a tag value up to 256.")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys that start with aws: are reserved for AWS.")


def check_fit(request: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    """Refuse what does not go together with the task definition."""
    if definition["status"] != "ACTIVE":
        # Not the ClientException that UpdateService answers with the same words (DefangLabs/defang#775).
        raise invalid("TaskDefinition is inactive")
    names = {container["name"] for container in definition["containerDefinitions"]}
    for override in (request.get("overrides") or {}).get("containerOverrides") or ():
        if override.get("name") not in names:
            raise invalid(
                f"Override for container named {override.get('name')} is not a container in the TaskDefinition."
            )
    fargate = launch_type(request) == "FARGATE"
    if fargate and "FARGATE" not in definition["compatibilities"]:
        raise invalid("Task definition does not support launch_type FARGATE.")
    if request.get("platformVersion") and not fargate:
        raise invalid("The platform version must be null when specifying an EC2 launch type.")
    network = (request.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if definition.get("networkMode") != "awsvpc":
        if network:
            raise invalid("Network Configuration is not valid for the given networkMode of this task definition.")
        return
    if not network or not network.get("subnets"):
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if len(network["subnets"]) > MAX_SUBNETS:
        raise invalid(f"subnets can have at most {MAX_SUBNETS} items.")
    if len(network.get("securityGroups") or ()) > MAX_SECURITY_GROUPS:
        raise invalid(f"securityGroups can have at most {MAX_SECURITY_GROUPS} items.")
    if network.get("assignPublicIp") == "ENABLED" and not fargate:
        raise invalid("Assign public IP is not supported for this launch type.")


def launch_type(request: Mapping[str, Any]) -> str:
    """Return where the task runs: by launch type, by capacity provider, or EC2 when neither is named."""
    strategy = request.get("capacityProviderStrategy")
    if strategy:
        return "FARGATE" if chosen_provider(strategy) in FARGATE_PROVIDERS else "EC2"
    return str(request.get("launchType") or "EC2")


def chosen_provider(strategy: Sequence[Mapping[str, Any]]) -> str:
    """Return the provider a single task lands on: a base first, else the greatest weight."""
    best = max(strategy, key=lambda item: (item.get("base", 0) > 0, item.get("weight", 0)))
    return str(best["capacityProvider"])


def fingerprint(request: Mapping[str, Any]) -> str:
    """Hash all that two requests with one clientToken must have in common."""
    rest = {key: value for key, value in request.items() if key != "clientToken"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def compact(document: object) -> str:
    """Serialise as AWS measures it."""
    return json.dumps(document, separators=(",", ":"))
