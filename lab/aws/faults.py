"""The outermost WSGI layer of the lab's AWS: logs each call and makes the calls fail that the rules name."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from lab.aws import answers
from lab.aws.calls import CallLog
from lab.aws.limits import Limits
from lab.aws.operations import Operation, identify
from lab.aws.rules import Rule, Rules
from lab.aws.server import drop

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

OPERATION = "lab.operation"
"""Key of the WSGI environ under which inner layers find the identified operation."""
BODY = "lab.body"
"""Key of the WSGI environ under which inner layers find the request body."""


class Faults:
    """Wraps the AWS application."""

    def __init__(
        self,
        application: WSGIApplication,
        *,
        calls: CallLog,
        rules: Rules,
        account: str,
        on_crash: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        self._application = application
        self._calls = calls
        self._rules = rules
        self._account = account
        self._on_crash = on_crash
        self._limits = limits

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        body = _read(environ)
        if environ.get("PATH_INFO", "").startswith("/moto-api"):
            return self._application(environ, start_response)
        operation = identify(environ, body)
        environ[OPERATION] = operation
        environ[BODY] = body
        entry = self._calls.arrived(operation)
        crash = self._rules.take_crash(operation.name)
        if crash is not None:
            if crash == "after":
                self._perform(environ, entry)
            self._on_crash()
            drop(environ)
        if self._limits is not None and not self._limits.allows(operation.name):
            throttled = answers.throttled(operation)
            self._calls.answered(entry, throttled.status)
            start_response(throttled.status_line, list(throttled.headers))
            return [throttled.body]
        rule = self._rules.take_fault(operation.name, operation.region)
        if rule is not None:
            answer = self._fault(rule, operation, environ, entry)
            if answer is not None:
                self._calls.answered(entry, answer.status)
                start_response(answer.status_line, list(answer.headers))
                return [answer.body]
        status, headers, chunks = self._perform(environ, entry)
        start_response(status, headers)
        return chunks

    def _fault(
        self, rule: Rule, operation: Operation, environ: dict[str, Any], entry: dict[str, Any]
    ) -> answers.Answer | None:
        """Return the answer of the rule; None lets the call go on."""
        match rule.kind:
            case "throttle":
                return answers.throttled(operation)
            case "error":
                return answers.failed(operation, rule.code, rule.status)
            case "denied":
                return answers.denied(operation, self._account)
            case "failures":
                cluster = f"arn:aws:ecs:{operation.region}:{self._account}:container-instance/builds/lab"
                return answers.success({"tasks": [], "failures": [{"arn": cluster, "reason": rule.reason}]})
            case "delay":
                time.sleep(rule.seconds)
                return None
            case "hang":
                # As a blackholed endpoint: no effect and no answer, for as long as the rule is there.
                while self._rules.is_in_force(rule):
                    time.sleep(0.2)
                drop(environ)
            case "reset":
                drop(environ)
            case "lost":
                self._perform(environ, entry)
                drop(environ)

    def _perform(
        self, environ: dict[str, Any], entry: dict[str, Any]
    ) -> tuple[str, list[tuple[str, str]], list[bytes]]:
        """Run the call to its end and keep the answer, so that its effect does not depend on the client still being there."""
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            started.append((status, headers))
            return lambda data: None

        try:
            with contextlib.ExitStack() as closing:
                result = self._application(environ, start_response)
                closing.callback(getattr(result, "close", lambda: None))
                chunks = [bytes(chunk) for chunk in result]
        except Exception:
            # The server turns it into a 500 with an HTML body, and shows the traceback in the lab's log.
            self._calls.answered(entry, 500)
            raise
        status, headers = started[-1]
        self._calls.answered(entry, int(status.split(None, 1)[0]))
        return status, headers, chunks


def _read(environ: dict[str, Any]) -> bytes:
    """Read the body whole and put it back, so that each layer can read it."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body: bytes = stream.read()
        environ["CONTENT_LENGTH"] = str(len(body))
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body
