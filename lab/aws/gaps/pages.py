"""Lists in pages, for services whose lists moto answers whole."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any


def page(items: Sequence[Any], size: int, token: str | None) -> tuple[Sequence[Any], str | None]:
    """Return the page that `token` stands for, and the token of the next one."""
    start = int(b64decode(token)) if token else 0
    end = start + size
    return items[start:end], b64encode(str(end).encode()).decode() if end < len(items) else None
