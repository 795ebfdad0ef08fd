"""A BuildCache's life against an AWS that we did not write: ready, settled, drifted and corrected, gone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.ministack.account import Account
from tests.ministack.conftest import Calls
from tests.reconcile.conftest import Cache, spec_of
from tests.reconcile.test_cache import SETTLED_LOOK


@pytest.fixture
def cache(account: Account, calls: Calls) -> Cache:
    return Cache(account, spec_of(account.world))


@pytest.fixture
def settled(cache: Cache, calls: Calls) -> Cache:
    """Ready, and looked at once more: from then on a look is small."""
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    cache.later(minutes=12)
    cache.step()
    calls.names.clear()
    return cache


def test_ready_with_every_part_and_gone_without_a_trace(cache: Cache, account: Account) -> None:
    cache.settle()
    ready = {kind: state for kind, state in cache.conditions().items() if kind.endswith("Ready")}
    assert set(ready.values()) == {("True", "Available")}
    assert len(ready) == 5
    status = cache.body["status"]
    assert status["account"] == account.id
    assert status["fileSystem"]["zones"] == list(account.world.zones[:2])
    made = account.left_over()
    assert {kind: len(things) for kind, things in made.items()} == {
        "security groups": 2,
        "file systems": 1,
        "repositories": 1,
        "log groups": 1,
        "task definitions": 1,
    }
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert account.left_over() == {}


def test_t11_settled_it_costs_twelve_reads_and_no_write(settled: Cache, calls: Calls) -> None:
    writes = settled.writes
    for _ in range(3):
        calls.names.clear()
        settled.later(minutes=12)
        settled.step()
        assert calls.names == [*SETTLED_LOOK, "DescribeTaskDefinition"]
        assert len(calls.names) == 12
        assert calls.writes == []
    assert settled.writes == writes


def test_without_its_status_and_memory_it_changes_nothing(settled: Cache, calls: Calls) -> None:
    before = settled.body["status"]["parts"]
    settled.body["status"] = {"observedGeneration": -1}
    settled.restart()
    settled.settle()
    assert "DescribeFileSystems" in calls.names
    assert calls.writes == []
    assert settled.body["status"]["parts"] == before


# --- drift: something changes a part by hand and returns how to read it

Read = Callable[[], object]


def _rule(account: Account, cache: Cache) -> Read:
    ec2, group = account.client("ec2"), cache.part("cache-security-group")

    def rules() -> list[tuple[str, int, str]]:
        found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
        return [
            (each["IpProtocol"], each["FromPort"], pair["GroupId"])
            for each in found
            for pair in each["UserIdGroupPairs"]
        ]

    return rules


def _mount_groups(account: Account, cache: Cache) -> Read:
    efs, mount = account.client("efs"), cache.part(f"mount-target/{account.world.zones[0]}")
    return lambda: efs.describe_mount_target_security_groups(MountTargetId=mount)["SecurityGroups"]


def _policy(account: Account, cache: Cache) -> Read:
    ecr = account.client("ecr")

    def policy() -> object:
        try:
            return ecr.get_lifecycle_policy(repositoryName=REPOSITORY)["lifecyclePolicyText"]
        except ecr.exceptions.LifecyclePolicyNotFoundException:
            return None

    return policy


def _log_groups(account: Account, cache: Cache) -> Read:
    logs = account.client("logs")

    def groups() -> list[tuple[str, int | None]]:
        found = logs.describe_log_groups()["logGroups"]
        return [(each["logGroupName"], each.get("retentionInDays")) for each in found]

    return groups


def _definitions(account: Account, cache: Cache) -> Read:
    ecs = account.client("ecs")
    # Corrected by a new revision: the number is another one.
    return lambda: [arn.rpartition(":")[0] for arn in ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]]


REPOSITORY = "buildcache/team-a/shop"


def _revoke_the_rule(account: Account, cache: Cache) -> None:
    account.client("ec2").revoke_security_group_ingress(
        GroupId=cache.part("cache-security-group"),
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 2049,
                "ToPort": 2049,
                "UserIdGroupPairs": [{"GroupId": cache.part("build-security-group")}],
            }
        ],
    )


def _open_a_mount_target(account: Account, cache: Cache) -> None:
    account.client("efs").modify_mount_target_security_groups(
        MountTargetId=cache.part(f"mount-target/{account.world.zones[0]}"),
        SecurityGroups=[cache.part("build-security-group")],
    )


def _delete_the_policy(account: Account, cache: Cache) -> None:
    account.client("ecr").delete_lifecycle_policy(repositoryName=REPOSITORY)


def _delete_the_log_group(account: Account, cache: Cache) -> None:
    (group,) = account.left_over()["log groups"]
    account.client("logs").delete_log_group(logGroupName=group)


def _deregister_the_definition(account: Account, cache: Cache) -> None:
    account.client("ecs").deregister_task_definition(taskDefinition=cache.part("executor/ec2"))


@pytest.mark.parametrize(
    ("drift", "reader"),
    [
        (_revoke_the_rule, _rule),
        (_open_a_mount_target, _mount_groups),
        (_delete_the_policy, _policy),
        (_delete_the_log_group, _log_groups),
        (_deregister_the_definition, _definitions),
    ],
)
def test_what_is_changed_by_hand_is_corrected(
    settled: Cache,
    account: Account,
    calls: Calls,
    drift: Callable[[Account, Cache], None],
    reader: Callable[[Account, Cache], Read],
) -> None:
    read = reader(account, settled)
    before = read()
    assert before
    drift(account, settled)
    assert read() != before
    settled.later(minutes=12)
    settled.settle()
    assert read() == before
    assert settled.conditions()["Drifted"] == ("False", "Corrected")
    assert settled.conditions()["Ready"] == ("True", "Available")
    settled.later(minutes=12)
    calls.names.clear()
    settled.step()
    assert calls.writes == []
