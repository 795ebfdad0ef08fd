"""What can happen to one effect of the operator: a write to AWS or to the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CRASHES = {"kill before": "before", "kill after": "after"}
KINDS = ("lost", "reset", "throttle", "error")
KUBERNETES_KINDS = ("conflict",)
MODES = (*CRASHES, *KINDS, *KUBERNETES_KINDS)

REPEATED, KUBERNETES_REPEATED = 3, 2
"""How often a fault without an effect comes in a row: once would only be seen by the SDK of AWS, which tries twice. The client of
Kubernetes does not try again by itself: the operator sees each of these."""


@dataclass(frozen=True, slots=True, order=True)
class Effect:
    """A kind of write in one phase of a life; the first such call is the one that is hit."""

    phase: str
    operation: str
    """Of AWS: CreateFileSystem. Of Kubernetes, as RBAC says it: patch buildcaches/status."""

    @property
    def is_kubernetes(self) -> bool:
        """Verbs and resources have a space between them."""
        return " " in self.operation

    def modes(self) -> tuple[str, ...]:
        """What can happen to it."""
        return MODES if self.is_kubernetes else tuple(mode for mode in MODES if mode not in KUBERNETES_KINDS)


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that happens to one effect."""

    effect: Effect
    mode: str

    @property
    def kills(self) -> bool:
        """Whether the operator must be started again."""
        return self.mode in CRASHES

    def request(self) -> tuple[str, Any]:
        """Route and body for the lab's control surface."""
        key = "kubernetes" if self.effect.is_kubernetes else "operation"
        if self.kills:
            return "/operator/crash", {key: self.effect.operation, "when": CRASHES[self.mode]}
        repeated = KUBERNETES_REPEATED if self.effect.is_kubernetes else REPEATED
        times = 1 if self.mode == "lost" else repeated
        return "/faults", [{key: self.effect.operation, "kind": self.mode, "times": times}]
