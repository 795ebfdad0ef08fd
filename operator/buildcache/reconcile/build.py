"""The Build pass: one call for each Build that has news.

Decisions are in `core/build.py`, statuses in `core/build_status.py` and `core/build_end.py`. A Build without a task is handled in
`launch.py`, one with a task in `follow.py` (a stopped one is read in `collection.py`), one that must go while its task runs in
`withdrawal.py`. In them is the order in which the outside world is asked, and what it means when an answer does not come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from buildcache.api.build import Build
from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.api.meta import FINISHED_LABEL, Metadata
from buildcache.api.problems import problems, summary
from buildcache.core import build_end, build_status
from buildcache.core.build import is_held, is_terminal, trusted_task
from buildcache.core.build_end import Evidence
from buildcache.core.build_status import Stamp
from buildcache.core.errors import Unavailable
from buildcache.core.log_text import one_line
from buildcache.core.status import Reason
from buildcache.core.task_outcome import Failed

from .case import MESSAGE, Case, changed, disowned, ended, located
from .executor import Executor
from .follow import Follower
from .launch import Launcher
from .outcome import Outcome
from .search import Search
from .view import View
from .withdrawal import Withdrawal


class BuildReconciler:
    """Implements `outcome.Reconciler` for Builds. `cluster_id` is part of every token: BUILDCACHE_CLUSTER_ID.

    `doubt` is called with the UID of a BuildCache whose status names parts that AWS does not have.
    """

    def __init__(
        self, view: View, executor: Executor, *, cluster_id: str, doubt: Callable[[str], None] = lambda uid: None
    ) -> None:
        self._view = view
        search = Search(executor)
        self._launcher = Launcher(view, executor, search, cluster_id=cluster_id, doubt=doubt)
        self._follower = Follower(view, executor, search)
        self._withdrawal = Withdrawal(executor, search)

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        """Bring one Build further."""
        metadata = Metadata.model_validate(body["metadata"])
        status = _read_status(body)
        if is_terminal(status.conditions):
            done = FINISHED_LABEL in metadata.labels and not is_held(metadata)
            return Outcome() if done or (metadata.deletion_timestamp and not is_held(metadata)) else _RELEASE
        try:
            if metadata.deletion_timestamp is not None:
                return self._delete(body, metadata, status, now)
            try:
                build = Build.parse({**body, "status": status})
            except ValidationError as error:
                return self._refuse(body, metadata, status, error, now)
            cache, problem = self._cache(metadata.namespace, build.spec.cache_ref.name)
            return self._advance(Case(build, cache, problem, now))
        except Unavailable as error:
            told = build_status.troubled(status, one_line(str(error), MESSAGE), Stamp(metadata.generation, now))
            return changed(status, told, failed=True)

    def _advance(self, case: Case) -> Outcome:
        ref = trusted_task(case.status, case.cache)
        followed = self._follower.follow(located(case, ref), ref) if ref is not None else None
        if followed is not None:
            return followed
        if case.status.attempts and case.status.attempts[-1].task_arn is not None:
            case = disowned(case)
        return self._launcher.launch(case)

    # Builds that cannot or shall not go on

    def _delete(self, body: Mapping[str, Any], metadata: Metadata, status: BuildStatus, now: datetime) -> Outcome:
        if not is_held(metadata):
            return Outcome()
        waiting = self._withdraw(body, metadata, status, "the Build is deleted", now)
        return waiting or _RELEASE

    def _refuse(
        self, body: Mapping[str, Any], metadata: Metadata, status: BuildStatus, error: ValidationError, now: datetime
    ) -> Outcome:
        """The spec is older than the rules, or the rules were not there: nothing is started, and what runs is stopped."""
        if is_held(metadata):
            waiting = self._withdraw(body, metadata, status, "the Build's spec is not valid", now)
            if waiting is not None:
                return waiting
        failure = Failed(
            Reason.INVALID_SPEC, summary(problems(error)), hint="correct the fields and create a new Build"
        )
        return ended(build_end.failed(status, metadata, failure, Evidence(), Stamp(metadata.generation, now)))

    def _withdraw(
        self,
        body: Mapping[str, Any],
        metadata: Metadata,
        status: BuildStatus,
        why: str,
        now: datetime,
    ) -> Outcome | None:
        reference = (body.get("spec") or {}).get("cacheRef") or {}
        cache, _ = self._cache(metadata.namespace, str(reference.get("name", "")))
        told, waiting = self._withdrawal.withdraw(metadata, status, cache, why, Stamp(metadata.generation, now))
        return None if waiting is None else changed(status, told, again_after=waiting)

    def _cache(self, namespace: str, name: str) -> tuple[BuildCache | None, str]:
        body = self._view.cache(namespace, name)
        if body is None:
            return None, ""
        try:
            return BuildCache.parse(body), ""
        except ValidationError as error:
            return None, summary(problems(error))


_RELEASE = Outcome(finalizer="release")


def _read_status(body: Mapping[str, Any]) -> BuildStatus:
    """The status, or an empty one when it cannot be parsed: status is output, and losing it must do no harm."""
    try:
        return BuildStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return BuildStatus()
