"""When to look again: spread over time, so that a thousand caches do not ask AWS in the same second, and the same in every run."""

import hashlib
from datetime import datetime

SPREAD = 0.1
"""Share of an interval by which a look may come earlier or later."""


def jittered(seconds: float, uid: str, now: datetime) -> float:
    """The interval, moved by up to a tenth; how far depends on the object and on the interval that `now` is in."""
    bucket = int(now.timestamp() // seconds)
    digest = hashlib.sha256(f"{uid}:{bucket}".encode()).digest()
    share = int.from_bytes(digest[:4]) / 0xFFFFFFFF
    return seconds * (1 - SPREAD + 2 * SPREAD * share)
