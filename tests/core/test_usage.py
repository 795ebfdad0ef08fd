"""What Builds add up to in the status of their BuildCache."""

from typing import Any

from buildcache.core.build import Finished
from buildcache.core.usage import efficiency, usage

ARN = "arn:aws:ecs:eu-west-1:111122223333:task-definition/family:1"


def build(*attempts: dict[str, Any], arn: str | None = ARN) -> dict[str, Any]:
    return {"status": {"attempts": list(attempts), "executor": {"name": "ec2", "taskDefinitionARN": arn}}}


def finished(hit: int | None, saved: int | None) -> Finished:
    return Finished("b", "web", hit, False, 10, saved, "2026-11-24T12:00:00Z")


def test_a_build_runs_while_its_newest_attempt_has_not_stopped() -> None:
    stopped = {"number": 1, "taskARN": "t1", "stoppedAt": "2026-11-24T12:00:00Z"}
    found = usage(
        [
            {},
            {"status": None},
            {"status": {"attempts": None}},
            build(stopped),
            build({"number": 2, "taskARN": "t2"}, stopped),
            build({"number": 1, "taskARN": "t3"}, arn=None),
            build({"number": 1, "clusterARN": "c"}),
            build({"number": 2, "clusterARN": "c"}, stopped),
        ]
    )
    assert (found.running, found.queued) == (3, 5)
    assert found.definitions == {ARN}


def test_efficiency_is_of_the_last_fifty_and_knows_nothing_of_builds_without_numbers() -> None:
    worth = efficiency([finished(0, 1000)] + [finished(80, 10)] * 25 + [finished(None, None)] * 25)
    assert (worth.builds, worth.hit_percent, worth.saved_seconds) == (50, 80, 250)


def test_efficiency_of_nothing() -> None:
    assert efficiency([]).to_json() == {"builds": 0}
