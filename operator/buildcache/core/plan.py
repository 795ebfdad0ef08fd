"""What a plan is: the value between the decisions of `cache.py` and `teardown.py` and the passes that carry them out."""

from dataclasses import dataclass

from .action import Action, Tags
from .names import POLICY_TAG, UID_TAG, Identity, former_owner, other_owner
from .status import REPOSITORY_PART, Reason


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a person must solve: the part, the reason of the closed set, what to do."""

    part: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a deletion does not go on for now."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what is being waited for, what stands in the way. Empty: AWS is as wanted."""

    actions: tuple[Action, ...] = ()
    waiting: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    blocked: Blocked | None = None
    coming: tuple[str, ...] = ()
    """What is on its way for Builds and waited for like the rest, while the cache is as ready without it."""

    def __add__(self, other: "Plan") -> "Plan":
        """Both, this one's actions first."""
        return Plan(
            self.actions + other.actions,
            self.waiting + other.waiting,
            self.conflicts + other.conflicts,
            self.blocked or other.blocked,
            self.coming + other.coming,
        )


@dataclass(frozen=True, slots=True)
class Use:
    """Who needs parts as they are: running Builds, and coming ones, to which the status names task definitions."""

    running: frozenset[str] = frozenset()
    mounting: int = 0
    """Running Builds that may have the file system mounted."""
    published: frozenset[str] = frozenset()


def foreign(part: str, thing: str, tags: Tags | None = None, identity: Identity | None = None) -> Conflict:
    """A name or a place of ours is taken by something without our tags; the message names the owner where its tags do."""
    message = f"{thing} exists without the owner tags of this BuildCache: it is left alone; rename or remove it"
    if tags is not None and identity is not None and (other := other_owner(tags, identity)) is not None:
        message = (
            f"{thing} belongs to BuildCache {other.namespace}/{other.name} of another cluster (cluster id {other.cluster_id}): "
            "it is left alone; give this BuildCache another name"
        )
        if part == REPOSITORY_PART:
            message += ", or create it anew with another spec.registry.repositoryName"
    elif tags is not None and identity is not None and (former := former_owner(tags, identity)) is not None:
        kept = "kept by its deletionPolicy Retain" if tags.get(POLICY_TAG) == "Retain" else "not removed with it"
        message = (
            f"{thing} is of an earlier BuildCache of this name (UID {former}), {kept}: it is not taken over. To use it, "
            f"set its tag {UID_TAG} to {identity.uid} by hand; to start afresh, remove it (`buildcache gc` finds it)"
        )
    return Conflict(part, Reason.FOREIGN_RESOURCE, message)
