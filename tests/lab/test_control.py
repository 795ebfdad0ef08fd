"""Routes of the control surface: what arrives behind them, what they answer, and how bad input is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from lab.control import Control
from lab.kube_faults import Rule

ARN = "arn:aws:ecs:us-east-1:123456789012:task/builds/t1"


@dataclass
class FakeCloud:
    """Holds what it was told."""

    rules: list[Mapping[str, Any]] = field(default_factory=list)
    crashes: list[tuple[str, str]] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    runtime: list[tuple[str, Any]] = field(default_factory=list)

    def calls(self, since: int = 0) -> dict[str, Any]:
        calls = [{"n": n, "service": "ecs", "operation": "RunTask"} for n in range(3)]
        return {"next": 3, "calls": calls[since:]}

    def add_faults(self, rules: Sequence[Mapping[str, Any]]) -> None:
        if any(rule.get("kind") == "explode" for rule in rules):
            raise ValueError("kind 'explode' is none")
        self.rules += rules

    def clear_faults(self) -> None:
        self.rules.clear()
        self.crashes.clear()

    def crash(self, operation: str, when: str) -> None:
        self.crashes.append((operation, when))

    def tasks(self) -> list[dict[str, Any]]:
        return [{"arn": ARN, "status": "RUNNING"}]

    def interrupt(self, arn: str) -> None:
        if arn != ARN:
            raise LookupError(f"there is no task {arn}")
        self.interrupted.append(arn)

    def set_runtime(self, name: str, plan: Mapping[str, Any] | None = None) -> None:
        self.runtime.append((name, plan))


@dataclass
class FakeApi:
    rules: list[Rule] = field(default_factory=list)

    def add(self, rules: Sequence[Rule]) -> None:
        self.rules += rules

    def clear(self) -> None:
        self.rules.clear()


@dataclass
class FakeOperator:
    pid: int | None = 100
    next: int = 101

    def start(self) -> int:
        if self.pid is None:
            self.pid, self.next = self.next, self.next + 1
        return self.pid

    def stop(self) -> tuple[int | None, int | None]:
        pid, self.pid = self.pid, None
        return pid, 0 if pid else None

    def kill(self) -> int | None:
        pid, self.pid = self.pid, None
        return pid


@dataclass
class Surface:
    """The routes over HTTP, and what stands behind them."""

    cloud: FakeCloud
    api: FakeApi
    operator: FakeOperator
    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        async with self.session.request(method, self.url + path, **options) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def surface() -> AsyncIterator[Surface]:
    cloud, api, operator = FakeCloud(), FakeApi(), FakeOperator()
    runner = web.AppRunner(Control(cloud, api, operator).application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Surface(cloud, api, operator, session, f"http://127.0.0.1:{runner.addresses[0][1]}")
    await runner.cleanup()


async def test_calls_are_answered_from_the_asked_number_on(surface: Surface) -> None:
    code, answer = await surface.ask("GET", "/calls?since=2")
    assert (code, answer["next"], [call["n"] for call in answer["calls"]]) == (200, 3, [2])
    _, answer = await surface.ask("GET", "/calls")
    assert len(answer["calls"]) == 3


async def test_fault_rules_go_to_the_side_they_name(surface: Surface) -> None:
    rules = [
        {"operation": "RunTask", "kind": "throttle", "times": 1},
        {"kubernetes": "patch builds/status", "kind": "conflict", "times": 2},
        {"kubernetes": "watch builds", "kind": "gone"},
    ]
    assert await surface.ask("POST", "/faults", json=rules) == (200, {"added": 3})
    assert surface.cloud.rules == rules[:1]
    assert [(rule.operation.text, rule.kind, rule.times) for rule in surface.api.rules] == [
        ("patch builds/status", "conflict", 2),
        ("watch builds", "gone", 1),
    ]
    assert (await surface.ask("DELETE", "/faults"))[0] == 200
    assert (surface.cloud.rules, surface.api.rules) == ([], [])


@pytest.mark.parametrize(
    "bad",
    [
        {"operation": "RunTask", "kind": "explode"},
        {"kubernetes": "patch builds", "kind": "explode"},
        {"kind": "throttle"},
        {"operation": "RunTask", "kubernetes": "patch builds", "kind": "error"},
    ],
)
async def test_one_bad_rule_adds_none(surface: Surface, bad: dict[str, Any]) -> None:
    good = [{"operation": "RunTask", "kind": "throttle"}, {"kubernetes": "patch builds", "kind": "error"}]
    code, answer = await surface.ask("POST", "/faults", json=[*good, bad])
    assert code == 400
    assert answer["error"]
    assert (surface.cloud.rules, surface.api.rules) == ([], [])


async def test_the_operator_is_killed_stopped_and_started_by_pid(surface: Surface) -> None:
    assert await surface.ask("POST", "/operator/kill") == (200, {"pid": 100})
    assert await surface.ask("POST", "/operator/kill") == (200, {"pid": None})
    assert await surface.ask("POST", "/operator/start") == (200, {"pid": 101})
    assert await surface.ask("POST", "/operator/start") == (200, {"pid": 101})
    assert await surface.ask("POST", "/operator/stop") == (200, {"pid": 101, "exitCode": 0})


async def test_a_crash_is_armed_on_the_side_it_names(surface: Surface) -> None:
    assert (await surface.ask("POST", "/operator/crash", json={"operation": "RunTask", "when": "after"}))[0] == 200
    assert surface.cloud.crashes == [("RunTask", "after")]
    body = {"kubernetes": "patch builds/status", "when": "before"}
    assert (await surface.ask("POST", "/operator/crash", json=body))[0] == 200
    assert [(rule.operation.text, rule.kind, rule.times) for rule in surface.api.rules] == [
        ("patch builds/status", "crash-before", 1)
    ]


async def test_tasks_are_listed_and_interrupted(surface: Surface) -> None:
    assert await surface.ask("GET", "/tasks") == (200, [{"arn": ARN, "status": "RUNNING"}])
    assert (await surface.ask("POST", "/tasks/interrupt", json={"arn": ARN}))[0] == 200
    assert surface.cloud.interrupted == [ARN]


async def test_the_runtime_changes_for_tasks_from_now_on(surface: Surface) -> None:
    plan = {"build": 1.5, "exitCodes": {"build": 1}}
    assert (await surface.ask("POST", "/ecs/runtime", json={"runtime": "simulated", "plan": plan}))[0] == 200
    assert (await surface.ask("POST", "/ecs/runtime", json={"runtime": "docker"}))[0] == 200
    assert surface.cloud.runtime == [("simulated", plan), ("docker", None)]


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "/calls?since=x", None, "since must be"),
        ("GET", "/calls?since=-1", None, "since must be"),
        ("POST", "/faults", "{", "not JSON"),
        ("POST", "/faults", '{"operation": "RunTask"}', "must be a list"),
        ("POST", "/faults", "[1]", "must be a list"),
        ("POST", "/operator/crash", '{"operation": "RunTask"}', "when must be"),
        ("POST", "/operator/crash", '{"operation": "RunTask", "when": "during"}', "when must be"),
        ("POST", "/operator/crash", '{"when": "after"}', "names either"),
        ("POST", "/operator/crash", '{"kubernetes": "get builds", "when": "after"}', "is none"),
        ("POST", "/operator/crash", "[]", "must be an object"),
        ("POST", "/tasks/interrupt", "{}", "arn must be"),
        ("POST", "/tasks/interrupt", '{"arn": "nobody"}', "there is no task nobody"),
        ("POST", "/ecs/runtime", '{"runtime": "simulated", "plan": 1}', "plan must be"),
        ("POST", "/ecs/runtime", '{"name": "docker"}', "no field 'name'"),
    ],
)
async def test_bad_input_is_refused_with_its_reason(
    surface: Surface, method: str, path: str, body: str | None, said: str
) -> None:
    code, answer = await surface.ask(method, path, data=body)
    assert code == 400
    assert said in answer["error"]


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/nothing", 404), ("DELETE", "/tasks", 405)])
async def test_an_unknown_route_is_refused_as_json(surface: Surface, method: str, path: str, code: int) -> None:
    got, answer = await surface.ask(method, path)
    assert got == code
    assert path in answer["error"]
