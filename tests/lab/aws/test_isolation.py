"""Several AWS in one process, one after the other and at the same time."""

import pytest

from lab.aws import Aws
from tests.lab.aws.served import REGISTRY, served, unique


def test_an_aws_begins_empty_also_when_its_account_was_used_before() -> None:
    account = "299999999999"
    with served(account=account) as first:
        first.client("efs").create_file_system(CreationToken="t")
        first.client("s3").put_object(Bucket=first.aws.world.bucket, Key="k", Body=b"x")
        first.aws.add_faults([{"operation": "ListClusters", "kind": "throttle", "times": -1}])
    with served(account=account) as second:
        assert second.calls() == []
        assert second.client("efs").describe_file_systems()["FileSystems"] == []
        assert second.client("s3").list_objects_v2(Bucket=second.aws.world.bucket)["KeyCount"] == 0
        assert second.client("ecs").list_clusters()["clusterArns"] == [second.aws.world.cluster_arn]
        assert second.aws.tasks() == []


def test_two_at_the_same_time_do_not_see_each_other() -> None:
    with served() as one, served(registry="127.0.0.1:7") as other:
        name = unique()
        uris = [
            world.client("ecr").create_repository(repositoryName=name)["repository"]["repositoryUri"]
            for world in (one, other)
        ]
        assert uris == [f"{REGISTRY}/{name}", f"127.0.0.1:7/{name}"]
        one.client("efs").create_file_system(CreationToken=name)
        assert other.client("efs").describe_file_systems()["FileSystems"] == []
        assert one.client("sts").get_caller_identity()["Account"] == one.aws.account
        assert len(other.calls()) == 2


def test_one_account_is_not_served_twice_at_once() -> None:
    with served() as one:
        again = Aws(registry=REGISTRY, account=one.aws.account)
        with pytest.raises(RuntimeError, match=one.aws.account):
            again.start()
        again.stop()
        assert one.client("ecs").list_clusters()["clusterArns"] == [one.aws.world.cluster_arn]


def test_asking_for_the_url_before_the_start_says_what_to_do() -> None:
    aws = Aws(registry=REGISTRY)
    with pytest.raises(RuntimeError, match="start"):
        _ = aws.url
    aws.stop()
