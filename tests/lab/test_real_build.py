"""Builds by real BuildKit in real containers: each task on a builder with an empty root, the cache in a real registry."""

import io
import tarfile
from typing import Any

import pytest

from lab.outside import condition
from tests.lab.world import World

pytestmark = [pytest.mark.lab, pytest.mark.docker]
DOCKERFILE = """\
FROM scratch AS first
COPY a.txt /a.txt
FROM scratch AS second
COPY --from=first /a.txt /copied.txt
COPY b.txt /b.txt
FROM scratch
COPY --from=second / /
"""


def upload(world: World, key: str, **files: str) -> dict[str, Any]:
    """An archive in the lab's S3 as a Build's source."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("__", "."))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    s3 = world.aws("s3")
    s3.create_bucket(Bucket="test-sources")
    s3.put_object(Bucket="test-sources", Key=key, Body=archive.getvalue())
    return {"s3": {"uri": f"s3://test-sources/{key}"}}


def run(world: World, namespace: str, name: str, **spec: Any) -> dict[str, Any]:
    body = world.build(name)
    body["spec"].update(spec)
    world.create(namespace, "builds", body)
    return world.ended(namespace, name, timeout=180)


def test_a_second_build_on_an_empty_builder_comes_whole_from_the_cache(docker: World, namespace: str) -> None:
    docker.ready(namespace)
    source = upload(docker, f"{namespace}.tgz", Dockerfile=DOCKERFILE, a__txt="a", b__txt="b")
    cold, warm = (run(docker, namespace, name, source=source) for name in ("cold", "warm"))
    assert condition(cold, "CacheUsed")["reason"] == "Cold"
    assert condition(warm, "CacheUsed")["reason"] == "Hit"
    steps = warm["status"]["cache"]["steps"]
    assert steps["cached"] == steps["total"] > 0
    assert warm["status"]["cache"]["hitPercent"] == 100
    assert cold["status"]["cache"]["exported"] is True
    assert warm["status"]["image"]["digest"] == cold["status"]["image"]["digest"]


def test_a_dockerfile_that_fails_is_the_users_with_the_log_that_says_why(docker: World, namespace: str) -> None:
    docker.ready(namespace)
    body = run(docker, namespace, "bad", source={"inline": {"dockerfile": "FROM scratch\nCOPY missing.txt /\n"}})
    failure = body["status"]["failure"]
    assert (failure["class"], failure["reason"]) == ("User", "BuildStepFailed")
    assert "missing.txt" in failure["logTail"]
    assert "Traceback" not in docker.operator_log()


def test_an_object_that_is_not_in_s3_is_a_missing_source(docker: World, namespace: str) -> None:
    docker.ready(namespace)
    upload(docker, f"{namespace}.tgz", Dockerfile=DOCKERFILE)
    body = run(docker, namespace, "lost", source={"s3": {"uri": "s3://test-sources/nothing-here.tgz"}})
    assert body["status"]["failure"]["reason"] == "SourceNotFound"
    assert condition(body, "Succeeded")["status"] == "False"
