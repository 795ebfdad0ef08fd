"""Identity in AWS: every name, token and tag is a function of the owning object, so that a crash can lose a status but never a resource.

Read by the core modules that describe wanted parts and runs. Each name fits the limits of its service (letters, length) and is
injective: wherever a readable name is mapped or cut, and wherever a name must not be shared by two clusters in one account, a hash
of the whole identity is part of it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from buildcache.api.meta import TAG_PREFIX

GroupRole = Literal["build", "cache"]

MANAGED_BY = "buildcache-operator"
CONTENT_HASH_TAG = f"{TAG_PREFIX}content-hash"
"""On a task definition revision: the hash of its content, which decides whether a new one is registered."""

POLICY_TAG = f"{TAG_PREFIX}deletion-policy"
"""On every part: what happens to it when its BuildCache goes, for whoever finds it afterwards."""
KEYS_TAG = f"{TAG_PREFIX}tag-keys"
"""On every part: which keys of `spec.tags` are on it, so that one that leaves the spec leaves the part, and no other does."""

UID_TAG = f"{TAG_PREFIX}uid"
SCOPE_TAG = f"{TAG_PREFIX}scope"
"""On an access point: the scope whose cache mounts are behind it."""

_TOKEN_LIMIT = 64  # EFS CreationToken and ClientToken, ECS clientToken
_GROUP_LIMIT = 255
_REPOSITORY_LIMIT = 256
_LOG_GROUP_LIMIT = 512
_FAMILY_LIMIT = 255
_PATH_LIMIT = 100  # of an access point's root directory, with at most four levels
_UID_LENGTH = 36
_LEAF_LIMIT = _PATH_LIMIT - len("/buildcache/") - _UID_LENGTH - len("/amd64/")
_LEAF = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", re.ASCII)
_MOUNTING = re.compile(r"-(fsap-[0-9a-f]{8,40})(?![0-9a-z])")
_DIGEST = 10  # hex digits of a hash inside a readable name: 40 bits, and only names that share the rest can meet


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of AWS things: a BuildCache or a Build, in one cluster of one account."""

    cluster_id: str
    namespace: str
    name: str
    uid: str


def creation_token(identity: Identity) -> str:
    """EFS CreationToken: the same object asks for the same file system for ever."""
    return "bc-" + _hash("file-system", identity.cluster_id, identity.uid)[: _TOKEN_LIMIT - 3]


def security_group_name(identity: Identity, role: GroupRole) -> str:
    """Name of a security group; unique within the VPC without regard to case, as EC2 compares it."""
    digest = _hash("group", role, *_parts(identity))[:_DIGEST]
    return _fit(f"buildcache-{role}-{identity.namespace}-{identity.name}", digest, _GROUP_LIMIT)


def repository_name(identity: Identity) -> str:
    """Default name of the ECR repository, which is part of the API: buildcache/<namespace>/<name>."""
    return _within(f"buildcache/{identity.namespace}/{identity.name}", _REPOSITORY_LIMIT, *_names(identity))


def log_group_name(identity: Identity) -> str:
    """Name of the CloudWatch log group, which is part of the API: /buildcache/<cluster id>/<namespace>/<name>."""
    readable = f"/buildcache/{identity.cluster_id}/{identity.namespace}/{identity.name}"
    return _within(readable, _LOG_GROUP_LIMIT, identity.cluster_id, *_names(identity))


def former_log_group_name(identity: Identity) -> str:
    """Name that version 0.1 gave the log group. It had no cluster id, so two clusters of one account could meet in it."""
    return _within(f"/buildcache/{identity.namespace}/{identity.name}", _LOG_GROUP_LIMIT, *_names(identity))


