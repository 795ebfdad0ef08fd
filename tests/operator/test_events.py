"""Which changes of an object are worth an Event; pure."""

from __future__ import annotations

from typing import Any

from buildcache.api.meta import GROUP
from buildcache.controller.events import LONGEST_NOTE, events_of


def body(*conditions: tuple[str, str, str], message: str = "m", uid: str = "u") -> dict[str, Any]:
    listed = [
        {"type": kind, "status": status, "reason": reason, "message": message} for kind, status, reason in conditions
    ]
    return {"metadata": {"name": "shop", "namespace": "team-a", "uid": uid}, "status": {"conditions": listed}}


def reasons(kind: Any, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [event.reason for event in events_of(kind, before, after)]


def test_c21_no_transition_no_event() -> None:
    same = body(("Ready", "True", "Available"), ("Drifted", "True", "CorrectionFailed"))
    assert reasons("BuildCache", same, same) == []
    assert reasons("BuildCache", same, body(("Ready", "True", "Available"), ("Drifted", "False", "InSync"))) == []


def test_c21_drift_is_told_each_time_it_is_corrected() -> None:
    ready = ("Ready", "True", "Available")
    first = body(ready, ("Drifted", "False", "Corrected"), message="corrected lifecyclePolicy")
    second = body(ready, ("Drifted", "False", "Corrected"), message="corrected repository")
    assert reasons("BuildCache", body(ready, ("Drifted", "False", "InSync")), first) == ["Corrected"]
    assert reasons("BuildCache", first, second) == ["Corrected"]
    assert events_of("BuildCache", body(ready), first)[0].name != events_of("BuildCache", first, second)[0].name


def test_c21_the_name_is_the_same_after_a_restart_and_another_for_another_object() -> None:
    before, after = body(), body(("Succeeded", "False", "BuildStepFailed"), message="x" * 5000)
    (event,) = events_of("Build", before, after)
    assert event == events_of("Build", before, after)[0]
    assert event.warning
    (other,) = events_of("Build", before, body(("Succeeded", "False", "BuildStepFailed"), uid="v"))
    assert other.name != event.name
    from datetime import UTC, datetime

    posted = event.body(datetime(2026, 1, 1, tzinfo=UTC), "pod")
    assert posted["eventTime"] == "2026-01-01T00:00:00.000000Z"
    assert len(posted["note"]) == LONGEST_NOTE
    assert posted["regarding"]["apiVersion"].startswith(GROUP)


def test_c21_the_ordinary_way_of_a_build_is_two_events() -> None:
    way = [("Unknown", each) for each in ("Accepted", "Queued", "Provisioning", "Running")] + [("True", "Completed")]
    states = [body(("Succeeded", status, reason)) for status, reason in way]
    told = [
        reason
        for before, after in zip([body(), *states], states, strict=False)
        for reason in reasons("Build", before, after)
    ]
    assert told == ["Running", "Completed"]
