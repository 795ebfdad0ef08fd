"""What a plan leaves to a person or to time: conflicts, waits, and the order of what depends on each other."""

from dataclasses import replace
from typing import Any

import pytest

from buildcache.api.cache import BuildCacheSpec
from buildcache.core import action as act
from buildcache.core.action import difference
from buildcache.core.cache import plan
from buildcache.core.cache_file_system import remove_file_system
from buildcache.core.desired import DesiredCache, lifecycle_policy, normalised
from buildcache.core.observed import FileSystem, MountTarget, ObservedCache, Repository, Rule, SecurityGroup, Subnet
from buildcache.core.plan import Plan
from buildcache.core.status import Reason
from buildcache.core.teardown import plan_teardown
from tests.strategies import BUILD_GROUP, CACHE_GROUP, FILE_SYSTEM, GIVEN_GROUPS, KEY, ROLE, SUBNETS, VPC, wanted

A, B, C = "subnet-0000000a", "subnet-0000000c", "subnet-0000000d"


def want_of(subnets: tuple[str, ...] = (A, B), groups: tuple[str, ...] = (), **spec: Any) -> DesiredCache:
    body = {
        "region": "eu-west-1",
        "clusterARN": "arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
        "network": {"vpcID": VPC, "subnetIDs": list(subnets), "securityGroupIDs": list(groups)},
        "executors": [
            {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "taskRoleARN": ROLE, "executionRoleARN": ROLE}
        ],
        "fileSystem": {"transitionToIA": None},
        **spec,
    }
    return wanted(BuildCacheSpec.model_validate(body))


def mount(zone: str, subnet: str, state: str = "available", group: str = CACHE_GROUP) -> MountTarget:
    return MountTarget(f"fsmt-{zone[-1]}", subnet, zone, state, frozenset({group}))


def have_of(**changes: Any) -> ObservedCache:
    everything = ObservedCache(
        build_group=SecurityGroup(BUILD_GROUP, True),
        cache_group=SecurityGroup(CACHE_GROUP, True, ingress=frozenset({Rule("tcp", 2049, 2049, BUILD_GROUP)})),
        subnets={subnet: Subnet(subnet, zone, VPC) for subnet, zone in SUBNETS.items()},
        file_system=FileSystem(FILE_SYSTEM, True, "available"),
        mounts=(mount("eu-west-1a", A), mount("eu-west-1b", B)),
        cluster_state="ACTIVE",
    )
    return replace(everything, **changes)


def kinds(found: Plan) -> set[str]:
    return {type(action).__name__ for action in found.actions}


@pytest.mark.parametrize(
    ("want", "have", "reason", "says"),
    [
        pytest.param(
            want_of(fileSystem={"kmsKeyARN": KEY}),
            have_of(file_system=FileSystem(FILE_SYSTEM, True, "available", kms_key=KEY.replace("1111", "2222", 1))),
            Reason.IMMUTABLE_FIELD,
            "spec.fileSystem.kmsKeyARN",
            id="T19: the key of the file system was edited",
        ),
        pytest.param(
            want_of(registry={"kmsKeyARN": KEY}),
            have_of(repository=Repository("buildcache/team-a/shop", "arn", "uri", True)),
            Reason.IMMUTABLE_FIELD,
            "spec.registry.kmsKeyARN",
            id="T19: the key of the repository was edited",
        ),
        pytest.param(
            want_of(),
            have_of(file_system=FileSystem(FILE_SYSTEM, True, "error")),
            Reason.NOT_FOUND,
            "state error",
            id="T16: a file system in error is not replaced by itself",
        ),
        pytest.param(
            want_of(),
            have_of(mounts=(mount("eu-west-1a", A, "error"), mount("eu-west-1b", B))),
            Reason.NOT_FOUND,
            "fsmt-a is in state error",
            id="T16: a mount target in error",
        ),
        pytest.param(
            want_of((A, "subnet-0000dead")),
            have_of(),
            Reason.NOT_FOUND,
            "spec.network.subnetIDs[1]: subnet subnet-0000dead does not exist",
            id="a subnet that does not exist",
        ),
        pytest.param(
            want_of((B,)),
            have_of(mounts=(mount("eu-west-1b", "subnet-0000f0f0", group="sg-0000f0f0"),)),
            Reason.FOREIGN_RESOURCE,
            "takes the place of ours in eu-west-1b",
            id="a mount target made by hand takes a zone",
        ),
        pytest.param(
            want_of(groups=GIVEN_GROUPS, fileSystem=None),
            have_of(
                cache_group=SecurityGroup(CACHE_GROUP, False, frozenset({Rule("tcp", 1, 1, BUILD_GROUP)})),
                file_system=None,
                mounts=(),
            ),
            Reason.FOREIGN_RESOURCE,
            "keeps ours from being removed",
            id="a foreign group refers to ours",
        ),
        pytest.param(
            want_of(),
            have_of(cluster_state="INACTIVE"),
            Reason.CLUSTER_NOT_FOUND,
            "is INACTIVE",
            id="T27, F34: an inactive cluster",
        ),
    ],
)
def test_what_a_person_must_solve(want: DesiredCache, have: ObservedCache, reason: Reason, says: str) -> None:
    found = plan(want, have).conflicts
    assert [conflict.reason for conflict in found] == [reason]
    assert says in found[0].message


def test_t19_an_immutable_edit_changes_nothing_in_aws() -> None:
    want = want_of(fileSystem={"kmsKeyARN": KEY, "transitionToIA": None})
    other = FileSystem(FILE_SYSTEM, True, "available", kms_key=KEY.replace("1111", "2222", 1))
    assert not kinds(plan(want, have_of(file_system=other))) & {"CreateFileSystem", "DeleteFileSystem"}


