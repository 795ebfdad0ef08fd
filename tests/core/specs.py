"""Specs for tests of flags, commands and tasks: one valid of each engine, and strategies for any valid one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from buildcache.api.build import Build, BuildSpec
from buildcache.api.cache import BuildCacheSpec
from buildcache.api.executor import Executor
from buildcache.api.stores import COMPRESSION_LEVELS, Export
from buildcache.core.flags import Scope, Stores
from buildcache.core.names import Identity

URI = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/acme/shop"
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/team-a/web:1"
SCOPE = Scope("fs-0123456789abcdef0", "fsap-0123456789abcdef0")
ON = Stores(URI, registry=True)
OFF = Stores(URI, registry=False)
MOUNTED = Stores(URI, registry=True, scope=SCOPE)
IDENTITY = Identity("test", "team-a", "shop", "6f1c7d1e-0000-4000-8000-000000000001")
MODES = ("ReadWrite", "ReadOnly", "Refresh", "None")

_EXECUTORS: Mapping[str, Mapping[str, Any]] = {
    "BuildKit": {"name": "ec2", "engine": "BuildKit", "launchType": "EC2"},
    "Docker": {"name": "docker", "engine": "Docker", "launchType": "EC2"},
    "Kaniko": {"name": "fargate", "engine": "Kaniko", "launchType": "Fargate"},
}


def executor(engine: str = "BuildKit", **changes: Any) -> Executor:
    role = "arn:aws:iam::111122223333:role/build"
    body = {**_EXECUTORS[engine], "taskRoleARN": f"{role}-task", "executionRoleARN": f"{role}-execution", **changes}
    return Executor.model_validate(body)


def cache_spec(*executors: Executor, **changes: Any) -> BuildCacheSpec:
    body = {
        "region": "eu-west-1",
        "clusterARN": "arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
        "network": {
            "vpcID": "vpc-0a1b2c3d4e5f60718",
            "subnetIDs": ["subnet-0a1b2c3d4e5f60718", "subnet-0b1b2c3d4e5f60718"],
        },
        "executors": [each.to_json() for each in executors or map(executor, _EXECUTORS)],
        **changes,
    }
    return BuildCacheSpec.model_validate(body)


def build_spec(**changes: Any) -> BuildSpec:
    body = {
        "cacheRef": {"name": "shop"},
        "service": "web",
        "source": {"git": {"url": "https://github.com/acme/shop.git", "revision": "3f2c1ab"}},
        "output": {"images": [IMAGE]},
        **changes,
    }
    return BuildSpec.model_validate(body)


def build(**changes: Any) -> Build:
    metadata = {"name": "web-1", "namespace": "team-a", "uid": "6f1c7d1e-0000-4000-8000-000000000002"}
    return Build.model_validate({"metadata": metadata, "spec": build_spec(**changes).to_json()})


def export(**changes: Any) -> Export:
    return Export.model_validate(changes)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, [*range(32), 127]))))
"""Any text that the models accept as a value: commas, quotes, dashes, shell characters, other alphabets."""
nasty = st.sampled_from(
    [
        "",
        ",",
        '"',
        "'",
        "a,mode=min",
        "--no-cache",
        "-x",
        "$(id)",
        "`id`",
        "; id",
        "a=b=c",
        " ",
        "\\",
        "type=local,dest=/",
    ]
)
values = (text | nasty).map(lambda value: value[:200])
services = (text | nasty).filter(bool).map(lambda value: value[:253])
stages = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
names = st.from_regex(r"[A-Z][A-Z0-9]{0,8}_X", fullmatch=True)
label_names = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)
references = st.sampled_from(
    [f"{URI}:main.buildcache", f"{URI}:web.buildcache", "localhost:5000/a/b", "ghcr.io/acme/web:1"]
)
platforms = st.lists(st.sampled_from(["linux/amd64", "linux/arm64", "linux/arm/v7"]), unique=True, max_size=3)
suffixes = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", fullmatch=True)
paths = st.sampled_from([".", "a", "a/b", "./a", "a/.", "docker/Dockerfile.web"])


@st.composite
def exports(draw: st.DrawFn) -> Export:
    compression = draw(st.sampled_from(["estargz", "gzip", "zstd", "uncompressed"]))
    oci = draw(st.booleans()) or compression in ("estargz", "zstd")
    highest = COMPRESSION_LEVELS.get(compression)
    return export(
        mode=draw(st.sampled_from(["max", "min"])),
        compression=compression,
        compressionLevel=None if highest is None else draw(st.none() | st.integers(0, highest)),
        forceCompression=draw(st.booleans()),
        imageManifest=oci and draw(st.booleans()),
        ociMediaTypes=oci,
        ignoreError=draw(st.booleans()),
        tagSuffix=draw(suffixes),
        perPlatform=draw(st.booleans()),
    )


@st.composite
def executors(draw: st.DrawFn) -> Executor:
    engine = draw(st.sampled_from(sorted(_EXECUTORS)))
    changes: dict[str, Any] = {"platform": draw(st.sampled_from(["linux/amd64", "linux/arm64"]))}
    if engine == "Kaniko":
        version = draw(st.sampled_from(["1.25.6", "1.26.5", "1.27.0", "1.27.6", "1.28.0", "1.28.1", "1.28.3", "2.0.0"]))
        changes["kaniko"] = {
            "version": version,
            "ttl": draw(st.sampled_from([None, "6h", "14d", "1d30m", "90s"])),
            "copyLayers": draw(st.booleans()) and version in ("1.28.1", "1.28.3", "2.0.0"),
            "runLayers": draw(st.booleans()),
            "compressedCaching": draw(st.booleans()),
        }
        changes |= draw(st.sampled_from([{}, {"launchType": "EC2"}]))
    elif engine == "BuildKit":
        changes["buildkit"] = {
            "socketPath": draw(st.sampled_from([None, "/run/buildkit/buildkitd.sock"])),
            "mountNamespace": draw(st.none() | st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)),
        }
    return executor(engine, **changes)


@st.composite
def builds(draw: st.DrawFn) -> Build:
    mode = draw(st.sampled_from(MODES))
    push = draw(st.booleans())
    return build(
        service=draw(services),
        contextDir=draw(paths),
        dockerfile=draw(paths),
        target=draw(st.none() | stages),
        buildArgs=[{"name": name, "value": draw(values)} for name in draw(st.lists(names, unique=True, max_size=4))],
        platforms=draw(platforms),
        output={
            "images": draw(
                st.lists(st.sampled_from([IMAGE, "localhost:5000/web", "ghcr.io/a/b:c"]), unique=True, min_size=push)
            ),
            "push": push,
            "labels": draw(st.dictionaries(label_names, values, max_size=4)),
        },
        cache={"mode": mode, "importFrom": draw(st.lists(references, max_size=8))},
        noCacheFilter=[] if mode in ("Refresh", "None") else draw(st.lists(stages, unique=True, max_size=3)),
    )


stores = st.builds(
    Stores,
    st.sampled_from([URI, "127.0.0.1:5000/acme/shop", ""]),
    registry=st.booleans(),
    scope=st.sampled_from([None, SCOPE]),
).filter(lambda offered: bool(offered.repository_uri) or not offered.registry)
