"""What a pass hands to the shell: the only way from `reconcile` back to Kubernetes.

Made by the passes, carried out by `controller/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one pass over one object.

    An expected failure is a value here and never an exception: what a pass raises is a bug.
    """

    status: Mapping[str, Any] | None = None
    """The whole new status in JSON names, or None: leave it as it is. An unchanged one is not written."""

    finalizer: Literal["keep", "add", "release"] = "keep"
    """add: after the status, write the finalizer and run the pass again at once on the answered object; the pass did nothing else.
    release: after the status, take the finalizer off (and put a Build's finished label on, in the same patch)."""

    again_after: float | None = None
    """Seconds until the key is queued again. None: only when something changes."""

    failed: bool = False
    """True: transient trouble. The queue's backoff for this key decides the delay instead of `again_after`."""


class Reconciler(Protocol):
    """One synchronous pass: observe, desired, plan, apply, status. Never two at once for one object."""

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        """Bring AWS nearer to what `body` asks for and say what came of it."""
        ...