def test_t20_a_default_key_that_aws_filled_in_is_no_difference() -> None:
    filled = FileSystem(FILE_SYSTEM, True, "available", kms_key=KEY)
    assert plan(want_of(), have_of(file_system=filled)).conflicts == ()


def test_a_mount_target_in_a_subnet_that_the_spec_dropped_is_replaced() -> None:
    want = want_of((A, C))
    found = plan(want, have_of())
    assert act.DeleteMountTarget("fsmt-b", "eu-west-1b") in found.actions
    assert any(isinstance(action, act.CreateMountTarget) and action.subnet_id == C for action in found.actions)
    going = have_of(mounts=(mount("eu-west-1a", A), mount("eu-west-1b", B, "deleting")))
    assert any("fsmt-b is deleting" in wait for wait in plan(want, going).waiting)


def test_a_mount_target_that_goes_is_waited_for_though_its_groups_cannot_be_seen_any_more() -> None:
    going = replace(mount("eu-west-1a", "subnet-0000f0f0", "deleting"), groups=frozenset())
    for want in (want_of(), want_of(fileSystem=None)):
        step = plan(want, have_of(mounts=(going, mount("eu-west-1b", B))))
        assert step.conflicts == ()
        assert any(going.id in text for text in step.waiting)


def test_t45_the_mount_target_that_is_there_wins_over_the_first_subnet_of_its_zone() -> None:
    want = want_of(("subnet-0000000b", A))  # both in eu-west-1a
    found = plan(want, have_of(mounts=(mount("eu-west-1a", A),)))
    assert not kinds(found) & {"CreateMountTarget", "DeleteMountTarget"}


def test_groups_are_authorised_before_they_are_revoked() -> None:
    want = want_of(groups=(GIVEN_GROUPS[0],))
    actions = [
        action for action in plan(want, have_of()).actions if isinstance(action, act.AuthorizeRules | act.RevokeRules)
    ]
    assert [type(action) for action in actions] == [act.AuthorizeRules, act.RevokeRules]
    assert all(action.group_id == CACHE_GROUP for action in actions)


def test_the_builders_group_waits_until_no_rule_names_it() -> None:
    found = plan(want_of(groups=(GIVEN_GROUPS[0],)), have_of())
    assert "DeleteSecurityGroup" not in kinds(found)
    assert any("is still named by a rule" in wait for wait in found.waiting)


def test_a_mount_target_made_by_hand_blocks_the_removal_of_its_file_system() -> None:
    foreign = mount("eu-west-1c", "subnet-0000f0f0", group="sg-0000f0f0")
    have = have_of(mounts=(mount("eu-west-1a", A), foreign))
    found = plan_teardown(want_of(), have, running=0)
    assert act.DeleteMountTarget("fsmt-a", "eu-west-1a") in found.actions
    assert not any(
        isinstance(action, act.DeleteMountTarget) and action.zone == "eu-west-1c" for action in found.actions
    )
    assert "DeleteFileSystem" not in kinds(found)
    assert found.blocked is not None
    assert found.blocked.reason is Reason.MOUNT_TARGETS_DELETING
    assert "delete it by hand" in found.blocked.message


def test_f39_a_file_system_goes_when_no_mount_target_is_left() -> None:
    want, have = want_of(), have_of(mounts=(mount("eu-west-1a", A, "deleting"),))
    assert have.file_system is not None
    waiting = remove_file_system(want, have, have.file_system)
    assert waiting.actions == ()
    assert waiting.blocked is not None
    assert remove_file_system(want, have_of(mounts=()), have.file_system).actions == (
        act.DeleteFileSystem(FILE_SYSTEM),
    )
    going = replace(have.file_system, state="deleting")
    assert remove_file_system(want, have_of(mounts=()), going) == Plan(
        waiting=(f"file system {FILE_SYSTEM} is being deleted",)
    )


def test_a_reference_from_a_foreign_group_blocks_a_deletion_and_is_named() -> None:
    referring = SecurityGroup(CACHE_GROUP, False, frozenset({Rule("tcp", 1, 1, BUILD_GROUP)}))
    found = plan_teardown(want_of(), have_of(cache_group=referring, file_system=None, mounts=()), running=0)
    assert found.blocked is not None
    assert found.blocked.reason is Reason.SECURITY_GROUP_IN_USE
    assert CACHE_GROUP in found.blocked.message


@pytest.mark.parametrize("days", [1, 30, 365])
def test_a_lifecycle_policy_is_long_enough_for_ecr_and_in_its_normal_form(days: int) -> None:
    text = lifecycle_policy(days)
    assert 100 <= len(text) <= 30720
    assert normalised(text) == text
    assert normalised("not json") == "not json"


def test_every_action_names_the_part_it_is_about() -> None:
    """Status rows, drift rows and log lines speak of parts by the same names."""
    empty = plan(want_of(registry={"retentionDays": 3}), replace(have_of(), build_group=None, cache_group=None))
    for action in (
        *empty.actions,
        *plan_teardown(want_of(), have_of(), running=0).actions,
        act.DeleteLifecyclePolicy("r"),
        act.UpdateThroughput(FILE_SYSTEM, "provisioned", 5),
        act.PutBackup(FILE_SYSTEM, True),
        act.PutTransitions(FILE_SYSTEM, frozenset()),
        act.SetMountTargetGroups("fsmt-a", "eu-west-1a", frozenset({"sg-1"})),
    ):
        row = difference(action)
        assert row.part
        assert row.want or row.have
