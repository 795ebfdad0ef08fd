"""AWS parts whose BuildCache is gone: which they are, and what has to be known to take them down. Pure; asked by `buildcache gc`."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from . import names
from .desired import DesiredCache
from .tagging import wanted_tags


@dataclass(frozen=True, slots=True)
class OwnedPart:
    """A thing in AWS with the owner tags of this cluster."""

    owner: names.Identity
    kind: str
    id: str
    name: str = ""
    """Where a teardown finds it by name: of a repository."""
    vpc_id: str = ""
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Orphan:
    """All that is left of one BuildCache in one region."""

    owner: names.Identity
    region: str
    parts: tuple[OwnedPart, ...]

    @property
    def retained(self) -> bool:
        """Left on purpose: `deletionPolicy: Retain`."""
        return any(part.retained for part in self.parts)


def orphans(found: Iterable[OwnedPart], living: Collection[str], region: str) -> tuple[Orphan, ...]:
    """What belongs to no UID of the living, by owner."""
    by_owner: dict[names.Identity, list[OwnedPart]] = {}
    for part in found:
        if part.owner.uid not in living:
            by_owner.setdefault(part.owner, []).append(part)
    ordered = sorted(by_owner, key=lambda owner: (owner.namespace, owner.name, owner.uid))
    return tuple(Orphan(owner, region, tuple(by_owner[owner])) for owner in ordered)


def without_spec(orphan: Orphan) -> DesiredCache:
    """The wanted state of a cache of which only the parts are known: that nothing is left of it."""
    owner = orphan.owner
    repository = next((part.name for part in orphan.parts if part.kind == "ecr/Repository"), "")
    return DesiredCache(
        identity=owner,
        region=orphan.region,
        cluster_arn="",
        vpc_id=next((part.vpc_id for part in orphan.parts if part.vpc_id), ""),
        subnet_ids=(),
        tags=wanted_tags({}, owner, retain=False),
        given_groups=(),
        build_group_name=names.security_group_name(owner, "build"),
        cache_group_name=names.security_group_name(owner, "cache"),
        creation_token=names.creation_token(owner),
        file_system=None,
        given_file_system=None,
        repository_name=repository or names.repository_name(owner),
        repository=None,
        repository_managed=True,
        log_group=names.log_group_name(owner),
        former_log_group=names.former_log_group_name(owner),
        log_retention_days=0,
        executors=(),
        retain=False,
    )
