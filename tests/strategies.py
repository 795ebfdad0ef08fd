"""Hypothesis strategies that several test modules share: specs, identities, and every state that AWS can be in for a cache."""

from typing import Any

from hypothesis import strategies as st

from buildcache.api.cache import BuildCacheSpec
from buildcache.core.desired import DesiredCache, desired
from buildcache.core.names import SCOPE_TAG, Identity, scope_name, scope_path
from buildcache.core.observed import (
    AccessPoint,
    FileSystem,
    LogGroup,
    MountTarget,
    ObservedCache,
    Repository,
    Rule,
    SecurityGroup,
    Subnet,
    TaskRevision,
)
from buildcache.core.scope import concerns
from buildcache.core.tagging import wanted_tags

ACCOUNT = "111122223333"
REGION = "eu-west-1"
VPC = "vpc-0a1b2c3d"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/build"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
SUBNETS = {
    "subnet-0000000a": "eu-west-1a",
    "subnet-0000000b": "eu-west-1a",
    "subnet-0000000c": "eu-west-1b",
    "subnet-0000000d": "eu-west-1c",
}
"""Subnet → zone: two share one."""
GIVEN_GROUPS = ("sg-0000000a", "sg-0000000b")
BUILD_GROUP, CACHE_GROUP, FILE_SYSTEM = "sg-0000b111", "sg-0000cac1", "fs-00000001"

# --- names

dns_label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
namespaces = st.one_of(dns_label, st.just("n" * 63))
object_names = st.one_of(
    st.lists(dns_label, min_size=1, max_size=4).map(".".join), st.just("a." * 126 + "a"), st.just("x" * 253)
)
cluster_ids = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)
uids = st.uuids().map(str)
executor_names = st.one_of(dns_label, st.just("e" * 63))
identities = st.builds(Identity, cluster_ids, namespaces, object_names, uids)

# --- specs


@st.composite
def executors(draw: st.DrawFn, name: str) -> dict[str, Any]:
    """One executor that the API accepts."""
    engine = draw(st.sampled_from(["BuildKit", "Docker", "Kaniko"]))
    fargate = engine == "Kaniko" and draw(st.booleans())
    return {
        "name": name,
        "engine": engine,
        "launchType": "Fargate" if fargate else "EC2",
        "platform": draw(st.sampled_from(["linux/amd64", "linux/arm64"])),
        "cpu": 1024,
        "memory": draw(st.sampled_from([2048, 4096])),
        "taskRoleARN": ROLE,
        "executionRoleARN": ROLE,
    }


@st.composite
def file_systems(draw: st.DrawFn) -> dict[str, Any]:
    """The managed file system of a spec."""
    mode = draw(st.sampled_from(["elastic", "bursting", "provisioned"]))
    found: dict[str, Any] = {
        "throughputMode": mode,
        "backup": draw(st.booleans()),
        "transitionToIA": draw(st.sampled_from([None, "AFTER_7_DAYS", "AFTER_14_DAYS"])),
    }
    if mode == "provisioned":
        found["provisionedMiBps"] = draw(st.integers(1, 3414))
    return found


@st.composite
def cache_specs(draw: st.DrawFn, *, deletion: str | None = None) -> BuildCacheSpec:
    """A BuildCache spec with managed parts in any combination."""
    names = draw(st.lists(st.sampled_from(["ec2", "arm", "kaniko"]), min_size=1, max_size=3, unique=True))
    body = {
        "enabled": draw(st.booleans()),
        "deletionPolicy": deletion or draw(st.sampled_from(["Delete", "Retain"])),
        "region": REGION,
        "clusterARN": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/builds",
        "network": {
            "vpcID": VPC,
            "subnetIDs": draw(st.lists(st.sampled_from(sorted(SUBNETS)), min_size=1, unique=True)),
            "securityGroupIDs": draw(st.lists(st.sampled_from(GIVEN_GROUPS), unique=True)),
        },
        "registry": {"retentionDays": draw(st.none() | st.integers(1, 365))},
        "fileSystem": draw(st.none() | file_systems()),
        "executors": [draw(executors(name)) for name in names],
        "logRetentionDays": draw(st.sampled_from([1, 30, 365])),
        "tags": draw(st.dictionaries(st.sampled_from(["team", "cost"]), st.sampled_from(["a", "b"]))),
    }
    return BuildCacheSpec.model_validate(body)


IDENTITY = Identity("cluster-1", "team-a", "shop", "11111111-2222-3333-4444-555555555555")


def wanted(spec: BuildCacheSpec) -> DesiredCache:
    """What AWS should have for a spec of IDENTITY, of which a Build of service `web` has each Kaniko executor."""
    scopes: dict[str, tuple[str, ...]] = {}
    if concerns(spec):
        for executor in spec.executors:
            if executor.engine == "Kaniko":
                name = scope_name("web", executor.platform)
                scopes[name] = (*scopes.get(name, ()), executor.name)
    return desired(spec, IDENTITY, runner_image="operator:test", scopes=scopes)


# --- what AWS has

rules = st.frozensets(
    st.sampled_from(
        [
            Rule("tcp", 2049, 2049, BUILD_GROUP),
            Rule("tcp", 2049, 2049, GIVEN_GROUPS[0]),
            Rule("tcp", 2049, 2049, "0.0.0.0/0"),
            Rule("tcp", 22, 22, "10.0.0.0/8"),
            Rule("-1", -1, -1, "0.0.0.0/0"),
            Rule("-1", -1, -1, "::/0"),
        ]
    )
)


