"""ECR: the repository of the layer cache and its lifecycle policy."""

from typing import TYPE_CHECKING, Any

from buildcache.core.action import (
    CreateRepository,
    DeleteLifecyclePolicy,
    DeleteRepository,
    MakeTagsMutable,
    PutLifecyclePolicy,
    Tags,
)
from buildcache.core.desired import normalised
from buildcache.core.observed import Repository

from .errors import Absent, translated
from .tags import is_owned, key_value

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient


def observe_repository(client: "ECRClient", name: str, owner: Tags) -> Repository | None:
    """The repository of that name, with its policy and whose it is: three reads, ECR has no batch for them."""
    try:
        with translated("ecr:DescribeRepositories", name):
            described = client.describe_repositories(repositoryNames=[name])["repositories"][0]
        with translated("ecr:ListTagsForResource", name):
            listed = client.list_tags_for_resource(resourceArn=described["repositoryArn"])["tags"]
    except Absent:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in listed}
    encryption = described.get("encryptionConfiguration", {})
    return Repository(
        name=described["repositoryName"],
        arn=described["repositoryArn"],
        uri=described["repositoryUri"],
        owned=is_owned(tags, owner),
        mutability=described.get("imageTagMutability", "MUTABLE"),
        kms_key=encryption.get("kmsKey"),
        policy=_policy(client, name),
        tags=tags,
    )


def create_repository(client: "ECRClient", action: CreateRepository) -> None:
    """Make the repository; no scan on push, because cached layers are not images that run."""
    request: Any = {
        "repositoryName": action.name,
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
        "tags": key_value(action.tags),
    }
    if action.kms_key is not None:
        request["encryptionConfiguration"] = {"encryptionType": "KMS", "kmsKey": action.kms_key}
    with translated("ecr:CreateRepository", action.name):
        client.create_repository(**request)


def make_tags_mutable(client: "ECRClient", action: MakeTagsMutable) -> None:
    """Allow tags to be written again."""
    with translated("ecr:PutImageTagMutability", action.name):
        client.put_image_tag_mutability(repositoryName=action.name, imageTagMutability="MUTABLE")


def put_lifecycle_policy(client: "ECRClient", action: PutLifecyclePolicy) -> None:
    """Set the policy."""
    with translated("ecr:PutLifecyclePolicy", action.name):
        client.put_lifecycle_policy(repositoryName=action.name, lifecyclePolicyText=action.policy)


def delete_lifecycle_policy(client: "ECRClient", action: DeleteLifecyclePolicy) -> None:
    """Remove the policy."""
    try:
        with translated("ecr:DeleteLifecyclePolicy", action.name):
            client.delete_lifecycle_policy(repositoryName=action.name)
    except Absent:
        return


def delete_repository(client: "ECRClient", action: DeleteRepository) -> None:
    """Remove the repository and its images: they are a cache, and the spec says that they go."""
    try:
        with translated("ecr:DeleteRepository", action.name):
            client.delete_repository(repositoryName=action.name, force=True)
    except Absent:
        return


def _policy(client: "ECRClient", name: str) -> str | None:
    try:
        with translated("ecr:GetLifecyclePolicy", name):
            return normalised(client.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    except Absent:
        return None
