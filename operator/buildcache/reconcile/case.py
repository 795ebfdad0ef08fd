"""What one Build pass looks at, and the outcomes that more than one part of it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from buildcache.api.build import Build
from buildcache.api.build_status import BuildStatus
from buildcache.api.cache import BuildCache
from buildcache.core import build_end, build_status
from buildcache.core.build_end import Evidence
from buildcache.core.build_status import Stamp
from buildcache.core.task_outcome import Failed
from buildcache.core.task_state import TaskRef

from .outcome import Outcome

MESSAGE = 512
"""Characters of AWS's words that a status repeats."""

TROUBLE_PERIOD = 60.0
"""Seconds between passes over a Build whose task the operator may not look at or stop."""


@dataclass(frozen=True, slots=True)
class Case:
    """One pass's view of its Build."""

    build: Build
    cache: BuildCache | None
    cache_problem: str
    """Why the BuildCache that exists cannot be read; empty when it can, or when there is none."""

    now: datetime

    @property
    def status(self) -> BuildStatus:
        """The Build's, as it was last written."""
        return self.build.status

    @property
    def uid(self) -> str:
        """The Build's."""
        return self.build.metadata.uid

    @property
    def at(self) -> Stamp:
        """For the conditions of this pass."""
        return Stamp(self.build.metadata.generation, self.now)


def changed(
    before: BuildStatus, after: BuildStatus, *, again_after: float | None = None, failed: bool = False
) -> Outcome:
    """The outcome of a pass after which the Build goes on; without news in it nothing is written."""
    return Outcome(None if after == before else after.to_json(), again_after=again_after, failed=failed)


def ended(status: BuildStatus) -> Outcome:
    """The outcome of the last pass: the terminal status, and the Build is let go."""
    return Outcome(status.to_json(), finalizer="release")


def failed(case: Case, failure: Failed, evidence: Evidence | None = None) -> Outcome:
    """The outcome of a pass that ends the Build without success."""
    return ended(build_end.failed(case.status, case.build.metadata, failure, evidence or Evidence(), case.at))


def disowned(case: Case) -> Case:
    """The same Build, without the task that its status names and that is not its own."""
    build = case.build.model_copy(update={"status": build_status.disowned(case.status)})
    return Case(build, case.cache, case.cache_problem, case.now)


def located(case: Case, ref: TaskRef) -> Case:
    """The same Build, with the log of its task where the status does not have it yet."""
    status = build_status.located(case.status, case.cache, ref.arn)
    return Case(case.build.model_copy(update={"status": status}), case.cache, case.cache_problem, case.now)
