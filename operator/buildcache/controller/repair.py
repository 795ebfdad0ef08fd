"""The store against the API server: what events have not brought, both ways. Called by the shell in worker threads."""

from __future__ import annotations

import logging

from .objects import Key, KindName
from .store import Store
from .writer import UNFINISHED, Refused, Writer

logger = logging.getLogger(__name__)

INTERVAL = 600.0
"""Seconds between repairs."""


class Repair:
    """Lists a kind page by page and keeps no more of it than the keys: what the store knows in that version is passed over."""

    def __init__(self, store: Store, writer: Writer) -> None:
        self._store = store
        self._writer = writer

    def make(self, kind: KindName, namespace: str) -> list[Key] | None:
        """Compare a namespace, or all of them; return the keys of which the store had missed something, None when they cannot be listed."""
        since = self._store.begin_read()
        listed: set[Key] = set()
        missed: list[Key] = []
        selector = UNFINISHED if kind == "Build" else ""
        for page in self._writer.pages(kind, (namespace,) if namespace else (), selector):
            if isinstance(page, Refused):
                where = namespace or "all namespaces"
                logger.warning("could not list", extra={"kind": kind, "objects_of": where, "error": page.message})
                return None
            missed += self._store.repair(kind, page, since, listed)
        return missed + self._store.repaired(kind, namespace, listed, since)
