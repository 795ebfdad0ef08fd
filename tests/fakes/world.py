"""One Build with its cache, ECS and shell, all in memory."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from buildcache.aws.tasks import Refused
from buildcache.core.report import Report
from buildcache.core.status import Reason
from buildcache.reconcile.build import BuildReconciler
from buildcache.reconcile.outcome import Outcome
from tests.fakes.builds import DIGEST, START, FakeView, Shell, build_body, cache_body
from tests.fakes.executor import FakeExecutor

REPORT = Report(
    digest=DIGEST,
    size_bytes=7,
    commit="3f2c1ab9",
    steps=(6, 0),
    imported=False,
    exported=True,
    source_seconds=1,
    build_seconds=9,
)
NO_ROOM = Refused(Reason.WAITING_FOR_CAPACITY, "RESOURCE:MEMORY")
THROTTLED = Refused(Reason.THROTTLED, "AWS limits how fast tasks are started")


class World:
    """One Build with its cache, ECS and shell."""

    def __init__(self, cache: dict[str, Any] | None = None, **build: Any) -> None:
        self.ecs = FakeExecutor()
        self.view = FakeView(cache_body() if cache is None else cache)
        self.shell = Shell(BuildReconciler(self.view, self.ecs, cluster_id="test"), build_body(**build))

    def restart(self) -> None:
        """A new process: only Kubernetes and ECS remember."""
        self.shell.reconciler = BuildReconciler(self.view, self.ecs, cluster_id="test")

    def launched(self) -> str:
        self.shell.settle()
        return self.ecs.only().arn

    def finish(self, **end: Any) -> Outcome:
        """The task runs and ends, its report is there, the Build sees it."""
        arn = self.ecs.only().arn
        self.ecs.reports.setdefault(arn, REPORT)
        self.ecs.tails.setdefault((arn, "build"), "ERROR: exit code: 1")
        self.ecs.tails.setdefault((arn, "fetch"), "fetch: not found")
        self.ecs.end(arn, self.shell.now, **end)
        return self.shell.settle()


SPOT: dict[str, Any] = {"stop_code": "SpotInterruption", "reason": "Your Spot Task was interrupted."}


def cancel(world: World) -> None:
    """A person sets spec.cancel."""
    world.shell.body["spec"]["cancel"] = True
    world.shell.body["metadata"]["generation"] += 1


def stopped(world: World, code: int | None = 137) -> None:
    """ECS has carried out our StopTask."""
    arn = world.shell.status["attempts"][-1]["taskARN"]
    world.ecs.end(
        arn,
        world.shell.now,
        codes={"fetch": 0, "build": code, "report": None},
        stop_code="UserInitiated",
        reason=world.ecs.tasks[arn].stopped_reason,
    )
    world.shell.settle()


def others(count: int, *, held: bool = False, seconds: int = 10) -> list[dict[str, Any]]:
    """Builds of the same cache, created before ours."""
    return [
        build_body(uid=f"other-{number}", held=held, created=START - timedelta(seconds=seconds))
        for number in range(count)
    ]
