"""Setting and taking away tags: each service has its own call and its own spelling for the same thing."""

from typing import assert_never

from buildcache.core.action import TagResource, UntagResource

from .clients import Clients
from .errors import Absent, translated
from .tags import key_value, lower_key_value


def tag_resource(clients: Clients, action: TagResource) -> None:
    """Set the tags; a part that has gone meanwhile is seen by the next pass."""
    resource = action.resource.id
    match action.resource.service:
        case "ec2":
            with translated("ec2:CreateTags", resource):
                clients.ec2.create_tags(Resources=[resource], Tags=key_value(action.tags))
        case "efs":
            with translated("elasticfilesystem:TagResource", resource):
                clients.efs.tag_resource(ResourceId=resource, Tags=key_value(action.tags))
        case "ecr":
            with translated("ecr:TagResource", resource):
                clients.ecr.tag_resource(resourceArn=resource, tags=key_value(action.tags))
        case "logs":
            with translated("logs:TagResource", resource):
                clients.logs.tag_resource(resourceArn=resource, tags=dict(action.tags))
        case "ecs":
            with translated("ecs:TagResource", resource):
                clients.ecs.tag_resource(resourceArn=resource, tags=lower_key_value(action.tags))
        case _:
            assert_never(action.resource.service)


def untag_resource(clients: Clients, action: UntagResource) -> None:
    """Take the tags away; a part without them is as it should be."""
    resource, keys = action.resource.id, sorted(action.keys)
    try:
        match action.resource.service:
            case "ec2":
                with translated("ec2:DeleteTags", resource):
                    clients.ec2.delete_tags(Resources=[resource], Tags=[{"Key": key} for key in keys])
            case "efs":
                with translated("elasticfilesystem:UntagResource", resource):
                    clients.efs.untag_resource(ResourceId=resource, TagKeys=keys)
            case "ecr":
                with translated("ecr:UntagResource", resource):
                    clients.ecr.untag_resource(resourceArn=resource, tagKeys=keys)
            case "logs":
                with translated("logs:UntagResource", resource):
                    clients.logs.untag_resource(resourceArn=resource, tagKeys=keys)
            case "ecs":
                with translated("ecs:UntagResource", resource):
                    clients.ecs.untag_resource(resourceArn=resource, tagKeys=keys)
            case _:
                assert_never(action.resource.service)
    except Absent:
        return
