"""Refused and lost status writes of a BuildCache, in virtual time, with the real reconciler and passes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.meta import FINALIZER
from buildcache.aws import parts
from buildcache.controller.objects import Key
from buildcache.controller.passes import Done, Passes, Verdict
from buildcache.controller.patches import status_patch, without_nulls
from buildcache.controller.store import Store
from buildcache.controller.writer import Conflict, Gone, Refused, Result, Written
from buildcache.core.action import Action
from buildcache.core.build import finished
from buildcache.core.observed import ObservedCache, Subnet
from buildcache.reconcile.cache import CacheReconciler
from tests.fakes import aws_parts
from tests.fakes.view import ListView
from tests.strategies import ROLE, SUBNETS, VPC

START = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = Key("BuildCache", "team-a", "shop")
MODES = ("409", "500", "lost")
LIMIT = 10.0
"""Seconds after a fault until the status must be right."""
AWS_DELAY = 4.0
"""Seconds that AWS takes for what it makes and removes."""
STAGE = 45.0
"""Seconds between two things that a user or somebody at the AWS console does."""

SPEC: dict[str, Any] = {
    "region": "eu-west-1",
    "clusterARN": "arn:aws:ecs:eu-west-1:111122223333:cluster/builds",
    "network": {"vpcID": VPC, "subnetIDs": sorted(SUBNETS)[:3]},
    "registry": {"retentionDays": 30},
    "fileSystem": {},
    "executors": [
        {"name": "ec2", "engine": "BuildKit", "launchType": "EC2", "taskRoleARN": ROLE, "executionRoleARN": ROLE}
    ],
}


class Aws:
    """What `aws.parts` has of the cache. Things become available some virtual seconds after they were made."""

    def __init__(self) -> None:
        subnets = {subnet: Subnet(subnet, zone, VPC) for subnet, zone in SUBNETS.items()}
        self.have = ObservedCache(subnets=subnets, cluster_state="ACTIVE")
        self.now = 0.0
        self._changed = 0.0

    def observe(self, *_: Any) -> ObservedCache:
        if self.now - self._changed >= AWS_DELAY:
            self.have = aws_parts.pass_time(self.have)
        return self.have

    def apply(self, _: Any, action: Action) -> None:
        self.have = aws_parts.apply(self.have, action)
        self._changed = self.now


class Api:
    """One object of the API server, behind the interface of the operator's writer. `faults`: number of a status write → mode."""

    def __init__(self, faults: Mapping[int, str]) -> None:
        self.now = 0.0
        self.body: dict[str, Any] | None = {
            "apiVersion": "buildcache.dev/v1alpha1",
            "kind": "BuildCache",
            "metadata": {
                "name": "shop",
                "namespace": "team-a",
                "uid": "11111111-2222-3333-4444-555555555555",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": "2026-11-24T12:00:00Z",
            },
            "spec": copy.deepcopy(SPEC),
            "status": {"observedGeneration": -1},
        }
        self.status_writes = 0
        self.faulted_at: list[float] = []
        self._faults = faults
        self._versions = itertools.count(2)

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        assert self.body is not None
        body = copy.deepcopy(self.body)
        change(body)
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        gone = body["metadata"].get("deletionTimestamp") and not body["metadata"].get("finalizers")
        self.body = None if gone else body

    def hold(self, _: str, body: Mapping[str, Any]) -> Result:
        return self._write(body, lambda new: new["metadata"].update(finalizers=[FINALIZER]))

    def release(self, _: str, body: Mapping[str, Any]) -> Result:
        return self._write(body, lambda new: new["metadata"].update(finalizers=[]))

    def write_status(self, _: str, body: Mapping[str, Any], status: Mapping[str, Any]) -> Result:
        if status_patch(body, status) is None:
            return Written(body, sent=False)
        self.status_writes += 1
        mode = self._faults.get(self.status_writes)
        if mode is not None:
            self.faulted_at.append(self.now)
        if mode == "409":
            return Conflict()
        if mode == "500":
            return Refused("500 Internal error occurred")
        result = self._write(body, lambda new: new.update(status=without_nulls(status)))
        return Refused("no answer") if mode == "lost" else result

    def read(self, _: Key) -> Result:
        return Gone() if self.body is None else Written(self.body)

    def _write(self, body: Mapping[str, Any], change: Callable[[dict[str, Any]], None]) -> Result:
        if self.body is None:
            return Gone()
        if body["metadata"]["resourceVersion"] != self.body["metadata"]["resourceVersion"]:
            return Conflict()
        self.change(change)
        return Written(self.body or body)


class Regions:
    """A session whose clients nothing is done with."""

    def region(self, _: str) -> object:
        return self


