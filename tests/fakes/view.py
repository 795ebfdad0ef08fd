"""A View over plain lists, for passes that run without the shell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from buildcache.core.admission import Line, line
from buildcache.core.build import Finished


@dataclass
class ListView:
    """What the shell would know, as a test sets it."""

    builds: list[Mapping[str, Any]] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    caches: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def cache(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.caches.get((namespace, name))

    def builds_of(self, namespace: str, cache_name: str) -> Sequence[Mapping[str, Any]]:
        return self.builds

    def line_of(self, namespace: str, cache_name: str) -> Line:
        return line(self.builds)

    def finished_of(self, namespace: str, cache_name: str) -> Sequence[Finished]:
        return self.finished

    def knows_history(self) -> bool:
        return True
