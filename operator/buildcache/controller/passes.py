"""One hop into a worker thread: run the pass, carry out its Outcome, put what the API server answers into the store."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from buildcache.api.meta import Condition
from buildcache.core.status import ConditionType, Reason, set_condition
from buildcache.reconcile.outcome import Outcome, Reconciler

from . import logs
from .objects import Body, Key, KindName, condition_of, identity, is_terminal, uid_of
from .store import Store
from .writer import Conflict, Gone, Refused, Result, Writer, Written

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""Passes in one hop: one that only puts the finalizer on, and some more when others write to the object meanwhile."""


class Verdict(enum.Enum):
    """How a hop ended; decides when the key comes again."""

    SETTLED = "settled"
    FAILED = "failed"
    CONFLICT = "conflict"
    REFUSED = "refused"
    BUG = "bug"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Done:
    """What the worker needs to know of a hop."""

    verdict: Verdict
    body: Body | None = None
    """The newest body that was dealt with."""
    changed: bool = False
    """Whether anything was written to the object."""
    again_after: float | None = None
    at_least: float = 0.0
    message: str = ""


class Passes:
    """Makes the passes of one kind. Called from several threads, never from two for one key."""

    def __init__(
        self,
        kind: KindName,
        reconciler: Reconciler,
        *,
        store: Store,
        writer: Writer,
        now: Callable[[], datetime],
        changed: Callable[[KindName, Body, Body, datetime], None] = lambda *_: None,
    ) -> None:
        self._kind = kind
        self._reconciler = reconciler
        self._store = store
        self._writer = writer
        self._now = now
        self._changed = changed
        self._told_bugs: dict[Key, str] = {}
        self._told_pruned: set[str] = set()

    def make(self, key: Key) -> Done:
        """Bring one object a step further. Never raises: a bug is logged with its traceback and is a verdict."""
        try:
            with logs.about(identity(key, self._store.get(key))):
                done = self._make(key)
        except Exception as error:  # the one place where bugs of a pass may end: one object must not stop the others
            self._tell_bug(key, error)
            return Done(Verdict.BUG, self._show_bug(key, error), message=f"{type(error).__name__}: {error}")
        self._told_bugs.pop(key, None)
        return done

    def _make(self, key: Key) -> Done:
        changed = False
        body = self._store.get(key)
        if body is None or self._store.is_doubted(key):
            answer = self._read(key)
            if isinstance(answer, Done):
                return answer
            body = answer
        for _ in range(ATTEMPTS):
            outcome = self._reconciler.reconcile(body, self._now())
            result, sent = self._carry_out(body, outcome)
            changed = changed or sent
            match result:
                case Written(body=answered) if outcome.finalizer == "add":
                    body = answered
                case Written(body=answered):
                    verdict = Verdict.FAILED if outcome.failed else Verdict.SETTLED
                    return Done(verdict, answered, changed, outcome.again_after)
                case Conflict():
                    answer = self._read(key)
                    if isinstance(answer, Done):
                        return answer
                    body = answer
                case Gone():
                    self._store.forget(key, uid_of(body))
                    return Done(Verdict.GONE, body, changed)
                case Refused(message, retry_after):
                    return Done(Verdict.REFUSED, body, changed, at_least=retry_after, message=message)
        return Done(Verdict.CONFLICT, body, changed, message="the object changes faster than it can be written")

    def _carry_out(self, body: Body, outcome: Outcome) -> tuple[Result, bool]:
        sent = False
        if outcome.status is not None:
            result, sent = self._keep(self._writer.write_status(self._kind, body, outcome.status))
            if not isinstance(result, Written):
                return result, sent
            self._tell_change(body, result)
            body = result.body
        if outcome.finalizer == "keep":
            return Written(body), sent
        write = self._writer.hold if outcome.finalizer == "add" else self._writer.release
        result, written = self._keep(write(self._kind, body))
        return result, sent or written

    def _keep(self, result: Result) -> tuple[Result, bool]:
        if not isinstance(result, Written) or not result.sent:
            return result, False
        self._store.answered(self._kind, result.body)
        return result, True

    def _read(self, key: Key) -> Body | Done:
        since = self._store.begin_read()
        match self._writer.read(key):
            case Written(body=found):
                newest = self._store.read(key, found, since)
                return Done(Verdict.GONE) if newest is None else newest
            case Gone():
                newest = self._store.read(key, None, since)
                return Done(Verdict.GONE) if newest is None else newest
            case Refused(message, retry_after):
                return Done(Verdict.REFUSED, at_least=retry_after, message=message)
            case Conflict():
                return Done(Verdict.REFUSED, message="the API server answered a read with a conflict")

    def _tell_bug(self, key: Key, error: Exception) -> None:
        # Once with its traceback, then only that it is still there: it comes back every minute until somebody acts.
        said = f"{type(error).__name__}: {error}"
        repeated = self._told_bugs.get(key) == said
        self._told_bugs[key] = said
        logger.error(
            "unhandled error in a pass; retrying with backoff",
            extra={"object": identity(key, self._store.get(key)), "error": said},
            exc_info=None if repeated else error,
        )

    def _show_bug(self, key: Key, error: Exception) -> Body | None:
        body = self._store.get(key)
        status = with_internal_error(self._kind, body, error, self._now()) if body is not None else None
        if body is None or status is None:
            return body
        result, _ = self._keep(self._writer.write_status(self._kind, body, status))
        if not isinstance(result, Written):
            return body
        self._changed(self._kind, body, result.body, self._now())
        return result.body

    def _tell_change(self, before: Body, result: Written) -> None:
        for field in result.pruned:
            if field not in self._told_pruned:
                self._told_pruned.add(field)
                logger.error(
                    "the API server drops a status field: its CRD is older than this operator; apply crds/ of this release",
                    extra={"field": field},
                )
        self._changed(self._kind, before, result.body, self._now())
        main = "Ready" if self._kind == "BuildCache" else "Succeeded"
        was, now = condition_of(before, main), condition_of(result.body, main)
        if now != was and now is not None:
            logger.info(
                "condition changed",
                extra={"condition": main, "status": now[0], "reason": now[1]},
            )


def with_internal_error(kind: KindName, body: Body, error: Exception, now: datetime) -> dict[str, Any] | None:
    """Return the status that tells people of a bug, or None where it must not be touched. Names the class, no values."""
    status = dict(body.get("status") or {})
    if kind == "Build" and is_terminal(body):
        return None
    try:
        conditions = [Condition.model_validate(item) for item in status.get("conditions") or ()]
    except ValueError:
        return None
    changed = set_condition(
        conditions,
        ConditionType.READY if kind == "BuildCache" else ConditionType.SUCCEEDED,
        "Unknown",
        Reason.INTERNAL_ERROR,
        f"The operator hit a bug of its own ({type(error).__name__}); its log says where. It keeps trying.",
        generation=body["metadata"].get("generation") or 0,
        now=now,
    )
    return {**status, "conditions": [condition.to_json() for condition in changed]}
