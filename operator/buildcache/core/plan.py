"""What a plan is: the value between the decisions of `cache.py` and `teardown.py` and the passes that carry them out."""

from dataclasses import dataclass

from .action import Action
from .status import Reason


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

    def __add__(self, other: "Plan") -> "Plan":
        """Both, this one's actions first."""
        return Plan(
            self.actions + other.actions,
            self.waiting + other.waiting,
            self.conflicts + other.conflicts,
            self.blocked or other.blocked,
        )


@dataclass(frozen=True, slots=True)
class Use:
    """Who needs task definitions as they are: those of running Builds, and those that the status names to coming ones."""

    running: frozenset[str] = frozenset()
    published: frozenset[str] = frozenset()


def foreign(part: str, thing: str) -> Conflict:
    """A name or a place of ours is taken by something without our tags."""
    message = f"{thing} exists without the owner tags of this BuildCache: it is left alone; rename or remove it"
    return Conflict(part, Reason.FOREIGN_RESOURCE, message)
