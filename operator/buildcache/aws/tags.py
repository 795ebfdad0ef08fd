"""Tags in the spellings of the services, and the one test of ownership."""

from typing import Any

from buildcache.core.action import Tags


def is_owned(tags: Tags, owner: Tags) -> bool:
    """Whether a thing carries all our owner tags: without them it is foreign, whatever its name."""
    return all(tags.get(key) == value for key, value in owner.items())


def key_value(tags: Tags) -> Any:
    """As EC2, EFS and ECR want them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def lower_key_value(tags: Tags) -> Any:
    """As ECS wants them."""
    return [{"key": key, "value": value} for key, value in sorted(tags.items())]
