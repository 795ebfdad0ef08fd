"""BuildCaches of version 0.1, whose log group had no cluster id in its name, and two clusters that meet in one account (A7)."""

from typing import Any

import pytest

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.core import names
from buildcache.core.build import StartTask, admit
from buildcache.core.build_status import log_group
from buildcache.core.names import Identity
from lab.aws import Aws
from tests.fakes.builds import build_body
from tests.reconcile.conftest import Cache, Calls, client, left_over, spec_of

FORMER, CURRENT = "/buildcache/team-a/shop", "/buildcache/test/team-a/shop"


def log_groups() -> list[str]:
    return sorted(group["logGroupName"] for group in client("logs").describe_log_groups()["logGroups"])


def made_by_the_former_release(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle with the name that the log group had, then start the operator of today."""
    with monkeypatch.context() as before:
        before.setattr(names, "log_group_name", names.former_log_group_name)
        cache.settle()
    assert log_groups() == [FORMER]
    cache.restart()


def start_of(cache: Cache) -> Any:
    """What a Build of the cache would be started with, as its status is now."""
    build = Build.parse(build_body(spec={"cacheRef": {"name": "shop"}}))
    return admit(build, BuildCache.parse(cache.body), cluster_id="test", attempt=1, now=cache.now)


def group_of_revision(arn: str) -> str:
    described = client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
    (group,) = {each["logConfiguration"]["options"]["awslogs-group"] for each in described["containerDefinitions"]}
    return str(group)


def test_a7_an_upgraded_cache_gets_a_new_log_group_and_its_old_logs_stay_until_it_goes(
    cache: Cache, aws: Aws, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_the_former_release(cache, monkeypatch)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    assert log_groups() == sorted([FORMER, CURRENT])
    assert cache.part("log-group") == CURRENT
    assert group_of_revision(cache.part("executor/ec2")) == CURRENT
    calls.reset()
    cache.later(minutes=12)
    cache.step()
    assert calls.mutating() == []
    assert len(calls.names()) == 12  # the old group costs no read
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert left_over(aws.world) == {}


def test_a7_whatever_a_build_is_started_from_its_log_is_looked_for_where_it_is(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_the_former_release(cache, monkeypatch)
    started = 0
    for _ in range(6):
        found = start_of(cache)
        if isinstance(found, StartTask):
            started += 1
            assert found.log_group == group_of_revision(found.request["taskDefinition"])
        cache.step()
        cache.later(seconds=1)
    assert started >= 2
    assert start_of(cache).log_group == CURRENT


def test_a7_the_log_of_a_running_build_is_where_its_status_says() -> None:
    for noted, expected in (
        (FORMER, FORMER),
        (CURRENT, CURRENT),
        ("/buildcache/test/team-b/shop", FORMER),  # another namespace's: not believed
        ("/aws/secret/team-a/shop", FORMER),
        (None, FORMER),
    ):
        body = build_body(spec={"cacheRef": {"name": "shop"}})
        body["status"] = {"logs": {"group": noted, "stream": "s"}} if noted else {}
        assert log_group(Build.parse(body)) == expected


def test_a7_retain_marks_the_old_log_group_too(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by_the_former_release(cache, monkeypatch)
    cache.settle()
    cache.edit(deletionPolicy="Retain")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    for group in client("logs").describe_log_groups()["logGroups"]:
        tags = client("logs").list_tags_for_resource(resourceArn=group["arn"].removesuffix(":*"))["tags"]
        assert tags["buildcache.dev/deletion-policy"] == "Retain"


def test_a7_an_old_log_group_of_another_owner_is_left_alone(cache: Cache) -> None:
    client("logs").create_log_group(logGroupName=FORMER)
    cache.settle()
    assert cache.conditions()["Ready"] == ("True", "Available")
    cache.delete()
    cache.settle()
    assert cache.is_gone()
    assert log_groups() == [FORMER]


def test_a7_two_clusters_meet_in_the_repository_only_and_the_message_names_the_other_one(
    cache: Cache, aws: Aws
) -> None:
    cache.settle()
    other = Cache(aws, spec_of(aws.world), cluster_id="staging", uid="99999999-2222-3333-4444-555555555555")
    other.settle()
    assert other.conditions()["Stalled"] == ("True", "ForeignResource")
    assert other.conditions()["RegistryReady"] == ("False", "ForeignResource")
    assert other.conditions()["ExecutorsReady"] == ("True", "Available")
    message = other.message("Stalled")
    assert (
        "repository buildcache/team-a/shop belongs to BuildCache team-a/shop of another cluster (cluster id test)"
        in message
    )
    assert "spec.registry.repositoryName" in message
    assert log_groups() == sorted([CURRENT, "/buildcache/staging/team-a/shop"])


def test_a7_a_cluster_that_is_called_like_a_namespace_meets_no_old_name() -> None:
    one = Identity("team-a", "team-b", "shop", "u")
    assert names.log_group_name(one) not in (
        names.former_log_group_name(Identity("x", "team-a", "team-b", "u")),
        names.former_log_group_name(one),
    )
