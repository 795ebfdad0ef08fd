"""Drifted: first set when a generation is reached; one message for a correction of several passes; conflicts are differences."""

from datetime import UTC, datetime
from typing import Any

from buildcache.api.cache_status import Drift
from buildcache.api.meta import Condition
from buildcache.core import action as act
from buildcache.core.cache_drift import drifted
from buildcache.core.plan import Conflict
from buildcache.core.status import ConditionType, Reason, find_condition, set_reconciling, set_settled

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TAKEN = Conflict("repository", Reason.FOREIGN_RESOURCE, "repository buildcache/a/b belongs to another")
UNSEEN = Conflict("file-system", Reason.ACCESS_DENIED, "elasticfilesystem:DescribeAccessPoints: denied")
REPOSITORY = act.CreateRepository("buildcache/a/b", None, {})
POLICY = act.PutLifecyclePolicy("buildcache/a/b", "{}")
FILE_SYSTEM = act.CreateFileSystem("bc-1", None, "elastic", None, False, {})
RULES = act.RevokeRules("cache", "sg-1", "ingress", frozenset())
Conditions = tuple[Condition, ...]


def after(conditions: Conditions, generation: int = 1, **done: Any) -> Conditions:
    """The conditions after one more pass, with Reconciling as that pass leaves it."""
    nothing: dict[str, Any] = {"found": (), "conflicts": (), "ineffective": (), "applied": (), "held_back": False}
    happened = {**nothing, "settled": not done.get("applied") and not done.get("conflicts"), **done}
    conditions = drifted(conditions, generation=generation, now=NOW, **happened)
    if happened["applied"]:
        return set_reconciling(conditions, Reason.CORRECTING, "", generation=generation, now=NOW)
    return set_settled(conditions)


def said(conditions: Conditions) -> tuple[str, str, str] | None:
    found = find_condition(conditions, ConditionType.DRIFTED)
    return None if found is None else (found.status, found.reason, found.message)


def test_m6_a_first_creation_after_a_conflict_is_neither_in_sync_nor_corrected() -> None:
    conditions = after((), conflicts=[TAKEN])
    assert said(conditions) is None
    conditions = after(conditions, applied=[REPOSITORY])
    assert said(conditions) is None
    assert said(after(conditions)) == ("False", "InSync", "")


def test_m6_a_conflict_on_what_was_right_is_a_difference_until_it_is_solved() -> None:
    conditions = after(after(()), conflicts=[TAKEN])
    assert said(conditions) == ("True", "DriftFound", TAKEN.message)
    assert said(after(conditions)) == ("False", "InSync", "")


def test_m6_a_missing_permission_is_no_difference() -> None:
    reached = after(())
    assert said(after(reached, conflicts=[UNSEEN], settled=True)) == ("False", "InSync", "")


def test_m6_a_report_names_conflicts_beside_differences() -> None:
    drift = Drift(part="log-group", field="exists")
    conditions = after((), found=[drift], conflicts=[TAKEN], held_back=True)
    assert said(conditions) == ("True", "DriftFound", f"log-group exists; {TAKEN.message}")


def test_m8_a_correction_of_several_passes_is_one_message_and_what_is_lost_stays_in_it() -> None:
    conditions = after(after(()), applied=[REPOSITORY, FILE_SYSTEM])
    conditions = after(conditions, applied=[POLICY])
    for now in (conditions, after(conditions)):
        status, reason, message = said(now) or ("", "", "")
        assert (status, reason) == ("False", "Corrected")
        assert message.startswith("corrected repository exists, file-system exists, repository lifecyclePolicy. ")
        assert "the layers it held are lost" in message
        assert "what it held is lost" in message


def test_m8_the_next_correction_does_not_repeat_what_the_last_one_said() -> None:
    conditions = after(after(after(()), applied=[REPOSITORY]))
    assert said(after(conditions, applied=[RULES])) == ("False", "Corrected", "corrected cache-security-group ingress")


def test_m4_a_correction_without_effect_is_said_and_its_end_is_in_sync() -> None:
    stubborn = Drift(part="mount-target/eu-west-1a", field="securityGroups")
    conditions = after(after(()), ineffective=[stubborn], applied=[RULES])
    status, reason, message = said(conditions) or ("", "", "")
    assert (status, reason) == ("True", "CorrectionFailed")
    assert "mount-target/eu-west-1a securityGroups" in message
    assert said(after(conditions)) == ("False", "InSync", "")


def test_m6_an_update_of_the_spec_is_no_correction() -> None:
    conditions = after(after(()), generation=2, applied=[POLICY])
    assert said(conditions) == ("False", "InSync", "")
    found = find_condition(after(conditions, generation=2), ConditionType.DRIFTED)
    assert found is not None
    assert found.observed_generation == 2
