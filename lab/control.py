"""The lab's control surface: HTTP routes by which tests and people count calls, inject faults and kill the operator.

A contract with checks outside the project: routes, fields and answers change only together with the design. It decides
nothing itself; the three protocols say what stands behind it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from lab.kube_faults import Rule, parse_crash, parse_rule

logger = logging.getLogger(__name__)

Answer = Mapping[str, Any] | Sequence[Any]


class CloudControl(Protocol):
    """AWS and ECS of the lab; bad input is a ValueError or LookupError that says what is wrong."""

    def calls(self, since: int) -> Mapping[str, Any]:
        """Every request from number `since` on."""

    def add_faults(self, rules: list[dict[str, Any]]) -> None:
        """All of them or, with an error, none."""

    def clear_faults(self) -> None:
        """No rule is left."""

    def crash(self, operation: str, when: str) -> None:
        """Kill the operator at the next such call."""

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks of ECS."""

    def interrupt(self, arn: str) -> None:
        """Take the task's Spot capacity away."""

    def set_runtime(self, name: str, plan: dict[str, Any] | None) -> None:
        """For tasks started from now on."""


class ApiControl(Protocol):
    """The proxy before the API server."""

    def add(self, rules: Sequence[Rule]) -> None:
        """In force at once."""

    def clear(self) -> None:
        """No rule is left."""


class OperatorControl(Protocol):
    """The operator's process."""

    @property
    def pid(self) -> int | None:
        """None while none runs."""

    def start(self) -> int:
        """Its pid."""

    def stop(self) -> tuple[int | None, int | None]:
        """The pid it had and its exit code."""

    def kill(self) -> int | None:
        """The pid it had."""


class Control:
    """Handlers of the routes; `application` serves them."""

    def __init__(self, cloud: CloudControl, api: ApiControl, operator: OperatorControl) -> None:
        self._cloud = cloud
        self._api = api
        self._operator = operator

    def application(self) -> web.Application:
        """All routes; whatever goes wrong answers {"error": text}."""
        application = web.Application(middlewares=[_errors_as_json])
        application.add_routes(
            [
                web.get("/calls", self._calls),
                web.post("/faults", _with_body(self.add_faults)),
                web.delete("/faults", _without_body(self.clear_faults)),
                web.get("/operator", _without_body(self.operator)),
                web.post("/operator/kill", _without_body(self.kill)),
                web.post("/operator/stop", _without_body(self.stop)),
                web.post("/operator/start", _without_body(self.start)),
                web.post("/operator/crash", _with_body(self.crash)),
                web.get("/tasks", _without_body(self._cloud.tasks)),
                web.post("/tasks/interrupt", _with_body(self.interrupt)),
                web.post("/ecs/runtime", _with_body(self.set_runtime)),
            ]
        )
        return application

    async def _calls(self, request: web.Request) -> web.Response:
        text = request.query.get("since", "0")
        if not text.isdecimal():
            raise ValueError(f"since must be a whole number, not {text!r}")
        return web.json_response(await asyncio.to_thread(self._cloud.calls, int(text)))

    def add_faults(self, body: Any) -> Answer:
        """Rules for AWS (`operation`) and for the API server (`kubernetes`); none is added when one is wrong."""
        if not isinstance(body, list) or not all(isinstance(rule, dict) for rule in body):
            raise ValueError('the body must be a list of rules such as {"operation": "RunTask", "kind": "throttle"}')
        for rule in body:
            if ("kubernetes" in rule) == ("operation" in rule):
                raise ValueError(f"a rule names either an AWS operation or a kubernetes one: {json.dumps(rule)}")
        api = [parse_rule(rule) for rule in body if "kubernetes" in rule]
        cloud = [rule for rule in body if "operation" in rule]
        if cloud:
            self._cloud.add_faults(cloud)
        self._api.add(api)
        return {"added": len(body)}

    def clear_faults(self) -> Answer:
        """Every rule is gone, also those for a crash that did not happen."""
        self._cloud.clear_faults()
        self._api.clear()
        return {"added": 0}

    def operator(self) -> Answer:
        """Whether it runs."""
        return {"pid": self._operator.pid}

    def kill(self) -> Answer:
        """SIGKILL."""
        return {"pid": self._operator.kill()}

    def stop(self) -> Answer:
        """SIGTERM, answered when it is gone."""
        pid, code = self._operator.stop()
        return {"pid": pid, "exitCode": code}

    def start(self) -> Answer:
        """Answered when the process is there, not when it is ready."""
        return {"pid": self._operator.start()}

    def crash(self, body: Any) -> Answer:
        """The operator dies at its next such call."""
        given = _fields(body, {"operation", "kubernetes", "when"})
        if ("kubernetes" in given) == ("operation" in given):
            raise ValueError("a crash names either an AWS operation or a kubernetes one")
        if "kubernetes" in given:
            self._api.add([parse_crash(given)])
        else:
            when = _text(given, "when")
            if when not in ("before", "after"):
                raise ValueError(f"when must be 'before' or 'after'; not {when!r}")
            self._cloud.crash(_text(given, "operation"), when)
        return {"armed": given}

    def interrupt(self, body: Any) -> Answer:
        """The task loses its Spot capacity."""
        given = _fields(body, {"arn"})
        self._cloud.interrupt(_text(given, "arn"))
        return given

    def set_runtime(self, body: Any) -> Answer:
        """How tasks started from now on run."""
        given = _fields(body, {"runtime", "plan"})
        plan = given.get("plan")
        if plan is not None and not isinstance(plan, dict):
            raise ValueError(f"plan must be an object; not {plan!r}")
        self._cloud.set_runtime(_text(given, "runtime"), plan)
        return given


def _fields(body: Any, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError(f"the body must be an object with {', '.join(sorted(allowed))}")
    if unknown := set(body) - allowed:
        raise ValueError(f"there is no field {sorted(unknown)[0]!r}; there is {', '.join(sorted(allowed))}")
    return dict(body)


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a text; not {value!r}")
    return value


def _without_body(action: Callable[[], Answer]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        # In a thread: stopping the operator takes its time, and the loop also carries the operator's API requests.
        return web.json_response(await asyncio.to_thread(action))

    return handle


def _with_body(action: Callable[[Any], Answer]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from error
        return web.json_response(await asyncio.to_thread(action, body))

    return handle


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        return web.json_response({"error": f"{request.method} {request.path}: {error.reason}"}, status=error.status)
    except (ValueError, LookupError) as error:
        return web.json_response({"error": str(error.args[0]) if error.args else str(error)}, status=400)
    except Exception as error:
        logger.exception("a control route failed", extra={"route": f"{request.method} {request.path}"})
        return web.json_response({"error": f"the lab itself failed: {error!r}"}, status=500)