def family_prefix(identity: Identity) -> str:
    """What all task definition families of a cache begin with; how a teardown finds those of executors long removed."""
    digest = _hash("family", *_parts(identity))[:_DIGEST]
    readable = _family_letters(f"buildcache-{identity.namespace}-{identity.name}")
    # Half of the limit is left for the executor's name.
    return _fit(readable, digest, _FAMILY_LIMIT // 2) + "-"


def family(identity: Identity, executor_name: str) -> str:
    """ECS task definition family of one executor; ECS allows no dots there, Kubernetes names do."""
    prefix = family_prefix(identity)
    letters = _family_letters(executor_name)
    if letters == executor_name and len(prefix) + len(letters) <= _FAMILY_LIMIT:
        return prefix + letters
    return prefix + _fit(letters, _hash("executor", executor_name)[:_DIGEST], _FAMILY_LIMIT - len(prefix))


def scope_name(service: str, platform: str) -> str:
    """The scope of a service's cache mounts: `amd64/web`. Files of two architectures in one directory would be of use to neither.

    A service that is no legal directory name, or too long, is mapped and gets a hash behind an `@`, which no other has in it: so two
    services never share a directory, whatever somebody calls them.
    """
    if _LEAF.fullmatch(service) and len(service) <= _LEAF_LIMIT:
        leaf = service
    else:
        digest = _hash("scope", service)[:_DIGEST]
        readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", service).lstrip(".")[: _LEAF_LIMIT - _DIGEST - 1] or "svc"
        leaf = f"{readable}@{digest}"
    return f"{platform.rpartition('/')[2]}/{leaf}"


def scope_path(identity: Identity, scope: str) -> str:
    """Root directory of a scope's access point. The UID is in it because BuildCaches may share a file system that they observe."""
    return f"/buildcache/{identity.uid[:_UID_LENGTH]}/{scope}"


def access_point_token(identity: Identity, file_system_id: str, scope: str) -> str:
    """EFS ClientToken: the same scope asks for the same access point as long as its file system is the same."""
    return "ap-" + _hash("access-point", identity.cluster_id, identity.uid, file_system_id, scope)[: _TOKEN_LIMIT - 3]


def scope_family(identity: Identity, executor_name: str, access_point_id: str) -> str:
    """Family of the task definitions of an executor that mount an access point. Its id is in it as it is: `mounted_by` reads it."""
    return family(identity, f"{executor_name}-{access_point_id}")


def mounted_by(family_name: str) -> str | None:
    """The access point that task definitions of a family mount; None: of a plain family, or one that is not ours."""
    found = _MOUNTING.findall(family_name)
    return found[-1] if found else None


def owner_tags(identity: Identity) -> dict[str, str]:
    """The tags that make an AWS thing ours; on everything from its creation on, and checked before every change."""
    return {
        f"{TAG_PREFIX}cluster-id": identity.cluster_id,
        f"{TAG_PREFIX}managed-by": MANAGED_BY,
        f"{TAG_PREFIX}name": identity.name,
        f"{TAG_PREFIX}namespace": identity.namespace,
        UID_TAG: identity.uid,
    }


def other_owner(tags: Mapping[str, str], identity: Identity) -> Identity | None:
    """Return the BuildCache that the tags name as owner, when it is in another cluster."""
    if tags.get(f"{TAG_PREFIX}managed-by") != MANAGED_BY:
        return None
    keys = ("cluster-id", "namespace", "name", "uid")
    owner = Identity(*(tags.get(f"{TAG_PREFIX}{key}", "") for key in keys))
    return owner if owner.cluster_id not in ("", identity.cluster_id) else None


def former_owner(tags: Mapping[str, str], identity: Identity) -> str | None:
    """The UID of an object of the same name, namespace and cluster that the tags name as owner: one that was there before."""
    uid = tags.get(UID_TAG)
    if uid is None or uid == identity.uid:
        return None
    return uid if owner_tags(replace(identity, uid=uid)).items() <= tags.items() else None


def run_token(cluster_id: str, build_uid: str, attempt: int) -> str:
    """RunTask clientToken: one task for each attempt of a Build, also when the answer of the first call was lost."""
    return "br-" + _hash("run", cluster_id, build_uid, str(attempt))[: _TOKEN_LIMIT - 3]


def started_by(build_uid: str) -> str:
    """RunTask startedBy: how the tasks of a Build are found again without a status. A UID is 36 characters, the older limit."""
    return build_uid


def _parts(identity: Identity) -> tuple[str, str, str, str]:
    return (identity.cluster_id, identity.namespace, identity.name, identity.uid)


def _names(identity: Identity) -> tuple[str, str]:
    return (identity.namespace, identity.name)


def _hash(*parts: str) -> str:
    # Each part is preceded by its length: ("a", "bc") and ("ab", "c") are different identities.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()


def _fit(readable: str, digest: str, limit: int) -> str:
    """The readable part, cut to what fits, and always the digest."""
    return f"{readable[: limit - len(digest) - 1].rstrip('-._/')}-{digest}"


def _within(readable: str, limit: int, *identity: str) -> str:
    """The readable name as it is where it fits, else cut and told apart by a hash."""
    return readable if len(readable) <= limit else _fit(readable, _hash("name", *identity)[:_DIGEST], limit)


def _family_letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)
