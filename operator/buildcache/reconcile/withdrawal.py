"""A Build that must go while it may have a task: find it, stop it, wait until it has stopped. Asked by the Build pass.

Nothing is let go before its task is gone, so that a Build deleted at any moment of its launch leaves no task behind (trap T57).
"""

from __future__ import annotations

import logging

from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.api.meta import Metadata
from buildcache.core import build_status
from buildcache.core.build import LOOK_PERIOD, created_at, moment, trusted_task
from buildcache.core.build_status import Stamp
from buildcache.core.errors import Denied, Rejected
from buildcache.core.intent import STOPPED_BY
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_state import MISSING_GRACE, Missing, Task, record_expired

from .case import MESSAGE, TROUBLE_PERIOD
from .executor import Executor
from .search import Search

logger = logging.getLogger(__name__)

_FOLLOW_PERIOD = 30.0


class Withdrawal:
    """Stops the task of a Build, if there is one."""

    def __init__(self, executor: Executor, search: Search) -> None:
        self._executor = executor
        self._search = search

    def withdraw(
        self, metadata: Metadata, status: BuildStatus, cache: BuildCache | None, why: str, at: Stamp
    ) -> tuple[BuildStatus, float | None]:
        """Return the status, and the seconds until the next look; None when no task of the Build is left."""
        try:
            told, again_after = self._withdraw(metadata, status, cache, why, at)
        except Rejected as error:
            if error.reason is not Reason.CLUSTER_NOT_FOUND:
                return _in_trouble(status, error, at)
            told, again_after = status, None
        except Denied as error:
            return _in_trouble(status, error, at)
        if again_after is None:
            self._search.forget(metadata.uid)
        return told, again_after

    def _withdraw(
        self, metadata: Metadata, status: BuildStatus, cache: BuildCache | None, why: str, at: Stamp
    ) -> tuple[BuildStatus, float | None]:
        uid = metadata.uid
        ref = trusted_task(status, cache)
        task: Task | None = None
        if ref is not None:
            sighting = self._executor.observe(ref, uid, at.now)
            seen = sighting.seen
            if seen is None:
                if sighting.trouble:
                    status = build_status.pending(status, Reason.CANCELLING, one_line(sighting.trouble, MESSAGE), at)
                return status, LOOK_PERIOD
            if isinstance(seen, Missing):
                launched = moment(status.attempts[-1].started_at) or created_at(metadata, at.now)
                if at.now - seen.since < MISSING_GRACE and not record_expired(seen, launched, at.now):
                    return status, LOOK_PERIOD
                self._executor.forget(ref, uid)
                return status, None
            if seen.started_by == uid:
                task = seen
            else:
                # Not ours, whatever the status says: it is left alone.
                self._executor.forget(ref, uid)
        if ref is None or task is None:
            found = self._search.look(uid, status, cache, at.now)
            if isinstance(found, Task):
                # Noted before it is stopped: ECS does not list by our name what shall stop, and a restart would wait for it in vain.
                return build_status.adopted(status, found, at), 0.0
            return status, None if found.final else LOOK_PERIOD
        if task.phase == "Stopped":
            self._executor.forget(ref, uid)
            return status, None
        wait = 0.0
        if task.desired_status != "STOPPED":
            logger.info("stopping task", extra={"task": ref.arn, "why": why})
            wait = self._executor.stop(ref, uid, f"{STOPPED_BY}{why}", at.now)
            seen = self._executor.observe(ref, uid, at.now).seen
            if isinstance(seen, Task) and seen.phase == "Stopped":
                self._executor.forget(ref, uid)
                return status, None
        told = build_status.pending(status, Reason.CANCELLING, f"{why}: its task is being stopped", at)
        return told, wait or _FOLLOW_PERIOD


def _in_trouble(status: BuildStatus, error: Denied | Rejected, at: Stamp) -> tuple[BuildStatus, float]:
    return build_status.pending(status, Reason.CANCELLING, one_line(str(error), MESSAGE), at), TROUBLE_PERIOD
