"""One pass over a BuildCache: look at AWS, compare, do what can be done now, say what came of it.

Called by the worker with the newest object; what it answers is carried out by the writer. Nothing here waits: what takes AWS time is
looked at again by a later pass. The only memory is when the next look is due, so that a pass that comes because a Build changed asks
AWS nothing; what the last look found when nothing was to be done, so that the next one need not read what cannot have changed; the last
computed status, until it is seen in the object; and corrections that had no effect. Losing it costs one look.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from buildcache.api.cache import BuildCache
from buildcache.api.cache_status import BuildCacheStatus, Efficiency
from buildcache.api.meta import FINALIZER, Metadata, seconds
from buildcache.api.problems import problems, summary
from buildcache.api.remains import is_retained, remains
from buildcache.aws import parts
from buildcache.aws.clients import Clients, Session
from buildcache.core import scope
from buildcache.core.action import Action, DeleteSecurityGroup, difference
from buildcache.core.build import family_of
from buildcache.core.cache import plan
from buildcache.core.cache_facts import TASK_DEFINITION, requested
from buildcache.core.cache_status import Pass, cache_status, deleting_status, invalid_status
from buildcache.core.corrections import Corrections
from buildcache.core.desired import DesiredCache, desired
from buildcache.core.errors import Denied, Trouble, Unavailable
from buildcache.core.interval import jittered
from buildcache.core.names import Identity
from buildcache.core.observed import ObservedCache
from buildcache.core.plan import Blocked, Plan, Use
from buildcache.core.status import ConditionType, Reason, find_condition, mounts
from buildcache.core.teardown import plan_marks, plan_teardown
from buildcache.core.usage import Usage, efficiency, usage

from .outcome import Outcome
from .view import View

AFTER_ACTION = 1.0
"""Seconds until the next look after something was done: AWS shows it then, and the next actions build on it."""
WAITING = (1.0, 30.0)
"""Seconds between looks at something that AWS is making or removing: a quarter of the time that it has taken so far, in these limits."""
DENIED = 300.0
"""Seconds until a permission is tried again that was missing."""
WHOLE_LOOK = timedelta(hours=1)
"""How long a settled look is built upon before everything is read again."""
NUMBERS_PERIOD = timedelta(seconds=5)
"""The least time between two writes of a status in which only the numbers about Builds moved."""

logger = logging.getLogger(__name__)

Needs = Mapping[str, tuple[str, ...]]
"""Scopes that Builds need, each with the executors that mount it."""


@dataclass(frozen=True, slots=True)
class _Look:
    """The last look at AWS for one object, and when the next one is due."""

    generation: int
    requested: str | None
    at: datetime
    due: datetime
    numbers_at: datetime
    needs: Needs


@dataclass(frozen=True, slots=True)
class _Settled:
    """What a look that read everything has found, when nothing was to be done."""

    have: ObservedCache
    generation: int
    at: datetime


@dataclass(frozen=True, slots=True)
class _Computed:
    """The last status that a pass has computed, and the stored one that it was computed from."""

    base: BuildCacheStatus
    status: BuildCacheStatus


class CacheReconciler:
    """Passes over BuildCaches. The worker never runs two at once for one object."""

    def __init__(self, session: Session, view: View, *, cluster_id: str, runner_image: str) -> None:
        self._session = session
        self._view = view
        self._cluster_id = cluster_id
        self._runner_image = runner_image
        self._looks: dict[str, _Look] = {}
        self._settled: dict[str, _Settled] = {}
        self._doubted: set[str] = set()
        """Objects of which a Build has found that AWS does not have what their status names: the next pass reads everything."""
        self._waiting: dict[str, datetime] = {}
        """Since when there has been nothing to do but to wait for AWS."""
        self._computed: dict[str, _Computed] = {}
        self._corrections: dict[str, Corrections] = {}

    def doubt(self, uid: str) -> None:
        """Read everything in the next pass, whenever the next look is due. Called from passes over Builds."""
        self._doubted.add(uid)

    def reconcile(self, body: Mapping[str, Any], now: datetime) -> Outcome:
        """Bring AWS nearer to what the object asks for.

        A status that an earlier pass has computed and the API server has not stored is what this pass starts from: what it says of
        corrections and times is in no other place. The write is not repeated as it was: this pass writes its own.
        """
        metadata = Metadata.model_validate(body["metadata"])
        if metadata.deletion_timestamp is not None and FINALIZER not in metadata.finalizers:
            self._forget(metadata.uid)
            return Outcome()
        stored = _status(body)
        computed = self._computed.pop(metadata.uid, None)
        status = computed.status if computed is not None and computed.base == stored else stored
        try:
            outcome = self._pass(body, metadata, status, now)
        except Exception:
            self._forget(metadata.uid)  # a bug: the next pass reads everything again
            raise
        if outcome.status is None or outcome.finalizer == "release":
            return outcome
        after = BuildCacheStatus.model_validate(outcome.status)
        if after == stored:
            return replace(outcome, status=None)
        self._computed[metadata.uid] = _Computed(stored, after)
        return outcome

    def _pass(self, body: Mapping[str, Any], metadata: Metadata, status: BuildCacheStatus, now: datetime) -> Outcome:
        deleting = metadata.deletion_timestamp is not None
        try:
            cache = BuildCache.parse({**body, "status": None}).model_copy(update={"status": status})
        except ValidationError as error:
            if deleting:
                return self._delete_invalid(body, metadata, status, now)
            return self._invalid(metadata, status, summary(problems(error)), now)
        if deleting:
            return self._delete(cache, now)
        if FINALIZER not in metadata.finalizers:
            return Outcome(finalizer="add")
        look = self._looks.get(metadata.uid)
        needs = self._needs(cache)
        if metadata.uid in self._doubted:
            self._doubted.discard(metadata.uid)
            self._settled.pop(metadata.uid, None)
            look = None
        if look is not None and _is_current(look, cache, now) and _covers(look.needs, needs):
            return self._numbers(cache, look, now)
        return self._correct(cache, needs, now)

    # --- an object that stays

    def _correct(self, cache: BuildCache, needs: Needs, now: datetime) -> Outcome:
        want = self._desired(cache, needs)
        builds = self._usage(cache)
        done, again_after = self._work(cache, want, builds, now)
        status = cache_status(cache, want, done, builds.queue(), self._efficiency(cache), now)
        failed = isinstance(done.trouble, Unavailable)
        self._looks[cache.metadata.uid] = _Look(
            generation=cache.metadata.generation,
            requested=requested(cache.metadata),
            at=now,
            # After a failure the queue's backoff decides; whatever comes then is a look.
            due=now if failed else now + timedelta(seconds=again_after),
            numbers_at=now,
            needs=needs,
        )
        return Outcome(status=status.to_json(), again_after=None if failed else again_after, failed=failed)

    def _work(self, cache: BuildCache, want: DesiredCache, builds: Usage, now: datetime) -> tuple[Pass, float]:
        """Look, compare, act. Returns what came of it and the seconds until the next look."""
        interval = jittered(seconds(cache.spec.reconcile_interval), cache.metadata.uid, now)
        clients = self._session.region(want.region)
        definitions = [row for row in cache.status.parts if row.kind == TASK_DEFINITION and row.id]
        # Taken out for the time of the pass: after one that ends in any other way than settled, everything is read.
        settled = self._settled.pop(cache.metadata.uid, None)
        if settled is not None and not _is_usable(settled, cache, now):
            settled = None
        if _is_asked(cache):
            self._corrections.pop(cache.metadata.uid, None)
        try:
            have = parts.observe(
                clients,
                want,
                [family_of(row.id) for row in definitions if not mounts(row.name)],
                settled.have if settled else None,
                _former_file_system(cache, want),
            )
        except Trouble as trouble:
            return self._look_failed(cache, trouble, interval)
        wanted = plan(want, have, Use(builds.definitions, builds.mounting, frozenset(row.id for row in definitions)))
        if wanted == Plan():
            at = settled.at if settled else now
            self._settled[cache.metadata.uid] = _Settled(have, cache.metadata.generation, at)
        if cache.spec.suspend or cache.spec.reconcile_policy == "Report":
            return Pass(have, wanted), interval
        return self._act(cache, clients, have, wanted, interval, now)

    def _act(
        self, cache: BuildCache, clients: Clients, have: ObservedCache, wanted: Plan, interval: float, now: datetime
    ) -> tuple[Pass, float]:
        uid = cache.metadata.uid
        corrections = self._corrections.get(uid, Corrections()).still(difference(each) for each in wanted.actions)
        applied: list[Action] = []
        waiting: list[str] = []
        blocked: Blocked | None = None
        trouble: Trouble | None = None
        stuck: set[str] = set()
        resting: set[str] = set()
        """Parts with a correction that had no effect and is not to be repeated yet."""
        pauses = [interval]
        for action in wanted.actions:
            part = difference(action).part
            if part in stuck or part in resting:
                continue  # what comes later for a part builds on what failed: rules are revoked after others are there
            if (rest := corrections.pause(difference(action), now)) is not None:
                pauses.append(rest)
                resting.add(part)
                continue
            try:
                wait = parts.apply(clients, action)
            except Trouble as error:
                logger.warning(
                    "action failed", extra={"action": type(action).__name__, "part": part, "error": str(error)}
                )
                trouble = trouble or error
                pauses.append(_pause(error, interval))
                if isinstance(error, Unavailable):
                    trouble = error
                    break
                stuck.add(part)
                continue  # a person must act for this part; the others need not wait for that
            if wait is None:
                logger.info("applied action", extra={"action": type(action).__name__, "part": part})
                applied.append(action)
            else:
                waiting.append(wait.message)
                if wait.seconds > WAITING[1]:
                    pauses.append(wait.seconds)
                else:
                    pauses.append(self._pause_of_waiting(cache, now))
                if isinstance(action, DeleteSecurityGroup):
                    blocked = Blocked(Reason.SECURITY_GROUP_IN_USE, wait.message)
        ineffective = corrections.ineffective()
        corrections = corrections.applied((difference(each) for each in applied), now, interval)
        pauses += [max(AFTER_ACTION, corrections.pause(difference(each), now) or 0.0) for each in applied]
        self._corrections[uid] = corrections
        if applied or not (waiting or wanted.waiting or wanted.coming):
            self._waiting.pop(uid, None)
        if wanted.waiting or (wanted.coming and trouble is None):
            # What is denied or refused is tried again with every look: then not so often.
            pauses.append(self._pause_of_waiting(cache, now) if trouble is None else WAITING[1])
        done = Pass(
            have,
            wanted,
            applied=tuple(applied),
            waiting=tuple(waiting),
            trouble=trouble,
            blocked=blocked,
            refused=frozenset(stuck),
            ineffective=ineffective,
        )
        return done, min(pauses)

    def _pause_of_waiting(self, cache: BuildCache, now: datetime) -> float:
        since = self._waiting.setdefault(cache.metadata.uid, now)
        shortest, longest = WAITING
        return min(max((now - since).total_seconds() / 4, shortest), longest)

    def _look_failed(self, cache: BuildCache, trouble: Trouble, interval: float) -> tuple[Pass, float]:
        if trouble.reason is Reason.INVALID_SPEC:
            # A look sends names and ids, nothing that a person could correct in the spec.
            trouble = Unavailable(trouble.message, operation=trouble.operation, resource=trouble.resource)
        logger.warning("could not read the AWS parts", extra={"error": str(trouble)})
        return Pass(trouble=trouble), _pause(trouble, interval)

    def _numbers(self, cache: BuildCache, look: _Look, now: datetime) -> Outcome:
        """The pass that comes because a Build changed: AWS is not asked, only what the Builds add up to is written."""
        remaining = (look.due - now).total_seconds()
        update = {"queue": self._usage(cache).queue(), "efficiency": self._efficiency(cache)}
        status = cache.status.model_copy(update=update)
        early = (look.numbers_at + NUMBERS_PERIOD - now).total_seconds()
        if status != cache.status and early > 0:
            return Outcome(status=cache.status.to_json(), again_after=min(early, remaining))
        if status != cache.status:
            self._looks[cache.metadata.uid] = replace(look, numbers_at=now)
        return Outcome(status=status.to_json(), again_after=remaining)

    # --- an object that goes

    def _delete(self, cache: BuildCache, now: datetime) -> Outcome:
        want = self._desired(cache)
        builds = self._usage(cache)
        if want.retain and cache.spec.suspend:
            return self._release(cache)
        if builds.running and not want.retain:
            blocked = plan_teardown(want, ObservedCache(), running=builds.running)
            return self._deleting(cache, want, Pass(plan=blocked), builds, now, again_after=WAITING[0])
        interval = jittered(seconds(cache.spec.reconcile_interval), cache.metadata.uid, now)
        clients = self._session.region(want.region)
        try:
            have = parts.observe_for_teardown(clients, want)
        except Trouble as trouble:
            done, again_after = self._look_failed(cache, trouble, interval)
            if want.retain and not isinstance(trouble, Unavailable):
                return self._release(cache)
            return self._deleting(cache, want, done, builds, now, again_after)
        removal = plan_marks(want, have) if want.retain else plan_teardown(want, have, running=0)
        if removal == Plan():
            return self._release(cache)
        if cache.spec.suspend:
            return self._deleting(cache, want, Pass(have), builds, now, again_after=None)
        done, again_after = self._act(cache, clients, have, removal, min(interval, DENIED), now)
        if want.retain and not isinstance(done.trouble, Unavailable):
            return self._release(
                cache
            )  # also when the mark may not be set: the parts stay, and that was what was asked for
        return self._deleting(cache, want, done, builds, now, again_after)

    def _deleting(
        self,
        cache: BuildCache,
        want: DesiredCache,
        done: Pass,
        builds: Usage,
        now: datetime,
        again_after: float | None,
    ) -> Outcome:
        status = deleting_status(cache, want, done, builds.queue(), self._efficiency(cache), now)
        failed = isinstance(done.trouble, Unavailable)
        return Outcome(status=status.to_json(), again_after=None if failed else again_after, failed=failed)

    def _delete_invalid(
        self, body: Mapping[str, Any], metadata: Metadata, status: BuildCacheStatus, now: datetime
    ) -> Outcome:
        """Take down a cache whose spec the models refuse, from the few fields that a teardown needs."""
        try:
            spec = remains(body)
        except ValidationError as error:
            if is_retained(body) or not status.parts:
                self._forget(metadata.uid)
                return Outcome(finalizer="release")
            message = (
                f"{summary(problems(error))}. Without it the AWS parts cannot be found: correct the field, or set "
                "spec.deletionPolicy: Retain to leave them in AWS and release this object"
            )
            return self._invalid(metadata, status, message, now)
        return self._delete(BuildCache.model_construct(metadata=metadata, spec=spec, status=status), now)

    def _release(self, cache: BuildCache) -> Outcome:
        self._forget(cache.metadata.uid)
        return Outcome(finalizer="release")

    def _invalid(self, metadata: Metadata, status: BuildCacheStatus, message: str, now: datetime) -> Outcome:
        """Report a spec that the models refuse."""
        self._forget(metadata.uid)
        return Outcome(status=invalid_status(status, metadata.generation, message, now).to_json())

    def _forget(self, uid: str) -> None:
        self._looks.pop(uid, None)
        self._settled.pop(uid, None)
        self._doubted.discard(uid)
        self._waiting.pop(uid, None)
        self._computed.pop(uid, None)
        self._corrections.pop(uid, None)

    # --- what a pass reads

    def _needs(self, cache: BuildCache) -> Needs:
        if not scope.concerns(cache.spec):
            return {}
        return scope.needs(cache.spec, self._view.builds_of(cache.metadata.namespace, cache.metadata.name))

    def _desired(self, cache: BuildCache, needs: Needs | None = None) -> DesiredCache:
        metadata = cache.metadata
        identity = Identity(self._cluster_id, metadata.namespace, metadata.name, metadata.uid)
        return desired(cache.spec, identity, runner_image=self._runner_image, scopes=needs)

    def _usage(self, cache: BuildCache) -> Usage:
        return usage(self._view.builds_of(cache.metadata.namespace, cache.metadata.name))

    def _efficiency(self, cache: BuildCache) -> Efficiency:
        if cache.status.efficiency is not None and not self._view.knows_history():
            return cache.status.efficiency  # the finished Builds of before are not listed yet
        return efficiency(self._view.finished_of(cache.metadata.namespace, cache.metadata.name))


def _status(body: Mapping[str, Any]) -> BuildCacheStatus:
    """The status as it was last written; one that somebody has broken counts as none, since nothing depends on it."""
    try:
        return BuildCacheStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return BuildCacheStatus()


def _is_current(look: _Look, cache: BuildCache, now: datetime) -> bool:
    """Whether the last look still stands: nothing was asked since, it is not due, and its status is there or about to be written."""
    return (
        look.generation == cache.metadata.generation == cache.status.observed_generation
        and not _is_asked(cache)
        and look.requested == cache.status.last_handled_reconcile_at
        # A clock that was set back makes a look due rather than far away.
        and look.at <= now < look.due
        and any(
            find_condition(cache.status.conditions, kind) for kind in (ConditionType.READY, ConditionType.SUSPENDED)
        )
    )


def _is_asked(cache: BuildCache) -> bool:
    """Whether `reconcile-requested-at` has a value that no pass has answered yet."""
    return requested(cache.metadata) != cache.status.last_handled_reconcile_at


def _is_usable(settled: _Settled, cache: BuildCache, now: datetime) -> bool:
    """Whether a look may build on an earlier one; one that a person asks for reads everything."""
    return (
        settled.generation == cache.metadata.generation
        and settled.at <= now < settled.at + WHOLE_LOOK
        and not _is_asked(cache)
    )


def _pause(trouble: Trouble, interval: float) -> float:
    return min(DENIED, interval) if isinstance(trouble, Denied) else interval


def _covers(looked_at: Needs, needs: Needs) -> bool:
    return all(set(executors) <= set(looked_at.get(name, ())) for name, executors in needs.items())


def _former_file_system(cache: BuildCache, want: DesiredCache) -> str | None:
    """The file system that the status tells of while the spec has none; only where ours are is looked at, so a lie does no harm."""
    known = cache.status.file_system
    return known.id if known and want.file_system is None and want.given_file_system is None else None
