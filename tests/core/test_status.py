"""Conditions: metav1's rules, kstatus' rules, and reasons from closed sets."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.meta import Condition
from buildcache.core.status import (
    BUILD_REASONS,
    CACHE_REASONS,
    MESSAGE_LIMIT,
    ConditionType,
    Reason,
    find_condition,
    is_true,
    remove_condition,
    set_condition,
    set_reconciling,
    set_settled,
    set_stalled,
    timestamp,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
kinds = st.sampled_from(list(ConditionType))
reasons = st.sampled_from(list(Reason))
statuses = st.sampled_from(["True", "False", "Unknown"])
steps = st.lists(st.tuples(kinds, statuses, reasons, st.text(max_size=20)), max_size=12)


def run(sequence: list[tuple[ConditionType, str, Reason, str]]) -> tuple[Condition, ...]:
    conditions: tuple[Condition, ...] = ()
    for number, (kind, status, reason, message) in enumerate(sequence):
        now = NOW + timedelta(minutes=number)
        conditions = set_condition(conditions, kind, status, reason, message, generation=number, now=now)  # type: ignore[arg-type]
    return conditions


@given(steps)
def test_one_condition_of_each_type_in_one_order(sequence: list[tuple[ConditionType, str, Reason, str]]) -> None:
    found = [condition.type for condition in run(sequence)]
    assert found == [kind.value for kind in ConditionType if kind.value in found]


@given(steps)
def test_the_time_moves_only_with_the_status(sequence: list[tuple[ConditionType, str, Reason, str]]) -> None:
    since: dict[str, tuple[str, str]] = {}
    for number, (kind, status, _, _) in enumerate(sequence):
        if since.get(kind, ("", ""))[0] != status:
            since[kind] = (status, timestamp(NOW + timedelta(minutes=number)))
    assert {c.type: (c.status, c.last_transition_time) for c in run(sequence)} == since


@given(steps, st.lists(st.sampled_from(["reconciling", "stalled", "settled"]), min_size=1, max_size=8))
def test_reconciling_and_stalled_are_never_both_there(
    sequence: list[tuple[ConditionType, str, Reason, str]], moves: list[str]
) -> None:
    conditions = run(sequence)
    for move in moves:
        match move:
            case "reconciling":
                conditions = set_reconciling(conditions, Reason.UPDATING, generation=1, now=NOW)
                assert is_true(conditions, ConditionType.RECONCILING)
            case "stalled":
                conditions = set_stalled(conditions, Reason.NOT_FOUND, generation=1, now=NOW)
                assert is_true(conditions, ConditionType.STALLED)
            case _:
                conditions = set_settled(conditions)
        both = {ConditionType.RECONCILING, ConditionType.STALLED} <= {condition.type for condition in conditions}
        assert not both


def test_setting_the_same_twice_changes_nothing() -> None:
    once = set_condition((), ConditionType.READY, True, Reason.AVAILABLE, "m", generation=3, now=NOW)
    later = NOW + timedelta(hours=1)
    assert set_condition(once, ConditionType.READY, True, Reason.AVAILABLE, "m", generation=3, now=later) == once


def test_removing_what_is_not_there_changes_nothing() -> None:
    once = set_condition((), ConditionType.READY, True, Reason.AVAILABLE, generation=3, now=NOW)
    assert remove_condition(once, ConditionType.STALLED) == once
    assert remove_condition(once, ConditionType.READY) == ()


def test_messages_are_bounded_and_valid() -> None:
    conditions = set_condition((), ConditionType.READY, False, Reason.NOT_FOUND, "é" * 5000, generation=1, now=NOW)
    found = find_condition(conditions, ConditionType.READY)
    assert found is not None
    assert len(found.message) == MESSAGE_LIMIT
    Condition.model_validate(found.to_json())


def test_types_of_a_newer_operator_stay() -> None:
    foreign = Condition(type="Newer", status="True", reason="R", last_transition_time=timestamp(NOW))
    conditions = set_condition((foreign,), ConditionType.READY, True, Reason.AVAILABLE, generation=1, now=NOW)
    assert [condition.type for condition in conditions] == ["Ready", "Newer"]


def test_every_reason_belongs_to_a_condition() -> None:
    used = frozenset().union(*CACHE_REASONS.values(), *BUILD_REASONS.values())
    assert used == frozenset(Reason)


def test_times_are_utc_whole_seconds() -> None:
    moment = datetime.fromisoformat("2026-11-24T14:30:15.987+02:00")
    assert timestamp(moment) == "2026-11-24T12:30:15Z"
