"""Names and tokens: injective, and within the limits of each service, whatever Kubernetes allows as a name."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core import names
from buildcache.core.names import Identity
from tests.strategies import cluster_ids, executor_names, identities, object_names, uids

ECR = re.compile(r"(?:[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*/)*[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")


@given(identities)
def test_t48_names_fit_the_limits_and_letters_of_their_service(identity: Identity) -> None:
    assert re.fullmatch(r"[!-~]{1,64}", names.creation_token(identity))
    for group in (names.security_group_name(identity, "build"), names.security_group_name(identity, "cache")):
        assert re.fullmatch(r"[a-z0-9 ._:/()#,@\[\]+=&;{}!$*-]{1,255}", group)
        assert not group.startswith("sg-")
    repository = names.repository_name(identity)
    assert ECR.fullmatch(repository)
    assert 2 <= len(repository) <= 256
    log_group = names.log_group_name(identity)
    assert re.fullmatch(r"[._/#A-Za-z0-9-]{1,512}", log_group)
    assert not log_group.startswith("aws/")
    for key, value in names.owner_tags(identity).items():
        assert re.fullmatch(r"[A-Za-z0-9 +=._:/@-]{1,128}", key)
        assert len(value) <= 256


@given(identities, executor_names)
def test_t48_families_have_no_dots_and_begin_with_the_prefix_of_their_cache(identity: Identity, executor: str) -> None:
    family = names.family(identity, executor)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", family)
    assert family.startswith(names.family_prefix(identity))


@given(cluster_ids, uids, st.integers(1, 1000))
def test_run_tokens_are_what_ecs_takes(cluster_id: str, uid: str, attempt: int) -> None:
    assert re.fullmatch(r"[!-~]{1,64}", names.run_token(cluster_id, uid, attempt))
    assert re.fullmatch(r"[A-Za-z0-9_/-]{1,36}", names.started_by(uid))


@given(identities, identities)
def test_different_objects_have_different_names(one: Identity, other: Identity) -> None:
    if one == other:
        return
    assert names.security_group_name(one, "build").lower() != names.security_group_name(other, "build").lower()
    assert names.security_group_name(one, "build") != names.security_group_name(one, "cache")
    assert not names.family(one, "ec2").startswith(names.family_prefix(other))
    if (one.cluster_id, one.uid) != (other.cluster_id, other.uid):
        assert names.creation_token(one) != names.creation_token(other)
    if (one.namespace, one.name) != (other.namespace, other.name):
        assert names.repository_name(one) != names.repository_name(other)
        assert names.log_group_name(one) != names.log_group_name(other)


@given(identities, uids)
def test_t21_an_object_of_the_same_name_but_another_uid_shares_nothing_that_its_uid_names(
    identity: Identity, uid: str
) -> None:
    again = replace(identity, uid=uid)
    if uid != identity.uid:
        assert names.creation_token(identity) != names.creation_token(again)
        assert names.owner_tags(identity) != names.owner_tags(again)


@given(identities, object_names)
def test_a7_t7_two_clusters_of_one_account_share_no_token_and_no_log_group(
    identity: Identity, other_cluster: str
) -> None:
    other = replace(identity, cluster_id=f"{identity.cluster_id}-{other_cluster}")
    assert names.creation_token(identity) != names.creation_token(other)
    assert names.log_group_name(identity) != names.log_group_name(other)
    assert names.security_group_name(identity, "cache") != names.security_group_name(other, "cache")
    assert names.run_token(identity.cluster_id, identity.uid, 1) != names.run_token(other.cluster_id, other.uid, 1)


@given(identities, st.lists(executor_names, min_size=2, max_size=4, unique=True))
def test_executors_of_one_cache_have_different_families(identity: Identity, executors: list[str]) -> None:
    families = [names.family(identity, executor) for executor in executors]
    assert len(set(families)) == len(families)


@given(uids, st.integers(1, 50), st.integers(1, 50))
def test_each_attempt_has_its_own_token(uid: str, one: int, other: int) -> None:
    assert (names.run_token("c", uid, one) == names.run_token("c", uid, other)) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("ab", "c"), ("a", "bc"), id="parts of an identity do not run into each other"),
        pytest.param(("a.b", "c"), ("a", "b.c"), id="dots are not boundaries"),
    ],
)
def test_boundaries_of_parts_matter(one: tuple[str, str], other: tuple[str, str]) -> None:
    first, second = (Identity(cluster, "ns", "name", uid) for cluster, uid in (one, other))
    assert names.creation_token(first) != names.creation_token(second)


def test_readable_names_stay_readable() -> None:
    identity = Identity("prod", "team-a", "shop", "uid")
    assert names.repository_name(identity) == "buildcache/team-a/shop"
    assert names.log_group_name(identity) == "/buildcache/prod/team-a/shop"
    assert names.former_log_group_name(identity) == "/buildcache/team-a/shop"
    assert names.security_group_name(identity, "cache").startswith("buildcache-cache-team-a-shop-")
    assert names.family(identity, "ec2").startswith("buildcache-team-a-shop-")
    assert names.family(identity, "ec2").endswith("-ec2")


@pytest.mark.parametrize("name", ["a.b", "a/b", "e" * 300], ids=["dot", "slash", "too long"])
def test_t48_names_that_ecs_would_refuse_are_mapped_and_told_apart(name: str) -> None:
    identity = Identity("prod", "team-a", "shop", "uid")
    family = names.family(identity, name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", family)
    assert family != names.family(identity, name.replace(".", "-").replace("/", "-") + "x")
    assert family not in {names.family(identity, "a-b"), names.family(identity, name[:-1])}
