"""The flag function by example: each case is one rule of the API, and the engines read exactly these bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from buildcache.api.ecr import ecr_host
from buildcache.core import flags
from buildcache.core.flags import Flags, Refused, Stores

from .specs import MOUNTED, OFF, ON, SCOPE, URI, build_spec, executor, export

REF = f"{URI}:web.buildcache"
EXPORT = (
    f"type=registry,ref={REF},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true,compression=estargz"
)
IMPORT = f"type=registry,ref={REF},ignore-error=true"
KEYS = {
    "FF_KANIKO_HASH_DIR_FRAMING": "true",
    "FF_KANIKO_RESOLVE_CACHE_KEY": "true",
    "FF_KANIKO_ROLLING_CACHE_KEY": "true",
    "FF_KANIKO_SKIP_WRITE_WHITEOUTS": "true",
}
SCOPED = {"FF_KANIKO_SCOPED_DOCKERIGNORE": "true"}
OCI_STAGES = {"FF_KANIKO_OCI_STAGES": "0"}
CACHE = {"BUILD_CACHE": "true", "BUILD_CACHE_REPO": URI}
NO_PUSH: dict[str, Any] = {"output": {"push": False}}
NOTHING: Mapping[str, Any] = {}


def render(
    engine: str = "BuildKit",
    stores: Stores = ON,
    *,
    build: Mapping[str, Any] = NOTHING,
    options: Mapping[str, Any] = NOTHING,
    export_options: Mapping[str, Any] = NOTHING,
) -> Flags:
    found = flags.render(executor(engine, **options), export(**export_options), build_spec(**build), stores)
    assert isinstance(found, Flags)
    return found


def kaniko(**options: Any) -> dict[str, Any]:
    return {"kaniko": options}


def mode(name: str, *import_from: str) -> dict[str, Any]:
    return {"cache": {"mode": name, "importFrom": list(import_from)}}


class Case(NamedTuple):
    says: str
    engine: str
    stores: Stores
    args: list[str]
    build: Mapping[str, Any] = NOTHING
    options: Mapping[str, Any] = NOTHING
    export: Mapping[str, Any] = NOTHING


IN, OUT = ["--import-cache", IMPORT], ["--export-cache", EXPORT]
KANIKO = ["--cache=true", f"--cache-repo={URI}"]
TAR = ["--tar-path=/kaniko/workspace/image.tar", "--no-push"]
BARE = f"type=registry,ref={REF}"

CASES = [
    Case("BuildKit exports and imports", "BuildKit", ON, [*OUT, *IN]),
    Case("Docker spells the same values otherwise", "Docker", ON, ["--cache-to", EXPORT, "--cache-from", IMPORT]),
    Case("BuildKit off is nothing", "BuildKit", OFF, []),
    Case("Docker off is nothing", "Docker", OFF, []),
    Case("off and Refresh still builds afresh", "BuildKit", OFF, ["--no-cache"], mode("Refresh")),
    Case("off and None still builds afresh", "Docker", OFF, ["--no-cache"], mode("None")),
    Case("off imports nothing", "BuildKit", OFF, [], mode("ReadWrite", f"{URI}:main")),
    Case("Refresh exports and imports nothing", "BuildKit", ON, [*OUT, "--no-cache"], mode("Refresh", f"{URI}:main")),
    Case("ReadOnly imports and exports nothing", "BuildKit", ON, IN, mode("ReadOnly")),
    Case("None neither imports nor exports", "BuildKit", ON, ["--no-cache"], mode("None", f"{URI}:main")),
    Case(
        "further imports follow the own one, without duplicates",
        "BuildKit",
        ON,
        [
            *OUT,
            *IN,
            "--import-cache",
            f"type=registry,ref={URI}:b,ignore-error=true",
            "--import-cache",
            f"type=registry,ref={URI}:a,ignore-error=true",
        ],
        mode("ReadWrite", f"{URI}:b", REF, f"{URI}:a", f"{URI}:b"),
    ),
    Case(
        "the order of BuildKit is export, import, filter, platform, namespace",
        "BuildKit",
        ON,
        [
            *OUT,
            *IN,
            "--opt",
            "no-cache=build,test",
            "--opt",
            "platform=linux/amd64,linux/arm64",
            "--opt",
            "build-arg:BUILDKIT_CACHE_MOUNT_NS=acme",
        ],
        {"noCacheFilter": ["build", "test"], "platforms": ["linux/amd64", "linux/arm64"]},
        {"buildkit": {"mountNamespace": "acme"}},
    ),
    Case(
        "the namespace stays when the cache is off: the daemon is still shared",
        "BuildKit",
        OFF,
        ["--no-cache", "--opt", "platform=linux/arm64", "--opt", "build-arg:BUILDKIT_CACHE_MOUNT_NS=acme"],
        mode("None") | {"platforms": ["linux/arm64"]},
        {"buildkit": {"mountNamespace": "acme"}},
    ),
    Case(
        "the order of Docker is the same",
        "Docker",
        ON,
        [
            "--cache-to",
            EXPORT,
            "--cache-from",
            IMPORT,
            "--no-cache-filter",
            "build",
            "--no-cache-filter",
            "test",
            "--platform",
            "linux/arm64",
        ],
        {"noCacheFilter": ["build", "test"], "platforms": ["linux/arm64"]},
    ),
    Case(
        "ignoreError false leaves both attributes out",
        "BuildKit",
        ON,
        ["--export-cache", EXPORT.replace(",ignore-error=true", ""), "--import-cache", BARE],
        export={"ignoreError": False},
    ),
    Case(
        "level and force come last",
        "BuildKit",
        ON,
        [
            "--export-cache",
            f"{BARE},mode=min,image-manifest=true,oci-mediatypes=true,ignore-error=true"
            ",compression=zstd,compression-level=0,force-compression=true",
            *IN,
        ],
        export={"mode": "min", "compression": "zstd", "compressionLevel": 0, "forceCompression": True},
    ),
    Case("Kaniko caches in the bare repository", "Kaniko", ON, KANIKO, {"service": "team/web"}),
    Case("Kaniko off says so", "Kaniko", OFF, ["--cache=false"], mode("Refresh")),
    Case("Kaniko None is off", "Kaniko", ON, ["--cache=false"], mode("None")),
    Case("Kaniko ReadOnly pushes nothing", "Kaniko", MOUNTED, [*KANIKO, "--no-push-cache"], mode("ReadOnly")),
    Case(
        "Kaniko Refresh takes nothing as young enough, whatever its ttl",
        "Kaniko",
        MOUNTED,
        [*KANIKO, "--cache-ttl=0s"],
        mode("Refresh"),
        kaniko(ttl="6h"),
    ),
    Case("days are sent as Go reads them", "Kaniko", ON, [*KANIKO, "--cache-ttl=336h"], options=kaniko(ttl="14d")),
    Case("days and less too", "Kaniko", ON, [*KANIKO, "--cache-ttl=25h1800s"], options=kaniko(ttl="1d90m")),
    Case("what Go reads is sent as it is", "Kaniko", ON, [*KANIKO, "--cache-ttl=90m"], options=kaniko(ttl="90m")),
    Case(
        "what differs from Kaniko's defaults is sent",
        "Kaniko",
        ON,
        [*KANIKO, "--cache-copy-layers=true", "--cache-run-layers=false", "--compressed-caching=false"],
        options=kaniko(copyLayers=True, runLayers=False, compressedCaching=False),
    ),
    Case(
        "without push the image goes to an archive",
        "Kaniko",
        ON,
        [*KANIKO, *TAR, "--skip-push-permission-check"],
        NO_PUSH,
    ),
    Case(
        "without push and ignoreError the cache's permission is checked",
        "Kaniko",
        ON,
        [*KANIKO, *TAR],
        NO_PUSH,
        export={"ignoreError": False},
    ),
    Case(
        "without push ReadOnly has no push to check",
        "Kaniko",
        ON,
        [*KANIKO, "--no-push-cache", *TAR],
        NO_PUSH | mode("ReadOnly"),
    ),
    Case("without push None has no push to check", "Kaniko", ON, ["--cache=false", *TAR], NO_PUSH | mode("None")),
    Case(
        "without push Refresh skips the check",
        "Kaniko",
        ON,
        [*KANIKO, "--cache-ttl=0s", *TAR, "--skip-push-permission-check"],
        NO_PUSH | mode("Refresh"),
    ),
    Case(
        "off and without push",
        "Kaniko",
        OFF,
        ["--cache=false", *TAR, "--custom-platform=linux/arm64"],
        NO_PUSH | {"platforms": ["linux/arm64"]},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_arguments(case: Case) -> None:
    found = render(case.engine, case.stores, build=case.build, options=case.options, export_options=case.export)
    assert list(found.args) == case.args


@pytest.mark.parametrize(
    ("engine", "stores", "build", "options", "environment"),
    [
        pytest.param("BuildKit", ON, {}, {}, CACHE, id="BuildKit on"),
        pytest.param("BuildKit", ON, {"cache": {"mode": "None"}}, {}, CACHE, id="on, whatever the mode"),
        pytest.param("BuildKit", OFF, {}, {}, {}, id="BuildKit off"),
        pytest.param("Docker", ON, {}, {}, {**CACHE, "DOCKER_BUILDKIT": "1"}, id="Docker on"),
        pytest.param("Docker", OFF, {}, {}, {"DOCKER_BUILDKIT": "1"}, id="Docker off"),
        pytest.param("Kaniko", ON, {}, {}, {**CACHE, **SCOPED, **KEYS}, id="Kaniko with safe keys"),
        pytest.param(
            "Kaniko", ON, {"cache": {"mode": "None"}}, {}, CACHE, id="Kaniko that does not cache needs no keys"
        ),
        pytest.param("Kaniko", OFF, {}, kaniko(version="1.27.9"), {}, id="Kaniko off"),
    ],
)
def test_environment(
    engine: str, stores: Stores, build: dict[str, Any], options: dict[str, Any], environment: dict[str, str]
) -> None:
    assert render(engine, stores, build=build, options=options).environment == environment


@pytest.mark.parametrize(
    ("version", "own"),
    [
        ("1.28.1", KEYS | SCOPED),
        ("1.28.0", SCOPED),
        ("1.27.9", SCOPED | OCI_STAGES),
        ("1.27.6", SCOPED | OCI_STAGES),
        ("1.27.5", OCI_STAGES),
        ("1.26.5", {}),
    ],
)
def test_k2_each_kaniko_gets_the_variables_that_it_knows(version: str, own: dict[str, str]) -> None:
    assert render("Kaniko", options=kaniko(version=version)).environment == CACHE | own


@pytest.mark.parametrize("registry", [True, False], ids=["registry ready", "registry not ready"])
def test_the_mount_of_a_kaniko_build_that_writes(registry: bool) -> None:
    found = render("Kaniko", Stores(URI, registry=registry, scope=SCOPE))
    assert [(mount.volume, mount.path, mount.read_only) for mount in found.mounts] == [
        ("kaniko-caches", "/kaniko/caches", False)
    ]
    assert found.volumes == (
        {
            "name": "kaniko-caches",
            "efsVolumeConfiguration": {
                "fileSystemId": SCOPE.file_system_id,
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": SCOPE.access_point_id, "iam": "ENABLED"},
            },
        },
    )


@pytest.mark.parametrize(
    ("engine", "mode", "stores"),
    [
        ("Kaniko", "ReadOnly", MOUNTED),
        ("Kaniko", "Refresh", MOUNTED),
        ("Kaniko", "None", MOUNTED),
        ("Kaniko", "ReadWrite", ON),
        ("BuildKit", "ReadWrite", MOUNTED),
        ("Docker", "ReadWrite", MOUNTED),
    ],
)
def test_no_mount_for_other_modes_and_engines(engine: str, mode: str, stores: Stores) -> None:
    found = render(engine, stores, build={"cache": {"mode": mode}})
    assert (found.mounts, found.volumes) == ((), ())


@pytest.mark.parametrize(
    ("engine", "mode", "stores", "expected"),
    [
        ("BuildKit", "ReadWrite", ON, (REF, True, True)),
        ("BuildKit", "ReadOnly", ON, (REF, True, False)),
        ("Docker", "Refresh", ON, (REF, False, True)),
        ("Kaniko", "ReadWrite", ON, (URI, True, True)),
        ("Kaniko", "None", ON, (None, False, False)),
        ("BuildKit", "ReadWrite", OFF, (None, False, False)),
    ],
)
def test_what_the_status_will_say_of_the_cache(
    engine: str, mode: str, stores: Stores, expected: tuple[Any, ...]
) -> None:
    found = render(engine, stores, build={"cache": {"mode": mode}})
    assert (found.ref, found.reads, found.writes) == expected


@pytest.mark.parametrize(
    ("service", "suffix", "platform", "tag"),
    [
        ("web", "buildcache", None, "web.buildcache"),
        ("Web_API", "buildcache", None, "Web_API.buildcache"),
        ("web", "cache-v2", "linux/amd64", "web.linux-amd64.cache-v2"),
        ("web", "buildcache", "linux/arm/v7", "web.linux-arm-v7.buildcache"),
        ("-lead", "buildcache", None, "lead-54e05a0b.buildcache"),
        ("team/web", "buildcache", None, "team-web-a5cb1ff6.buildcache"),
        ("a//b c.", "buildcache", None, "a-b-c-56deec15.buildcache"),
        ("日本", "buildcache", None, "svc-cf2abf0c.buildcache"),
        ("w" * 117, "buildcache", None, "w" * 117 + ".buildcache"),
        ("w" * 118, "buildcache", None, "w" * 108 + "-2f71780e.buildcache"),
        ("w" * 107 + "." + "x" * 20, "buildcache", None, "w" * 107 + "-b6815eec.buildcache"),
        ("w" * 118, "buildcache", "linux/amd64", "w" * 96 + "-2f71780e.linux-amd64.buildcache"),
    ],
)
def test_tag(service: str, suffix: str, platform: str | None, tag: str) -> None:
    assert flags.tag(service, suffix, platform) == tag


def test_a_tag_for_each_platform_is_that_of_the_build_or_of_the_executor() -> None:
    options = {"platform": "linux/arm64"}
    own = render(options=options, export_options={"perPlatform": True})
    given = render(options=options, export_options={"perPlatform": True}, build={"platforms": ["linux/amd64"]})
    assert (own.ref, given.ref) == (f"{URI}:web.linux-arm64.buildcache", f"{URI}:web.linux-amd64.buildcache")


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        (f"{URI}:tag", "111122223333.dkr.ecr.eu-west-1.amazonaws.com"),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a", "111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/a", "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu/a", "111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu"),
        ("111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov/a", "111122223333.dkr.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("111122223333.dkr-ecr.eu-west-1.on.aws/a", "111122223333.dkr-ecr.eu-west-1.on.aws"),
        ("1111.dkr.ecr.eu-west-1.amazonaws.com/a", None),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example/a", None),
        ("evil.example/111122223333.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("127.0.0.1:5000/acme/shop", None),
        ("", None),
    ],
)  # fmt: skip
def test_a10_ecr_is_known_by_its_host(reference: str, host: str | None) -> None:
    assert ecr_host(reference) == host


@pytest.mark.parametrize(
    ("engine", "build", "export_options", "stores", "paths"),
    [
        ("Kaniko", {"platforms": ["linux/amd64", "linux/arm64"]}, {}, ON, ["spec.platforms"]),
        ("Kaniko", {"noCacheFilter": ["a"]}, {}, ON, ["spec.noCacheFilter"]),
        ("BuildKit", {"platforms": ["linux/amd64", "linux/arm64"]}, {"perPlatform": True}, ON, ["spec.platforms"]),
        ("BuildKit", {}, {"imageManifest": False}, ON, ["spec.registry.export.imageManifest"]),
        ("BuildKit", {}, {"imageManifest": False}, OFF, ["spec.registry.export.imageManifest"]),
        (
            "Kaniko",
            {"platforms": ["linux/amd64", "linux/arm64"], "noCacheFilter": ["a"]},
            {"imageManifest": False},
            ON,
            ["spec.registry.export.imageManifest", "spec.platforms", "spec.noCacheFilter"],
        ),
    ],
)
def test_refusals_name_their_fields(
    engine: str, build: dict[str, Any], export_options: dict[str, Any], stores: Stores, paths: list[str]
) -> None:
    found = flags.render(executor(engine), export(**export_options), build_spec(**build), stores)
    assert isinstance(found, Refused)
    assert [problem.path for problem in found.problems] == paths


def test_another_registry_takes_a_cache_that_is_no_image_manifest() -> None:
    found = render(stores=Stores("127.0.0.1:5000/shop", registry=True), export_options={"imageManifest": False})
    assert "image-manifest=false,oci-mediatypes=true" in found.args[1]


def test_a_repository_that_is_not_known_yet_is_on_ecr() -> None:
    assert flags.registry_problems(export(imageManifest=False), None)
    assert not flags.registry_problems(export(), None)


SHARED = {"buildkit": {"socketPath": "/run/buildkit/buildkitd.sock"}}
GZIP = {"compression": "gzip"}
NAMESPACE = "spec.executors[ec2].buildkit.mountNamespace"


@pytest.mark.parametrize(
    ("engine", "build", "options", "export_options", "paths"),
    [
        pytest.param("BuildKit", {}, {}, {}, ["spec.registry.export.compression"], id="estargz without force"),
        pytest.param("BuildKit", {}, {}, {"forceCompression": True}, [], id="estargz with force"),
        pytest.param("BuildKit", {"cache": {"mode": "ReadOnly"}}, {}, {}, [], id="estargz that is not written"),
        pytest.param("BuildKit", {}, {}, GZIP, [], id="gzip"),
        pytest.param(
            "BuildKit", {}, {"image": "acme/buildkit"}, GZIP, ["spec.executors[ec2].image"], id="unknown engine"
        ),
        pytest.param("BuildKit", {}, {"image": "acme/buildkit"}, GZIP | {"mode": "min"}, [], id="unknown engine, min"),
        pytest.param(
            "BuildKit", {}, {"image": "a/b"}, GZIP | {"ignoreError": False}, [], id="unknown engine that fails"
        ),
        pytest.param("BuildKit", {}, SHARED, GZIP, ["spec.executors[ec2].buildkit.mountNamespace"], id="shared daemon"),
        pytest.param("Kaniko", {}, {}, {}, [], id="Kaniko"),
        pytest.param(
            "Kaniko", {}, kaniko(version="1.28.0"), {}, ["spec.executors[fargate].kaniko.version"], id="old Kaniko"
        ),
        pytest.param("Kaniko", {"platforms": ["linux/arm64"]}, {}, {}, ["spec.platforms"], id="Kaniko cannot emulate"),
        pytest.param("Kaniko", {"platforms": ["linux/amd64"]}, {}, {}, [], id="Kaniko on its own platform"),
        pytest.param(
            "Kaniko", {"cache": {"importFrom": [REF]}}, {}, {}, ["spec.cache.importFrom"], id="Kaniko imports"
        ),
        pytest.param("Docker", mode("Refresh", REF), {}, GZIP, ["spec.cache.importFrom"], id="Refresh imports"),
        pytest.param("Docker", mode("None", REF), {}, GZIP, ["spec.cache.importFrom"], id="None imports"),
        pytest.param("Docker", mode("Refresh"), {}, GZIP, [], id="Refresh without imports"),
        pytest.param("Docker", mode("ReadWrite", REF), {}, GZIP, [], id="imports that are read"),
        pytest.param("Kaniko", {}, kaniko(version="1.28.1"), {}, [], id="the first Kaniko with safe keys"),
        pytest.param("BuildKit", mode("ReadOnly"), SHARED, {}, [NAMESPACE], id="shared daemon, whatever the mode"),
        pytest.param(
            "BuildKit", {}, {"buildkit": {**SHARED["buildkit"], "mountNamespace": "a"}}, GZIP, [], id="own namespace"
        ),
    ],
)
def test_warnings(
    engine: str, build: dict[str, Any], options: dict[str, Any], export_options: dict[str, Any], paths: list[str]
) -> None:
    found = render(engine, build=build, options=options, export_options=export_options)
    assert [notice.path for notice in found.warnings] == paths
