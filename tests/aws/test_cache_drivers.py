"""The drivers of a BuildCache's parts: absence is a value, what is there is read in one spelling, and every write is safe to repeat."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from buildcache.api.cache import BuildCacheSpec
from buildcache.aws import ec2, ecs, efs, logs, parts
from buildcache.aws.clients import Clients, Session
from buildcache.core import action as act
from buildcache.core import names
from buildcache.core.action import Action
from buildcache.core.cache import plan
from buildcache.core.cache_file_system import mount_subnets
from buildcache.core.desired import DesiredCache, lifecycle_policy
from buildcache.core.observed import ObservedCache, Rule
from buildcache.core.tasks import TaskDefinition
from lab.aws import Aws
from lab.aws.timing import Timing
from tests.strategies import IDENTITY, wanted

OWNER = names.owner_tags(IDENTITY)
SLOW = Timing(file_system_creating=60, mount_target_creating=60)
QUICK = Timing(file_system_creating=0, mount_target_creating=0, mount_target_deleting=0, file_system_deleting=0)


def serve(monkeypatch: pytest.MonkeyPatch, timing: Timing) -> Iterator[Aws]:
    aws = Aws(registry="127.0.0.1:1", timing=timing)
    for name, value in {
        "AWS_ENDPOINT_URL": aws.start(),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield aws
    aws.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    yield from serve(monkeypatch, QUICK)


@pytest.fixture
def slow_aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    yield from serve(monkeypatch, SLOW)


def clients_of(aws: Aws) -> Clients:
    assert aws.url
    return Session(pool=2).region("us-east-1")


def want_of(aws: Aws, **spec: Any) -> DesiredCache:
    role = "arn:aws:iam::123456789012:role/r"
    body = {
        "region": "us-east-1",
        "clusterARN": aws.world.cluster_arn,
        "network": {"vpcID": aws.world.vpc_id, "subnetIDs": list(aws.world.subnet_ids[:2])},
        "registry": {"retentionDays": 14},
        "fileSystem": {},
        "executors": [
            {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "taskRoleARN": role, "executionRoleARN": role}
        ],
        **spec,
    }
    return wanted(BuildCacheSpec.model_validate(body))


def make(clients: Clients, want: DesiredCache) -> ObservedCache:
    """Everything, in passes."""
    for _ in range(8):
        have = parts.observe(clients, want, [])
        actions = plan(want, have).actions
        if not actions:
            return have
        for action in actions:
            assert parts.apply(clients, action) is None, action
    raise AssertionError("no end")


def test_an_empty_account_is_a_value(aws: Aws) -> None:
    have = parts.observe(clients_of(aws), want_of(aws), ["buildcache-old-family"])
    assert have.subnets.keys() == set(aws.world.subnet_ids[:2])
    assert have == ObservedCache(subnets=have.subnets, cluster_state="ACTIVE")


def test_a_full_cache_is_seen_as_it_was_asked_for(aws: Aws) -> None:
    want = want_of(aws)
    have = make(clients_of(aws), want)
    assert have.file_system is not None
    assert have.file_system.owned
    assert have.file_system.transitions == {("TransitionToIA", "AFTER_14_DAYS")}
    assert {mount.zone: mount.subnet_id for mount in have.mounts} == mount_subnets(want, have)
    assert have.cache_group is not None
    assert have.build_group is not None
    assert have.cache_group.ingress == {Rule("tcp", 2049, 2049, have.build_group.id)}
    assert have.cache_group.egress == frozenset()
    assert all(mount.groups == frozenset({have.cache_group.id}) for mount in have.mounts)
    assert have.repository is not None
    assert have.repository.policy == lifecycle_policy(14)
    assert have.log_group is not None
    assert have.log_group.retention_days == 30
    assert [revision.content_hash for revision in have.revisions] == [want.executors[0].definition.content_hash]


def test_everything_carries_the_owner_tags_from_its_creation_on(aws: Aws) -> None:
    want = want_of(aws, tags={"team": "a"})
    have = make(clients_of(aws), want)
    expected = {**OWNER, "team": "a"}.items()
    ec2_client: Any = boto3.client("ec2", region_name="us-east-1")
    for group in (have.build_group, have.cache_group):
        assert group is not None
        found = ec2_client.describe_security_groups(GroupIds=[group.id])["SecurityGroups"][0]["Tags"]
        assert expected <= {tag["Key"]: tag["Value"] for tag in found}.items()
    efs_client: Any = boto3.client("efs", region_name="us-east-1")
    system = efs_client.describe_file_systems()["FileSystems"][0]
    assert expected <= {tag["Key"]: tag["Value"] for tag in system["Tags"]}.items()
    assert system["Encrypted"] is True


ABSENT: list[Action] = [
    act.DeleteSecurityGroup("cache", "sg-0123456789abcdef0"),
    act.DeleteMountTarget("fsmt-0123456789abcdef0", "us-east-1a"),
    act.DeleteFileSystem("fs-0123456789abcdef0"),
    act.DeleteRepository("not/there"),
    act.DeleteLifecyclePolicy("not/there"),
    act.DeleteLogGroup("/not/there"),
    act.DeregisterTaskDefinition("arn:aws:ecs:us-east-1:123456789012:task-definition/none:1"),
]


@pytest.mark.parametrize("action", ABSENT, ids=lambda action: type(action).__name__)
def test_t32_removing_what_is_not_there_is_done(aws: Aws, action: Action) -> None:
    assert parts.apply(clients_of(aws), action) is None


GONE: list[Action] = [
    act.UpdateThroughput("fs-0123456789abcdef0", "bursting", None),
    act.PutTransitions("fs-0123456789abcdef0", frozenset()),
    act.PutLifecyclePolicy("not/there", lifecycle_policy(3)),
    act.MakeTagsMutable("not/there"),
    act.PutRetention("/not/there", 30),
    act.SetMountTargetGroups("fsmt-0123456789abcdef0", "us-east-1a", frozenset({"sg-0123456789abcdef0"})),
]


@pytest.mark.parametrize("action", GONE, ids=lambda action: type(action).__name__)
def test_changing_what_went_meanwhile_is_for_the_next_look(aws: Aws, action: Action) -> None:
    assert isinstance(parts.apply(clients_of(aws), action), parts.Wait)


def test_t01_t02_t05_repeating_every_write_makes_nothing_twice(aws: Aws) -> None:
    clients, want = clients_of(aws), want_of(aws)
    done: list[Action] = []
    for _ in range(8):
        have = parts.observe(clients, want, [])
        for action in plan(want, have).actions:
            done.append(action)
            parts.apply(clients, action)
            if not isinstance(action, act.RegisterTaskDefinition):  # the one write without a handle; planned by content
                parts.apply(clients, action)
    after = parts.observe(clients, want, [])
    assert plan(want, after).actions == ()
    assert len(after.mounts) == 2
    assert len(boto3.client("efs", region_name="us-east-1").describe_file_systems()["FileSystems"]) == 1
    assert len(done) >= 12


def test_t13_t14_a_file_system_that_is_being_made_takes_no_settings_yet(slow_aws: Aws) -> None:
    clients, want = clients_of(slow_aws), want_of(slow_aws)
    for action in plan(want, parts.observe(clients, want, [])).actions:
        parts.apply(clients, action)
    have = parts.observe(clients, want, [])
    assert have.file_system is not None
    assert have.file_system.state == "creating"
    made = plan(want, have)
    assert any("is creating" in wait for wait in made.waiting)
    early = parts.apply(
        clients, act.PutTransitions(have.file_system.id, frozenset({("TransitionToIA", "AFTER_1_DAY")}))
    )
    assert isinstance(early, parts.Wait)


def test_t22_an_empty_lifecycle_configuration_clears_it(aws: Aws) -> None:
    clients, want = clients_of(aws), want_of(aws)
    have = make(clients, want)
    assert have.file_system is not None
    parts.apply(clients, act.PutTransitions(have.file_system.id, frozenset()))
    after = efs.find_file_system(clients.efs, want.creation_token, OWNER)
    assert after is not None
    assert after.transitions == frozenset()


def test_rules_are_read_one_peer_at_a_time_and_protocols_in_one_spelling(aws: Aws) -> None:
    client: Any = boto3.client("ec2", region_name="us-east-1")
    group = client.create_security_group(GroupName="g", Description="d", VpcId=aws.world.vpc_id)["GroupId"]
    ranges = [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "10.1.0.0/16"}]
    permissions = [{"IpProtocol": "6", "FromPort": 22, "ToPort": 22, "IpRanges": ranges}]
    client.authorize_security_group_ingress(GroupId=group, IpPermissions=permissions)
    found = ec2.observe_security_groups(clients_of(aws).ec2, aws.world.vpc_id, ["g"], OWNER)["g"]
    assert found.ingress == {Rule("tcp", 22, 22, "10.0.0.0/8"), Rule("tcp", 22, 22, "10.1.0.0/16")}
    assert not found.owned
    assert Rule("-1", -1, -1, "0.0.0.0/0") in found.egress


def test_t10_authorising_and_revoking_twice_is_fine(aws: Aws) -> None:
    clients = clients_of(aws)
    parts.apply(clients, act.CreateSecurityGroup("build", "g", "d", aws.world.vpc_id, OWNER))
    group = ec2.observe_security_groups(clients.ec2, aws.world.vpc_id, ["g"], OWNER)["g"]
    rules = frozenset({Rule("tcp", 2049, 2049, group.id), Rule("tcp", 2049, 2049, "10.0.0.0/8")})
    for _ in range(2):
        assert parts.apply(clients, act.AuthorizeRules("build", group.id, "ingress", rules)) is None
    assert ec2.observe_security_groups(clients.ec2, aws.world.vpc_id, ["g"], OWNER)["g"].ingress == rules
    for _ in range(2):
        assert parts.apply(clients, act.RevokeRules("build", group.id, "ingress", rules)) is None
    assert ec2.observe_security_groups(clients.ec2, aws.world.vpc_id, ["g"], OWNER)["g"].ingress == frozenset()


def test_a_log_group_is_the_one_of_exactly_that_name(aws: Aws) -> None:
    clients = clients_of(aws)
    for name in ("/buildcache/a/shop-2", "/buildcache/a/shop"):
        parts.apply(clients, act.CreateLogGroup(name, OWNER if name.endswith("shop") else {}))
    found = logs.observe_log_group(clients.logs, "/buildcache/a/shop", OWNER)
    assert found is not None
    assert found.owned
    assert logs.observe_log_group(clients.logs, "/buildcache/a/sho", OWNER) is None


def definition(family: str, content: str) -> TaskDefinition:
    container = {"name": "build", "image": content, "memory": 512}
    return TaskDefinition({"family": family, "containerDefinitions": [container]}, content)


def test_revisions_of_a_family_are_all_seen_and_families_found_by_their_prefix(aws: Aws) -> None:
    clients = clients_of(aws)
    family = names.family(IDENTITY, "ec2")
    for content in ("one", "two", "three"):
        parts.apply(clients, act.RegisterTaskDefinition("ec2", definition(family, content), OWNER))
    parts.apply(clients, act.RegisterTaskDefinition("ec2", definition("foreign", "x"), {}))
    found = ecs.observe_revisions(clients.ecs, [family, "foreign", "absent"], OWNER)
    assert [(each.revision, each.content_hash, each.owned) for each in found] == [
        (3, "three", True),
        (2, "two", True),
        (1, "one", True),
        (1, "x", False),
    ]
    assert ecs.find_families(clients.ecs, names.family_prefix(IDENTITY)) == [family]


def test_m12_families_that_only_begin_alike_are_not_taken_for_one(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    clients = clients_of(aws)
    family = names.family(IDENTITY, "ec2")
    for name, content in ((family, "one"), (family, "two"), (family + "-arm", "three"), (family + "-arm", "four")):
        parts.apply(clients, act.RegisterTaskDefinition("ec2", definition(name, content), OWNER))
    listed = clients.ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]

    class AtItsWord:
        """Takes `familyPrefix` for a prefix, as some implementations do."""

        def paginate(self, *, familyPrefix: str, **_: str) -> list[dict[str, list[str]]]:
            return [{"taskDefinitionArns": [arn for arn in listed if f"/{familyPrefix}" in arn]}]

    monkeypatch.setattr(clients.ecs, "get_paginator", lambda _: AtItsWord())
    found = ecs.observe_revisions(clients.ecs, [family], OWNER)
    assert [each.content_hash for each in found] == ["two", "one"]


def test_m3_t44_a_rule_for_a_group_that_ec2_does_not_know_is_a_wait_and_the_other_rules_are_made(aws: Aws) -> None:
    clients = clients_of(aws)
    group, peer = (
        clients.ec2.create_security_group(GroupName=name, Description="d", VpcId=aws.world.vpc_id)["GroupId"]
        for name in ("ours", "peer")
    )
    rules = frozenset(Rule("tcp", 2049, 2049, each) for each in (peer, "sg-00000000000000bad"))
    waiting = parts.apply(clients, act.AuthorizeRules("cache", group, "ingress", rules))
    assert isinstance(waiting, parts.Wait)
    found = clients.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert [pair["GroupId"] for rule in found for pair in rule["UserIdGroupPairs"]] == [peer]


def test_t27_a_cluster_that_does_not_exist_is_none(aws: Aws) -> None:
    client = clients_of(aws).ecs
    assert ecs.observe_cluster(client, aws.world.cluster_arn) == "ACTIVE"
    assert ecs.observe_cluster(client, aws.world.cluster_arn + "-2") is None
