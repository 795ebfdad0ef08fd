"""AWS's rate limits of ECS, where they are asked for."""

from lab.aws.limits import Limits
from tests.lab.aws.served import refused, served, unique


def test_a_bucket_empties_and_fills_and_other_calls_have_their_own() -> None:
    clock = [0.0]
    limits = Limits(now=lambda: clock[0])
    assert [limits.allows("RegisterTaskDefinition") for _ in range(21)] == [True] * 20 + [False]
    assert not limits.allows("DeregisterTaskDefinition")
    assert limits.allows("DescribeTaskDefinition")
    assert limits.allows("CreateRepository")
    clock[0] = 1.0
    assert limits.allows("RegisterTaskDefinition")
    assert not limits.allows("RegisterTaskDefinition")


def test_a_throttled_call_answers_as_ecs_does() -> None:
    with served(limits=True) as aws:
        ecs = aws.client("ecs")
        definition = {"name": "a", "image": "a", "memory": 8}
        for _ in range(20):
            ecs.register_task_definition(family=unique(), containerDefinitions=[definition])
        with refused("ThrottlingException", 400):
            for _ in range(5):
                ecs.register_task_definition(family=unique(), containerDefinitions=[definition])