tags = st.dictionaries(st.sampled_from(["team", "cost", "old"]), st.sampled_from(["a", "b"])).map(
    lambda user: wanted_tags(user, IDENTITY, retain="old" in user)
)
"""Those that an earlier spec asked for."""


def groups(group_id: str, owned: st.SearchStrategy[bool]) -> st.SearchStrategy[SecurityGroup]:
    return st.builds(SecurityGroup, st.just(group_id), owned, rules, rules, tags)


@st.composite
def observed_file_systems(draw: st.DrawFn, owned: st.SearchStrategy[bool]) -> FileSystem:
    mode = draw(st.sampled_from(["elastic", "bursting", "provisioned"]))
    return FileSystem(
        id=FILE_SYSTEM,
        owned=draw(owned),
        state=draw(st.sampled_from(["creating", "available", "updating", "deleting"])),
        throughput_mode=mode,
        provisioned_mibps=draw(st.integers(1, 3414)) if mode == "provisioned" else None,
        transitions=draw(
            st.sampled_from(
                [
                    frozenset(),
                    frozenset({("TransitionToIA", "AFTER_7_DAYS")}),
                    frozenset({("TransitionToIA", "AFTER_14_DAYS"), ("TransitionToArchive", "AFTER_90_DAYS")}),
                ]
            )
        ),
        backup=draw(st.booleans()),
        tags=draw(tags),
    )


@st.composite
def mount_targets(draw: st.DrawFn, zone: str) -> MountTarget:
    """A mount target of ours in a zone: perhaps in a subnet that the spec does not name, perhaps with other groups."""
    subnet = draw(st.sampled_from(sorted(subnet for subnet, its_zone in SUBNETS.items() if its_zone == zone)))
    groups_of = draw(st.sampled_from([frozenset({CACHE_GROUP}), frozenset({CACHE_GROUP, "sg-0000000f"})]))
    state = draw(st.sampled_from(["creating", "available", "deleting"]))
    return MountTarget(f"fsmt-{zone[-1]}", subnet, zone, state, groups_of)


@st.composite
def access_points(draw: st.DrawFn, number: int, *, right: bool) -> AccessPoint:
    """An access point of ours: of a scope that may be needed, or of one that was; with `right`, as it must be."""
    scope = draw(st.sampled_from(["amd64/web", "arm64/web", "amd64/old"]))
    return AccessPoint(
        id=f"fsap-{number:017x}",
        file_system_id=FILE_SYSTEM,
        state=draw(st.sampled_from(["creating", "available", "deleting"])),
        scope=scope,
        path=scope_path(IDENTITY, scope) if right or draw(st.booleans()) else "/elsewhere",
        uid=0 if right else draw(st.sampled_from([0, 1000, None])),
        gid=0,
        tags={**draw(tags), SCOPE_TAG: scope},
    )


@st.composite
def observed_caches(draw: st.DrawFn, want: DesiredCache, *, foreign: bool) -> ObservedCache:
    """Anything that AWS may have under the names of a cache; with `foreign`, some of it is not ours."""
    owned = st.booleans() if foreign else st.just(True)
    file_system = draw(st.none() | observed_file_systems(owned))
    zones = draw(st.lists(st.sampled_from(sorted(set(SUBNETS.values()))), unique=True))
    cache_group = draw(st.none() | groups(CACHE_GROUP, owned))
    mounts: tuple[MountTarget, ...] = ()
    if file_system is not None and file_system.state in ("available", "updating"):
        mounts = tuple(draw(mount_targets(zone)) for zone in zones)
    if any(CACHE_GROUP in (mount.groups or ()) for mount in mounts) and cache_group is None:
        # AWS does not let a group go that a mount target is in.
        cache_group = SecurityGroup(CACHE_GROUP, owned=file_system is not None and file_system.owned)
    points: tuple[AccessPoint, ...] = ()
    if file_system is not None and file_system.state in ("available", "updating") and file_system.owned:
        number = draw(st.integers(0, 3))
        points = tuple(draw(access_points(each, right=not foreign)) for each in range(number))
    repository = draw(
        st.none()
        | st.builds(
            Repository,
            name=st.just(want.repository_name),
            arn=st.just("arn:repository"),
            uri=st.just("uri"),
            owned=owned,
            mutability=st.sampled_from(["MUTABLE", "IMMUTABLE"]),
            policy=st.none() | st.just('{"rules":[]}'),
            tags=tags,
        )
    )
    log_group = draw(
        st.none()
        | st.builds(LogGroup, st.just(want.log_group), owned, st.none() | st.sampled_from([1, 7, 30]), tags=tags)
    )
    revisions = []
    for executor in want.executors:
        for number in range(1, draw(st.integers(0, 3)) + 1):
            content = draw(st.sampled_from(["old", executor.definition.content_hash]))
            arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{executor.family}:{number}"
            revisions.append(TaskRevision(arn, executor.family, number, draw(owned), content, draw(tags)))
    return ObservedCache(
        build_group=draw(st.none() | groups(BUILD_GROUP, owned)),
        cache_group=cache_group,
        subnets={subnet: Subnet(subnet, zone, VPC) for subnet, zone in SUBNETS.items()},
        file_system=file_system,
        mounts=mounts,
        access_points=points,
        repository=repository,
        log_group=log_group,
        cluster_state="ACTIVE",
        revisions=tuple(revisions),
    )
