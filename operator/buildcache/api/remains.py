"""The fields of a BuildCache that its teardown needs, read on their own.

An object may be stored with a spec that this version's models refuse. When it is deleted, its AWS parts are found by the object's
identity and by these few fields; the others have no part in it and may be as wrong as they are.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from .cache import VPC_ID, BuildCacheSpec, Network
from .meta import Api, Region, RepositoryName
from .stores import Management, Registry


class _Network(Api):
    vpc_id: Annotated[str, VPC_ID]
    subnet_ids: tuple[str, ...] = ()


class _Registry(Api):
    management: Management = "Managed"
    repository_name: RepositoryName | None = None


class _Spec(Api):
    region: Region
    network: _Network
    registry: _Registry = _Registry()
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    suspend: bool = False


class _Remains(Api):
    spec: _Spec


def remains(body: Mapping[str, Any]) -> BuildCacheSpec:
    """Return a spec in which only what a teardown reads is taken from the object.

    Raises pydantic's ValidationError when one of these fields is refused.
    """
    spec = _Remains.model_validate({"spec": body.get("spec")}).spec
    return BuildCacheSpec.model_construct(
        region=spec.region,
        cluster_arn="",
        network=Network.model_construct(vpc_id=spec.network.vpc_id, subnet_ids=spec.network.subnet_ids),
        registry=Registry(management=spec.registry.management, repository_name=spec.registry.repository_name),
        executors=(),
        deletion_policy=spec.deletion_policy,
        suspend=spec.suspend,
    )


def is_retained(body: Mapping[str, Any]) -> bool:
    """Tell whether the object asks for its parts to stay, whatever the rest of its spec says."""
    spec = body.get("spec")
    return isinstance(spec, Mapping) and spec.get("deletionPolicy") == "Retain"
