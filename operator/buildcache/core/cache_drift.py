"""The condition Drifted: whether AWS differs from the spec, and what was done about it. Pure.

It is first set when a generation has been reached: until then, every difference is work on the spec. What a correction takes several
passes for is one message.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from buildcache.api.cache_status import Drift
from buildcache.api.meta import Condition

from .action import Action, CreateFileSystem, CreateRepository, difference
from .plan import Conflict
from .status import ConditionType, Reason, find_condition, is_true, set_condition

_LOST: Mapping[type[Action], str] = {
    CreateFileSystem: "The file system was gone: what it held is lost, and builds fill the new one",
    CreateRepository: "The repository was gone: the layers it held are lost, and builds fill the new one",
}
_CORRECTED = "corrected "
_SENTENCES = ". "
_ITEMS = ", "


def drifted(
    conditions: tuple[Condition, ...],
    *,
    found: Sequence[Drift],
    conflicts: Sequence[Conflict],
    ineffective: Sequence[Drift],
    applied: Sequence[Action],
    settled: bool,
    held_back: bool,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with Drifted as this pass leaves it.

    `found`: differences that are only reported. `ineffective`: corrections that AWS accepted again and again without a change.
    `settled`: nothing was different and nothing is being waited for.
    """

    def said(status: bool, reason: Reason, message: str) -> tuple[Condition, ...]:
        kind = ConditionType.DRIFTED
        return set_condition(conditions, kind, status, reason, message, generation=generation, now=now)

    # A permission that is missing says nothing about a difference.
    differing = [conflict for conflict in conflicts if conflict.reason is not Reason.ACCESS_DENIED]
    if found or (held_back and differing):
        return said(True, Reason.DRIFT_FOUND, "; ".join([*filter(None, [listed(found)]), *_messages(differing)]))
    if ineffective:
        return said(True, Reason.CORRECTION_FAILED, _failed(ineffective))
    before = find_condition(conditions, ConditionType.DRIFTED)
    reached = (
        before is not None and before.observed_generation == generation and before.reason != Reason.CORRECTION_FAILED
    )
    if differing:
        return said(True, Reason.DRIFT_FOUND, "; ".join(_messages(differing))) if reached else conditions
    if applied and reached and progress(conditions, generation) is Reason.CORRECTING:
        going_on = before is not None and is_true(conditions, ConditionType.RECONCILING)
        earlier = before.message if before is not None and going_on and before.reason == Reason.CORRECTED else ""
        return said(False, Reason.CORRECTED, _corrected(earlier, applied))
    if settled and not (reached and before is not None and before.reason == Reason.CORRECTED):
        return said(False, Reason.IN_SYNC, "")
    return conditions


def progress(conditions: tuple[Condition, ...], generation: int) -> Reason:
    """Why work is in progress: a first creation, a changed spec, or a difference that came about in AWS."""
    reached = find_condition(conditions, ConditionType.DRIFTED)
    if reached is None:
        return Reason.PROVISIONING
    return Reason.CORRECTING if reached.observed_generation == generation else Reason.UPDATING


def listed(drift: Iterable[Drift]) -> str:
    """Name each part and field once."""
    return _ITEMS.join(dict.fromkeys(f"{each.part} {each.field}" for each in drift))


def _messages(conflicts: Iterable[Conflict]) -> list[str]:
    return [conflict.message for conflict in conflicts]


def _failed(ineffective: Iterable[Drift]) -> str:
    return (
        f"AWS accepts the correction of {listed(ineffective)}, but the difference remains; the operator tries again with growing "
        "pauses. Find out what changes it back (CloudTrail)"
    )


def _corrected(earlier: str, applied: Sequence[Action]) -> str:
    """Add what this pass corrected to the message of the passes before it."""
    first, *losses = earlier.split(_SENTENCES)
    items = first.removeprefix(_CORRECTED).split(_ITEMS) if first else []
    items += listed(difference(action) for action in applied).split(_ITEMS)
    losses += [_LOST[type(action)] for action in applied if type(action) in _LOST]
    return _SENTENCES.join([_CORRECTED + _ITEMS.join(dict.fromkeys(items)), *dict.fromkeys(losses)])
