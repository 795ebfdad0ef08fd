"""A Build that must go while it may have a task: find it, stop it, wait until it has stopped. Asked by the Build pass.

Nothing is let go before its task is gone, so that a Build deleted at any moment of its launch leaves no task behind (trap T57).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.api.meta import Metadata
from buildcache.core import build_status
from buildcache.core.build import LOOK_GRACE, LOOK_PERIOD, created_at, foreign_attempts, moment, trusted_task
from buildcache.core.build_status import Stamp
from buildcache.core.errors import Denied, Rejected
from buildcache.core.intent import STOPPED_BY
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_state import MISSING_GRACE, Missing, Task, record_expired

from .executor import Executor, cluster_of

logger = logging.getLogger(__name__)

_FOLLOW_PERIOD, _TROUBLE_PERIOD = 30.0, 60.0


class Withdrawal:
    """Stops the task of a Build, if there is one."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def withdraw(
        self,
        metadata: Metadata,
        status: BuildStatus,
        cache: BuildCache | None,
        since: datetime,
        why: str,
        now: datetime,
    ) -> tuple[BuildStatus, float | None]:
        """Return the status, and the seconds until the next look; None when no task of the Build is left.

        `since`: from then on nothing is started any more.
        """
        at = Stamp(metadata.generation, now)
        try:
            return self._withdraw(metadata, status, cache, since, why, at)
        except Rejected as error:
            if error.reason is Reason.CLUSTER_NOT_FOUND:
                return status, None
            return build_status.pending(status, Reason.CANCELLING, one_line(str(error), 512), at), _TROUBLE_PERIOD
        except Denied as error:
            return build_status.pending(status, Reason.CANCELLING, one_line(str(error), 512), at), _TROUBLE_PERIOD

    def _withdraw(
        self, metadata: Metadata, status: BuildStatus, cache: BuildCache | None, since: datetime, why: str, at: Stamp
    ) -> tuple[BuildStatus, float | None]:
        uid = metadata.uid
        ref = trusted_task(status, cache)
        task: Task | None = None
        if ref is not None:
            sighting = self._executor.observe(ref, uid, at.now)
            seen = sighting.seen
            if seen is None:
                if sighting.trouble:
                    status = build_status.pending(status, Reason.CANCELLING, one_line(sighting.trouble, 512), at)
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
            found = find_task(self._executor, uid, status, cache)
            if found is None:
                return status, LOOK_PERIOD if cache is not None and at.now - since < LOOK_GRACE else None
            # Noted before it is stopped: ECS does not list by our name what shall stop, and a restart would wait for it in vain.
            return build_status.adopted(status, found, at), 0.0
        if task.phase == "Stopped":
            self._executor.forget(ref, uid)
            return status, None
        wait = 0.0
        if task.desired_status != "STOPPED":
            logger.info("stopping task", extra={"build": uid, "task": ref.arn, "why": why})
            wait = self._executor.stop(ref, uid, f"{STOPPED_BY}{why}", at.now)
        told = build_status.pending(status, Reason.CANCELLING, f"{why}: its task is being stopped", at)
        return told, wait or _FOLLOW_PERIOD


def find_task(
    executor: Executor, uid: str, status: BuildStatus, cache: BuildCache | None, families: Sequence[str] = ()
) -> Task | None:
    """Look for a task of the current attempt that no status tells of; without a BuildCache nobody knows where."""
    if cache is None:
        return None
    found = executor.find(cluster_of(cache.spec.region, cache.spec.cluster_arn), uid, families)
    return None if found is None or found.arn in foreign_attempts(status) else found
