"""What a pass may know of other objects without a call: the newest bodies that the shell has seen.

Filled by `controller/store.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from buildcache.core.admission import Line
    from buildcache.core.build import Finished


class View(Protocol):
    """Reads are of one moment each; a pass that reads twice may see two moments."""

    def cache(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Return the newest BuildCache of that name, or None when there is none."""
        ...

    def builds_of(self, namespace: str, cache_name: str) -> Sequence[Mapping[str, Any]]:
        """Return the Builds of that cache that are not finished, oldest first, without their build arguments."""
        ...

    def line_of(self, namespace: str, cache_name: str) -> Line:
        """Return the line of that cache: who was admitted, and who waits."""
        ...

    def finished_of(self, namespace: str, cache_name: str) -> Sequence[Finished]:
        """Return up to 50 summaries of finished Builds of that cache, newest last."""
        ...

    def knows_history(self) -> bool:
        """Tell whether `finished_of` knows what was before this process began: not in its first seconds."""
        ...
