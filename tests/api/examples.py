"""A valid BuildCache and Build, and changes that make them invalid: the same table for the models and for a real API server."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

ROLE = "arn:aws:iam::111122223333:role/build"


def executor(name: str = "ec2", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "engine": "BuildKit",
        "launchType": "EC2",
        "taskRoleARN": ROLE,
        "executionRoleARN": ROLE,
        **changes,
    }


CACHE: Mapping[str, Any] = {
    "apiVersion": "buildcache.dev/v1alpha1",
    "kind": "BuildCache",
    "metadata": {"name": "shop", "namespace": "default"},
    "spec": {
        "region": "eu-west-1",
        "clusterARN": "arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
        "network": {"vpcID": "vpc-0a1b2c3d4e5f60718", "subnetIDs": ["subnet-0a1b2c3d4e5f60718"]},
        "registry": {"export": {}},
        "executors": [executor(), executor("kaniko", engine="Kaniko", launchType="Fargate", cpu=1024, memory=2048)],
    },
}
BUILD: Mapping[str, Any] = {
    "apiVersion": "buildcache.dev/v1alpha1",
    "kind": "Build",
    "metadata": {"name": "web-1", "namespace": "default"},
    "spec": {
        "cacheRef": {"name": "shop"},
        "service": "web",
        "source": {"git": {"url": "https://github.com/acme/shop.git", "revision": "main"}},
        "output": {"images": ["111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:1"]},
        "cache": {},
    },
}


class Refused(NamedTuple):
    """A change to a valid object: `value` at `path` (None: the field is removed) is refused at a field that begins with `at`."""

    kind: str
    path: str
    value: Any
    at: str

    def __str__(self) -> str:
        return f"{self.kind} {self.path} {str(self.value)[:40]!r}"


def changed(kind: str, path: str, value: Any) -> dict[str, Any]:
    """The valid object of a kind with one field changed."""
    body = copy.deepcopy(dict(CACHE if kind == "BuildCache" else BUILD))
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    node: Any = body
    for part in parents:
        node = node[part] if isinstance(part, int) else node.setdefault(part, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return body


EXECUTOR = "spec.executors.0"
REFUSED = [
    Refused("BuildCache", "spec.region", "EU WEST", "spec.region"),
    Refused("BuildCache", "spec.clusterARN", "arn:aws:ecs:us-east-1:111122223333:cluster/b", "spec.clusterARN"),
    Refused("BuildCache", "spec.clusterARN", "builds", "spec.clusterARN"),
    Refused("BuildCache", "spec.network.vpcID", None, "spec.network.vpcID"),
    Refused("BuildCache", "spec.network.subnetIDs", [], "spec.network.subnetIDs"),
    Refused("BuildCache", "spec.network.subnetIDs", ["subnet-0a1b2c3d"] * 17, "spec.network.subnetIDs"),
    Refused("BuildCache", "spec.network.securityGroupIDs", ["default"], "spec.network.securityGroupIDs"),
    Refused("BuildCache", "spec.reconcilePolicy", "Sometimes", "spec.reconcilePolicy"),
    Refused("BuildCache", "spec.reconcileInterval", "30s", "spec.reconcileInterval"),
    Refused("BuildCache", "spec.reconcileInterval", "25h", "spec.reconcileInterval"),
    Refused("BuildCache", "spec.reconcileInterval", "soon", "spec.reconcileInterval"),
    Refused("BuildCache", "spec.deletionPolicy", "Orphan", "spec.deletionPolicy"),
    Refused("BuildCache", "spec.registry.repositoryName", "Shop", "spec.registry.repositoryName"),
    Refused("BuildCache", "spec.registry.repositoryName", "shop\n", "spec.registry.repositoryName"),
    Refused("BuildCache", "spec.registry.kmsKeyARN", "alias/cache", "spec.registry.kmsKeyARN"),
    Refused("BuildCache", "spec.registry.retentionDays", 0, "spec.registry.retentionDays"),
    Refused("BuildCache", "spec.registry.retentionDays", 366, "spec.registry.retentionDays"),
    Refused("BuildCache", "spec.registry.export.mode", "maximum", "spec.registry.export.mode"),
    Refused("BuildCache", "spec.registry.export.compression", "brotli", "spec.registry.export.compression"),
    Refused("BuildCache", "spec.registry.export.ociMediaTypes", False, "spec.registry.export.ociMediaTypes"),
    Refused(
        "BuildCache",
        "spec.registry.export",
        {"compression": "gzip", "compressionLevel": 10},
        "spec.registry.export.compressionLevel",
    ),
    Refused(
        "BuildCache",
        "spec.registry.export",
        {"compression": "uncompressed", "compressionLevel": 1},
        "spec.registry.export.compressionLevel",
    ),
    Refused("BuildCache", "spec.registry.export.tagSuffix", ".cache", "spec.registry.export.tagSuffix"),
    Refused("BuildCache", "spec.fileSystem", {"management": "Observed"}, "spec.fileSystem.id"),
    Refused("BuildCache", "spec.fileSystem", {"id": "fs-0123456789abcdef0"}, "spec.fileSystem.id"),
    Refused("BuildCache", "spec.fileSystem", {"throughputMode": "provisioned"}, "spec.fileSystem.provisionedMiBps"),
    Refused("BuildCache", "spec.fileSystem", {"provisionedMiBps": 10}, "spec.fileSystem.provisionedMiBps"),
    Refused("BuildCache", "spec.fileSystem", {"transitionToIA": "AFTER_2_DAYS"}, "spec.fileSystem.transitionToIA"),
    Refused("BuildCache", "spec.executors", [], "spec.executors"),
    Refused("BuildCache", "spec.executors", [executor(), executor()], "spec.executors[1]"),
    Refused("BuildCache", "spec.executors", [executor(str(number)) for number in range(9)], "spec.executors"),
    Refused("BuildCache", f"{EXECUTOR}.name", "EC2", "spec.executors[0].name"),
    Refused("BuildCache", f"{EXECUTOR}.launchType", "Fargate", "spec.executors[0].launchType"),
    Refused("BuildCache", f"{EXECUTOR}.platform", "windows/amd64", "spec.executors[0].platform"),
    Refused("BuildCache", f"{EXECUTOR}.image", "Moby/BuildKit", "spec.executors[0].image"),
    Refused("BuildCache", f"{EXECUTOR}.taskRoleARN", "build", "spec.executors[0].taskRoleARN"),
    Refused("BuildCache", f"{EXECUTOR}.kaniko", {}, "spec.executors[0].kaniko"),
    Refused("BuildCache", f"{EXECUTOR}.ephemeralStorageGiB", 50, "spec.executors[0].ephemeralStorageGiB"),
    Refused("BuildCache", f"{EXECUTOR}.buildkit", {"socketPath": "run/x"}, "spec.executors[0].buildkit.socketPath"),
    *(
        Refused("BuildCache", f"{EXECUTOR}.buildkit", {"socketPath": path}, "spec.executors[0].buildkit.socketPath")
        for path in ("/buildkitd.sock", "/run/../buildkitd.sock", "/./buildkitd.sock", "/run/buildkit/")
    ),
    Refused("BuildCache", "spec.executors.1.buildkit", {}, "spec.executors[1].buildkit"),
    Refused("BuildCache", "spec.executors.1.memory", 1024, "spec.executors[1].memory"),
    Refused(
        "BuildCache",
        "spec.executors.1",
        executor("k", engine="Kaniko", launchType="Fargate", cpu=256, memory=1536),
        "spec.executors[1].memory",
    ),
    Refused("BuildCache", "spec.executors.1.kaniko", {"ttl": "0s"}, "spec.executors[1].kaniko.ttl"),
    Refused("BuildCache", "spec.executors.1.kaniko", {"ttl": "336"}, "spec.executors[1].kaniko.ttl"),
    Refused("BuildCache", "spec.executors.1.kaniko", {"version": "latest"}, "spec.executors[1].kaniko.version"),
    Refused("BuildCache", "spec.executors.1.kaniko", {"ttl": "30m6h"}, "spec.executors[1].kaniko.ttl"),
    Refused("BuildCache", "spec.executors.1.kaniko", {"ttl": "99999999h"}, "spec.executors[1].kaniko.ttl"),
    Refused(
        "BuildCache",
        "spec.executors.1.kaniko",
        {"version": "1.28.0", "copyLayers": True},
        "spec.executors[1].kaniko.copyLayers",
    ),
    Refused(
        "BuildCache",
        "spec",
        {
            **CACHE["spec"],
            "fileSystem": {},
            "executors": [executor(engine="Kaniko", kaniko={"version": "1.26.4"})],
        },
        "spec.executors",
    ),
    Refused("BuildCache", "spec.limits", {"maxConcurrentBuilds": 0}, "spec.limits.maxConcurrentBuilds"),
    *(
        Refused("BuildCache", "spec.limits", {"maxRunTimeout": value}, "spec.limits.maxRunTimeout")
        for value in ("11h1s", "661m", "99999999h", "99999h99999h99999h")
    ),
    Refused("BuildCache", "spec.reconcileInterval", "99999999h", "spec.reconcileInterval"),
    *(
        Refused("BuildCache", "spec.registries", [host], "spec.registries[0]")
        for host in (
            "docker.io",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com/acme",
            "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "1111.dkr.ecr.eu-west-1.amazonaws.com",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com,evil.example",
        )
    ),
    Refused(
        "BuildCache",
        "spec.registries",
        [f"11112222333{digit}.dkr.ecr.eu-west-1.amazonaws.com" for digit in range(9)],
        "spec.registries",
    ),
    Refused("BuildCache", "spec.logRetentionDays", 8, "spec.logRetentionDays"),
    Refused("BuildCache", "spec.tags", {"buildcache.dev/uid": "x"}, "spec.tags"),
    Refused("BuildCache", "spec.tags", {"aws:x": "x"}, "spec.tags"),
    Refused("BuildCache", "spec.tags", {f"k{number}": "" for number in range(41)}, "spec.tags"),
    Refused("Build", "spec.cacheRef", None, "spec.cacheRef"),
    Refused("Build", "spec.cacheRef.name", "../shop", "spec.cacheRef.name"),
    Refused("Build", "spec.service", "", "spec.service"),
    Refused("Build", "spec.service", "a\nb", "spec.service"),
    Refused("Build", "spec.service", "a" * 254, "spec.service"),
    Refused("Build", "spec.source", {}, "spec.source"),
    Refused(
        "Build",
        "spec.source",
        {"s3": {"uri": "s3://bucket/key"}, "inline": {"dockerfile": "FROM scratch"}},
        "spec.source",
    ),
    Refused("Build", "spec.source", {"s3": {"uri": "https://bucket/key"}}, "spec.source.s3.uri"),
    Refused("Build", "spec.source", {"inline": {"dockerfile": "F" * 4097}}, "spec.source.inline.dockerfile"),
    *(
        Refused("Build", "spec.source.git.url", url, "spec.source.git.url")
        for url in (
            "file:///etc/passwd",
            "ext::sh -c id",
            "git://host/a.git",
            "http://host/a.git",
            "https://user:password@host/a.git",
            "https://user@host/a.git",
            "ssh://-oProxyCommand=id/a",
            "-u/evil",
            "--upload-pack=id",
            "git@github.com:a/b.git",
            "https://host/a b.git",
            "https://host/a.git#main",
            "https://host/a.git?x=1",
            "https://host/a.git\n",
            "https:///a.git",
            "",
        )
    ),
    *(
        Refused("Build", "spec.source.git.revision", revision, "spec.source.git.revision")
        for revision in ("", "-x", "--upload-pack=id", "a b", "a..b", "a@{1}", "a\nb", "a:b", "a~1", "a^")
    ),
    *(Refused("Build", "spec.contextDir", path, "spec.contextDir") for path in ("../x", "/etc", "a/../b", "-x", "a//b", "")),
    *(Refused("Build", "spec.dockerfile", path, "spec.dockerfile") for path in ("../x", "/etc/passwd", "a\nb", "a;b")),
    Refused("Build", "spec.target", "--x", "spec.target"),
    *(
        Refused("Build", "spec.buildArgs", [{"name": name, "value": "v"}], "spec.buildArgs[0]")
        for name in ("", "1A", "A B", "NPM_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY", "BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS")
    ),
    Refused("Build", "spec.buildArgs", [{"name": "A", "value": "a\nb"}], "spec.buildArgs[0].value"),
    Refused("Build", "spec.buildArgs", [{"name": "A"}, {"name": "A"}], "spec.buildArgs[1]"),
    Refused("Build", "spec.platforms", ["windows/amd64"], "spec.platforms[0]"),
    Refused("Build", "spec.output", None, "spec.output"),
    Refused("Build", "spec.output.images", [], "spec.output"),
    Refused("Build", "spec.output.images", ["UPPER/case:x"], "spec.output.images[0]"),
    Refused("Build", "spec.output.images", ["web:1"], "spec.output.images[0]"),
    Refused("Build", "spec.output.images", ["host.example/web:1,push=false"], "spec.output.images[0]"),
    Refused("Build", "spec.output.labels", {"a b": "x"}, "spec.output.labels"),
    Refused("Build", "spec.output.labels", {"a": "x\ny"}, "spec.output.labels"),
    Refused("Build", "spec.cache.mode", "Sometimes", "spec.cache.mode"),
    Refused("Build", "spec.cache.importFrom", ["not a ref"], "spec.cache.importFrom[0]"),
    Refused("Build", "spec.noCacheFilter", ["a,b"], "spec.noCacheFilter[0]"),
    Refused("Build", "spec.executor", "EC2", "spec.executor"),
    Refused("Build", "spec.timeouts", {"run": "-1h"}, "spec.timeouts.run"),
    Refused("Build", "spec.timeouts", {"queue": "0s"}, "spec.timeouts.queue"),
    *(
        Refused("Build", "spec.timeouts", {name: value}, f"spec.timeouts.{name}")
        for name, value in (
            ("queue", "24h1s"), ("start", "1441m"), ("run", "11h1s"), ("run", "24h"),
            ("queue", "99999999h"), ("start", "99999999h"), ("run", "99999999h"), ("run", "99999h99999h99999h"),
        )
    ),
    Refused("Build", "spec.retries", 11, "spec.retries"),
    Refused("Build", "spec.ttlAfterFinished", "1w", "spec.ttlAfterFinished"),
]  # fmt: skip
