"""What can happen to one effect of the operator: a write to AWS or to the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CRASHES = {"kill before": "before", "kill after": "after"}
KINDS = ("lost", "reset", "throttle", "error")
KUBERNETES_KINDS = ("conflict",)
STATUS_KINDS = {"409 once": "conflict", "500 once": "error", "lost once": "lost"}
"""What happens once to one status write of a BuildCache. The status must be right soon after, not with the next look at AWS."""
STATUS_WRITE = "patch buildcaches/status"
MODES = (*CRASHES, *KINDS, *KUBERNETES_KINDS, *STATUS_KINDS)

REPEATED, KUBERNETES_REPEATED = 3, 2
"""How often a fault without an effect comes in a row: once would only be seen by the SDK of AWS, which tries twice. The client of
Kubernetes does not try again by itself: the operator sees each of these."""


@dataclass(frozen=True, slots=True, order=True)
class Effect:
    """A kind of write in one phase of a life."""

    phase: str
    operation: str
    """Of AWS: CreateFileSystem. Of Kubernetes, as RBAC says it: patch buildcaches/status."""
    turn: int = 1
    """Which of these calls in the phase is the one that is hit."""

    @property
    def is_kubernetes(self) -> bool:
        """Verbs and resources have a space between them."""
        return " " in self.operation

    def modes(self) -> tuple[str, ...]:
        """What can happen to it."""
        general = (*CRASHES, *KINDS, *(KUBERNETES_KINDS if self.is_kubernetes else ()))
        status = tuple(STATUS_KINDS) if self.operation == STATUS_WRITE else ()
        return (*(general if self.turn == 1 else ()), *status)

    def __str__(self) -> str:
        """For the table and for messages."""
        return self.operation if self.turn == 1 else f"{self.operation}, write {self.turn}"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that happens to one effect."""

    effect: Effect
    mode: str

    @property
    def kills(self) -> bool:
        """Whether the operator must be started again."""
        return self.mode in CRASHES

    @property
    def is_prompt(self) -> bool:
        """Whether what it leaves must be right soon after it."""
        return self.mode in STATUS_KINDS

    def request(self) -> tuple[str, Any]:
        """Route and body for the lab's control surface."""
        key = "kubernetes" if self.effect.is_kubernetes else "operation"
        if self.kills:
            return "/operator/crash", {key: self.effect.operation, "when": CRASHES[self.mode]}
        if self.is_prompt:
            return "/faults", [
                {key: self.effect.operation, "kind": STATUS_KINDS[self.mode], "skip": self.effect.turn - 1}
            ]
        repeated = KUBERNETES_REPEATED if self.effect.is_kubernetes else REPEATED
        times = 1 if self.mode == "lost" else repeated
        return "/faults", [{key: self.effect.operation, "kind": self.mode, "times": times}]
