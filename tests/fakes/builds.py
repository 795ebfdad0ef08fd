"""Bodies of a BuildCache and of Builds, and a shell in miniature: carries out what a Build pass says, as `controller/` does."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from buildcache.api.meta import FINALIZER, FINISHED_LABEL
from buildcache.core.admission import Line, line
from buildcache.core.build import Finished, finished
from buildcache.core.status import BUILD_GROUP_PART, executor_part, timestamp
from buildcache.reconcile.outcome import Outcome, Reconciler

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UID = "5f0e6f0e-1111-4222-8333-944445555666"
CLUSTER = "arn:aws:ecs:eu-west-1:111122223333:cluster/builds"
DEFINITION = "arn:aws:ecs:eu-west-1:111122223333:task-definition/buildcache-team-a-shop-ec2:1"
REPOSITORY = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/buildcache/team-a/shop"
ROLE = "arn:aws:iam::111122223333:role/build"
DIGEST = "sha256:" + "77ab" * 16


def cache_body(*, ready: Sequence[str] = ("RegistryReady",), **spec: Any) -> dict[str, Any]:
    """A BuildCache whose executor can be used; `ready` are its conditions that are True."""
    return {
        "metadata": {"name": "shop", "namespace": "team-a", "uid": "cache-uid", "generation": 1},
        "spec": {
            "region": "eu-west-1",
            "clusterARN": CLUSTER,
            "network": {"vpcID": "vpc-0a1b2c3d4e5f60718", "subnetIDs": ["subnet-0a1b2c3d4e5f60718"]},
            "executors": [
                {
                    "name": "ec2",
                    "engine": "BuildKit",
                    "launchType": "EC2",
                    "taskRoleARN": ROLE,
                    "executionRoleARN": ROLE,
                }
            ],
            **spec,
        },
        "status": {
            "observedGeneration": 1,
            "registry": {"repositoryURI": REPOSITORY},
            "parts": [
                {"name": executor_part("ec2"), "kind": "ecs/TaskDefinition", "id": DEFINITION, "state": "ACTIVE"},
                {"name": BUILD_GROUP_PART, "kind": "ec2/SecurityGroup", "id": "sg-0a1b2c3d4e5f60718"},
            ],
            "conditions": [
                {"type": kind, "status": "True", "reason": "Available", "lastTransitionTime": timestamp(START)}
                for kind in ready
            ],
        },
    }


def build_body(
    *,
    created: datetime = START,
    held: bool = False,
    uid: str = UID,
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    """A Build as the API server gives it right after its creation."""
    return {
        "metadata": {
            "name": "web-1",
            "namespace": "team-a",
            "uid": uid,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": timestamp(created),
            "finalizers": [FINALIZER] if held else [],
        },
        "spec": {
            "cacheRef": {"name": "shop"},
            "service": "web",
            "source": {"git": {"url": "https://github.com/acme/shop.git", "revision": "main"}},
            "output": {"images": ["111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:1"]},
            **spec,
        },
        "status": dict(status) if status is not None else {"observedGeneration": -1},
    }


class FakeView:
    """Implements `reconcile.view.View`."""

    def __init__(self, cache: Mapping[str, Any] | None) -> None:
        self.body = cache
        self.history: list[Finished] = []
        self.builds: list[Mapping[str, Any]] = []
        """All that have not ended, oldest first. The Build of a test that has only one need not be among them."""

    def cache(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        found = self.body is not None and (namespace, name) == ("team-a", "shop")
        return self.body if found else None

    def builds_of(self, namespace: str, cache_name: str) -> Sequence[Mapping[str, Any]]:
        return self.builds

    def line_of(self, namespace: str, cache_name: str) -> Line:
        return line(self.builds)

    def finished_of(self, namespace: str, cache_name: str) -> Sequence[Finished]:
        return tuple(self.history)

    def knows_history(self) -> bool:
        return True


class Shell:
    """One Build and the passes over it, with a clock that only tests move."""

    def __init__(self, reconciler: Reconciler, body: dict[str, Any], now: datetime = START) -> None:
        self.reconciler = reconciler
        self.body = copy.deepcopy(body)
        self.now = now
        self.writes: list[str] = []
        self._gone = False
        self.lose_status = False
        """True: the next status write never happens, as when the process is killed before it."""
        self.lose_launch = False
        """True: the next status write that tells of a task never happens; what is noted before RunTask is written."""

    def pass_once(self) -> Outcome:
        """One pass, and another one at once after the finalizer went on."""
        outcome = self.reconciler.reconcile(copy.deepcopy(self.body), self.now)
        if outcome.status is not None and dict(outcome.status) != self.body["status"]:
            if self.lose_status:
                self.lose_status = False
                return outcome
            if self.lose_launch and any("taskARN" in attempt for attempt in outcome.status.get("attempts", ())):
                self.lose_launch = False
                return outcome
            self._check(self.body["status"], outcome.status)
            self.body["status"] = copy.deepcopy(dict(outcome.status))
            self.writes.append("status")
        if outcome.finalizer == "add":
            self.body["metadata"]["finalizers"] = [FINALIZER]
            self.writes.append("hold")
            return self.pass_once()
        if outcome.finalizer == "release":
            metadata = self.body["metadata"]
            metadata["finalizers"] = []
            metadata.setdefault("labels", {})[FINISHED_LABEL] = "true"
            self._gone = "deletionTimestamp" in metadata
            self.writes.append("release")
        return outcome

    def settle(self, passes: int = 10) -> Outcome:
        """Passes as long as each wants another one at once."""
        outcome = self.pass_once()
        while outcome.again_after == 0 and passes:
            outcome, passes = self.pass_once(), passes - 1
        return outcome

    def later(self, **delta: float) -> Outcome:
        self.now += timedelta(**delta)
        return self.settle()

    def gone(self) -> bool:
        """Whether the API server has removed the object."""
        return self._gone

    def delete(self) -> None:
        self.body["metadata"]["deletionTimestamp"] = timestamp(self.now)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition; empty when it is not there."""
        found = [each for each in self.body["status"].get("conditions", ()) if each["type"] == kind]
        return (found[0]["status"], found[0]["reason"]) if found else ("", "")

    @property
    def succeeded(self) -> tuple[str, str]:
        return self.condition("Succeeded")

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.body["status"]
        return found

    def summary(self) -> Finished:
        return finished(self.body)

    @staticmethod
    def _check(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """What holds for every status that any pass writes."""
        kinds = {each["type"]: each["status"] for each in after.get("conditions", ())}
        assert not {"Reconciling", "Stalled"} <= set(kinds), "never both"
        ended = {each["status"] for each in before.get("conditions", ()) if each["type"] == "Succeeded"} - {"Unknown"}
        assert not ended, "a Build that has ended never changes"
