"""AWS of the lab: moto served on loopback, with its gaps filled, every call logged, faults on request, and ECS tasks that run."""

from lab.aws.cloud import Aws
from lab.aws.world import World

__all__ = ["Aws", "World"]