class Life:
    """One BuildCache from its creation to its end; `seen` is what its status said in each second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, faults: Mapping[int, str]) -> None:
        self.aws, self.api, self.view = Aws(), Api(faults), ListView()
        monkeypatch.setattr(parts, "observe", self.aws.observe)
        monkeypatch.setattr(parts, "observe_for_teardown", self.aws.observe)
        monkeypatch.setattr(parts, "apply", self.aws.apply)
        self.now = 0.0
        self.store = Store(finished)
        reconciler = CacheReconciler(Regions(), self.view, cluster_id="test", runner_image="operator:test")  # type: ignore[arg-type]
        self.passes = Passes(
            "BuildCache",
            reconciler,
            store=self.store,
            writer=self.api,  # type: ignore[arg-type]
            now=lambda: START + timedelta(seconds=self.now),
        )
        self.seen: list[object] = []

    def run(self) -> None:
        script: Iterator[Callable[[], object]] = iter(
            [
                lambda: None,
                lambda: self.view.builds.append({"status": {"attempts": [{"number": 1, "taskARN": "t"}]}}),
                self._drift,
                lambda: self.api.change(self._edit),
                self.view.builds.clear,
                lambda: self.api.change(lambda body: body["metadata"].update(deletionTimestamp="2026-11-24T13:00:00Z")),
            ]
        )
        due: float | None = 0.0
        failures, version = 0, ""
        for second in range(int(6 * STAGE)):
            self.now = self.aws.now = self.api.now = float(second)
            if second % STAGE == 0:
                next(script)()
                due = self.now
            if self.api.body is not None:
                self.store.seen("BuildCache", "MODIFIED", self.api.body)
                if self.api.body["metadata"]["resourceVersion"] != version:
                    due = self.now  # the watch tells of it
            else:
                self.store.forget(KEY, "11111111-2222-3333-4444-555555555555")
                due = None
            while due is not None and due <= self.now:
                done = self.passes.make(KEY)
                failures = failures + 1 if done.verdict in (Verdict.REFUSED, Verdict.CONFLICT, Verdict.FAILED) else 0
                due = self._next(done, failures)
                version = done.body["metadata"]["resourceVersion"] if done.body is not None else ""
            self.seen.append(gist(self.api.body))

    def _next(self, done: Done, failures: int) -> float | None:
        """The queue's answer to a pass, without its jitter."""
        assert done.verdict is not Verdict.BUG, done.message
        if failures:
            return self.now + min(60.0, 2.0 ** (failures - 1))
        return None if done.again_after is None else self.now + max(0.1, done.again_after)

    def _drift(self) -> None:
        """Somebody deletes the repository, and somebody asks for a check."""
        self.aws.have = replace(self.aws.have, repository=None)
        annotations = {"buildcache.dev/reconcile-requested-at": "now"}
        self.api.change(lambda body: body["metadata"].update(annotations=annotations))

    @staticmethod
    def _edit(body: dict[str, Any]) -> None:
        body["spec"]["logRetentionDays"] = 7
        body["metadata"]["generation"] += 1


def gist(body: Mapping[str, Any] | None) -> object:
    """A status without its times."""
    if body is None:
        return None
    status = copy.deepcopy(dict(body["status"]))
    for condition in status.get("conditions", ()):
        condition.pop("lastTransitionTime")
    return status


def undisturbed() -> Life:
    with pytest.MonkeyPatch.context() as monkeypatch:
        life = Life(monkeypatch, {})
        life.run()
    return life


TWIN = undisturbed()


def test_c1_the_undisturbed_life_says_what_happens_to_it() -> None:
    said = [
        {condition["type"]: condition["reason"] for condition in seen["conditions"]}
        for seen in TWIN.seen
        if isinstance(seen, dict) and "conditions" in seen
    ]
    assert {"Provisioning", "Available", "Deleting"} <= {each["Ready"] for each in said}
    assert {"InSync", "Corrected"} <= {each.get("Drifted") for each in said}
    assert TWIN.seen[-1] is None
    assert TWIN.api.status_writes > 10


@settings(max_examples=60)
@given(st.dictionaries(st.integers(1, TWIN.api.status_writes), st.sampled_from(MODES), min_size=1, max_size=3))
def test_c1_a_status_that_was_not_stored_is_right_within_ten_seconds(faults: dict[int, str]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        life = Life(monkeypatch, faults)
        life.run()
    assert life.api.faulted_at
    settled = [
        second for second in range(len(life.seen)) if all(abs(second - at) > LIMIT for at in life.api.faulted_at)
    ]
    for second in settled:
        recent = TWIN.seen[max(0, second - int(LIMIT)) : second + 1]
        assert life.seen[second] in recent, f"after {second} s: {life.seen[second]} instead of {recent[-1]}"
    assert life.seen[-1] is None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", range(1, TWIN.api.status_writes + 1))
def test_c1_each_status_write_survives_each_fault(mode: str, number: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        life = Life(monkeypatch, {number: mode})
        life.run()
    (at,) = life.api.faulted_at
    checked = int(at + LIMIT) + 1
    assert life.seen[checked] in TWIN.seen[int(at) : checked + 1]
