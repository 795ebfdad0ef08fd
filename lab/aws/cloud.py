"""The lab's AWS as one object: composition of moto, the filled gaps, the ECS agent, the call log and the fault layer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.aws import filling, world
from lab.aws.calls import CallLog
from lab.aws.faults import Faults
from lab.aws.limits import Limits
from lab.aws.rules import Rules
from lab.aws.server import Server
from lab.aws.task_api import TaskApi
from lab.aws.timing import Timing
from lab.aws.world import World
from lab.ecs.account import Account
from lab.ecs.agent import Agent, Pace
from lab.ecs.runtime import Runtime
from lab.ecs.simulated import Plan, Simulated


class Aws:
    """One AWS account and region on a loopback port.

    moto keeps its state in module globals, by account: `start` begins with an empty account, and two `Aws` that live in one process
    at the same time must have different ones.
    """

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        account: str = "123456789012",
        registry: str,
        runtime: Runtime | None = None,
        on_crash: Callable[[], None] = lambda: None,
        timing: Timing | None = None,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
        limits: bool = False,
    ) -> None:
        """Without a runtime, tasks are simulated. `registry` is the address that ECR answers for every repository.

        With `limits`, ECS throttles as AWS does.
        """
        self.region = region
        self.account = account
        self.registry = registry
        self.world: World
        """Ids of what exists from the start; set by `start`."""
        self._timing = timing or Timing()
        self._calls = CallLog()
        self._limits = Limits() if limits else None
        self._rules = Rules()
        self._on_crash = on_crash
        self._simulated = Simulated()
        self._runtime = runtime
        self._agent = Agent(Account(region, account), runtime or self._simulated, pace=pace, now=now)
        self._server: Server | None = None
        self._is_open = False

    def start(self) -> str:
        """Begin to serve; return the endpoint URL."""
        # The several hundred machine images of moto cost half a second and nobody here starts a machine.
        os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        setting = filling.Setting(registry=self.registry, timing=self._timing, task_counts=self._agent.counts)
        filling.open_account(self.account, setting)
        self._is_open = True
        self.world = world.create(self.region, self.account)
        application = TaskApi(self._agent, filling.application(self.account))
        self._server = Server(
            Faults(
                application,
                calls=self._calls,
                rules=self._rules,
                account=self.account,
                on_crash=self._on_crash,
                limits=self._limits,
            )
        )
        self._server.start()
        return self._server.url

    def stop(self) -> None:
        """Answer no more; end what runs of the runtimes. Also right after a start that failed."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._runtime is not None:
            self._runtime.close()
        self._simulated.close()
        self._agent.close()
        if self._is_open:
            self._is_open = False
            filling.close_account(self.account)

    @property
    def url(self) -> str:
        """The endpoint URL."""
        if self._server is None:
            raise RuntimeError("the lab's AWS is not running: call start() first")
        return self._server.url

    def calls(self, since: int = 0) -> dict[str, Any]:
        """Return the requests numbered `since` and up: {"next": N, "calls": [...]}."""
        return self._calls.since(since)

    def add_faults(self, rules: Iterable[Mapping[str, Any]]) -> None:
        """Add fault rules; ValueError names what is wrong, and then none is added."""
        self._rules.add(rules)

    def clear_faults(self) -> None:
        """Remove all fault rules and pending crashes."""
        self._rules.clear()

    def crash(self, operation: str, when: str) -> None:
        """Call `on_crash` at the next `operation`, "before" or "after" its effect, and answer nothing."""
        self._rules.add_crash(operation, when)

    def tasks(self) -> list[dict[str, Any]]:
        """Return all ECS tasks, as the control surface shows them."""
        return self._agent.summary()

    def interrupt(self, arn: str) -> None:
        """Interrupt a Spot task: LookupError when there is none, ValueError when it has ended."""
        self._agent.interrupt(arn)

    def set_runtime(self, name: str, plan: Mapping[str, Any] | None = None) -> None:
        """Choose what executes the tasks that start from now on: "docker", or "simulated" with its plan."""
        match name:
            case "simulated":
                self._simulated.plan = Plan.parse(plan or {})
                self._agent.runtime = self._simulated
                self._agent.containers_at_once = self._simulated.plan.containers_at_once
            case "docker":
                if self._runtime is None:
                    raise ValueError("this lab was started without Docker: only the simulated runtime is there")
                if plan:
                    raise ValueError("a plan is for the simulated runtime; the docker runtime runs what the task says")
                self._agent.runtime = self._runtime
                self._agent.containers_at_once = None
            case _:
                raise ValueError(f"runtime {name!r} is neither docker nor simulated")
