"""One writer for a scope, without I/O: in any order of decisions, effects and crashes, and nobody waits in vain."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.api.meta import FINALIZER
from buildcache.core import names, scope
from buildcache.core.admission import Admitted, Line, line, turn
from buildcache.core.build import StartTask, admit
from buildcache.core.scope import Coming, Mounted, Without
from buildcache.core.status import access_point_part, executor_part
from tests.fakes.builds import START, build_body, cache_body

TASKS = "arn:aws:ecs:eu-west-1:111122223333:task-definition/buildcache-team-a-shop-0123456789"
KANIKO = {
    "name": "kaniko",
    "engine": "Kaniko",
    "launchType": "Fargate",
    "cpu": 1024,
    "memory": 2048,
    "taskRoleARN": "arn:aws:iam::111122223333:role/build",
    "executionRoleARN": "arn:aws:iam::111122223333:role/build",
}
ARM = {**KANIKO, "name": "arm", "platform": "linux/arm64"}
POINTS = {
    "amd64/web": "fsap-0000000000000001",
    "amd64/api": "fsap-0000000000000002",
    "arm64/web": "fsap-0000000000000003",
}


def definition(executor: str, name: str | None) -> str:
    return f"{TASKS}-{executor}-{POINTS[name]}:1" if name else f"{TASKS}-{executor}:1"


def cache_of(*ready: str, rows: Mapping[str, str] = POINTS, **spec: Any) -> BuildCache:
    """A BuildCache with a file system, both executors, and everything made for these scopes."""
    body = cache_body(
        ready=("RegistryReady", "ExecutorsReady", *(ready or ("FileSystemReady",))),
        **{"fileSystem": {}, "executors": [KANIKO, ARM], **spec},
    )
    parts = body["status"]["parts"]
    for executor in ("kaniko", "arm"):
        parts.append({"name": executor_part(executor), "kind": "ecs/TaskDefinition", "id": definition(executor, None)})
    for name, point in rows.items():
        executor = "arm" if name.startswith("arm64") else "kaniko"
        parts.append({"name": access_point_part(name), "kind": "efs/AccessPoint", "id": point, "state": "available"})
        parts.append(
            {
                "name": executor_part(f"{executor}/{name}"),
                "kind": "ecs/TaskDefinition",
                "id": definition(executor, name),
            }
        )
    return BuildCache.parse(body)


def body(number: int, service: str = "web", **more: Any) -> dict[str, Any]:
    found = build_body(uid=f"uid-{number}", created=START + timedelta(seconds=number), service=service, **more)
    found["metadata"]["name"] = f"b-{number}"
    return found


def noted(one: dict[str, Any], arn: str, executor: str = "kaniko") -> dict[str, Any]:
    """A Build whose status shows its task."""
    one["metadata"]["finalizers"] = [FINALIZER]
    one["status"] = {
        "attempts": [{"number": 1, "taskARN": "arn:task"}],
        "executor": {"name": executor, "engine": "Kaniko", "taskDefinitionARN": arn},
    }
    return one


def choose(
    cache: BuildCache, one: dict[str, Any], builds: list[dict[str, Any]], left: float = 60
) -> Mounted | Coming | Without:
    spec = cache.spec.executors[1] if one["spec"].get("executor") == "arm" else cache.spec.executors[0]
    return scope.choose(cache, spec, Build.parse(one), builds, left=left)


HELD: dict[str, Any] = {"held": True}
MOUNTS = Mounted(POINTS["amd64/web"], definition("kaniko", "amd64/web"))


# --- what a Build gets


def test_alone_it_mounts() -> None:
    mine = body(1, **HELD)
    assert choose(cache_of(), mine, [mine]) == MOUNTS


@pytest.mark.parametrize(
    ("rival", "mounts"),
    [
        pytest.param(body(2, **HELD), False, id="admitted, nothing known"),
        pytest.param(noted(body(2), definition("kaniko", "amd64/web")), False, id="mounts the same"),
        pytest.param(
            noted(body(2), f"{TASKS}-kaniko-fsap-00000000000000ff:1"), False, id="an access point since replaced"
        ),
        pytest.param(noted(body(2), definition("kaniko", None)), True, id="known plain"),
        pytest.param(noted(body(2), definition("arm", "arm64/web"), "arm"), True, id="another architecture"),
        pytest.param(body(2, "api", **HELD), True, id="another service"),
        pytest.param(body(2, cache={"mode": "ReadOnly"}, **HELD), True, id="only reads"),
        pytest.param(body(2), True, id="not admitted"),
    ],
)
def test_beside_another_one_it_mounts_only_when_that_is_known_not_to(rival: dict[str, Any], mounts: bool) -> None:
    mine = body(1, **HELD)
    found = choose(cache_of(), mine, [mine, rival])
    assert found == MOUNTS if mounts else isinstance(found, Without) and "Build b-2" in found.why


def test_between_two_attempts_it_counts_as_a_writer() -> None:
    mine, rival = body(1, **HELD), noted(body(2), definition("kaniko", None))
    rival["status"]["attempts"].append({"number": 2})
    assert isinstance(choose(cache_of(), mine, [mine, rival]), Without)


def test_a_file_system_that_is_not_ready_is_not_waited_for() -> None:
    found = choose(cache_of("NetworkReady"), body(1), [])
    assert isinstance(found, Without)
    assert "the file system is not ready" in found.why


@pytest.mark.parametrize("state", ["unusable", "refused", "absent"])
def test_what_cannot_be_used_is_not_waited_for(state: str) -> None:
    cache = cache_of()
    parts = tuple(
        part.model_copy(update={"state": state}) if part.name == "access-point/amd64/web" else part
        for part in cache.status.parts
    )
    cache = cache.model_copy(update={"status": cache.status.model_copy(update={"parts": parts})})
    found = choose(cache, body(1), [])
    assert isinstance(found, Without)
    assert state in found.why


def test_what_is_coming_is_waited_for_but_not_to_the_end_of_the_queue_timeout() -> None:
    assert isinstance(choose(cache_of(rows={}), body(1), []), Coming)
    assert isinstance(choose(cache_of(rows={}), body(1), [], left=0), Without)


@pytest.mark.parametrize(
    "spec",
    [{"enabled": False}, {"fileSystem": None}, {"executors": [{**KANIKO, "engine": "BuildKit", "launchType": "EC2"}]}],
    ids=["disabled", "no file system", "no Kaniko"],
)
def test_where_nothing_can_be_mounted_nothing_is_said(spec: dict[str, Any]) -> None:
    assert choose(cache_of(**spec), body(1), []) == Without()


def test_more_scopes_than_are_kept_ready_go_without() -> None:
    rows = {f"amd64/service-{number}": f"fsap-{number:017x}" for number in range(scope.LIMIT)}
    cache = cache_of(rows={})
    parts = list(cache.status.parts)
    kind = type(parts[0])
    parts += [
        kind(name=f"executor/kaniko/{name}", kind="ecs/TaskDefinition", id="arn", state="ACTIVE") for name in rows
    ]
    cache = cache.model_copy(update={"status": cache.status.model_copy(update={"parts": tuple(parts)})})
    assert isinstance(choose(cache, body(1), []), Without)


def test_a_task_that_was_started_before_is_looked_for_in_both_families() -> None:
    step = admit(Build.parse(body(1)), cache_of(), cluster_id="test", attempt=1, now=START)
    assert isinstance(step, StartTask)
    assert len(step.families) == 2
    assert step.families[1] == definition("kaniko", "amd64/web").rpartition("/")[2].removesuffix(":1")


# --- the line


def test_a_build_waits_for_the_writer_and_those_behind_it_do_not() -> None:
    writer = noted(body(0), definition("kaniko", "amd64/web"))
    builds = [writer, body(1), body(2), body(3, "api")]
    held = scope.held_up(cache_of(), builds, START)
    assert held == {"uid-1": "b-0", "uid-2": "b-1"}
    seen = Line(1, line(builds).waiting, held)
    limits = cache_of(limits={"maxConcurrentBuilds": 2}).spec.limits
    steps = [turn(uid, seen, limits, known=True) for uid in seen.waiting]
    assert [type(step).__name__ for step in steps] == ["InLine", "InLine", "Admitted"]
    assert [getattr(step, "position", None) for step in steps[:2]] == [0, 1]


def test_of_several_that_wait_the_oldest_goes_first() -> None:
    assert scope.held_up(cache_of(), [body(1), body(2), body(3)], START) == {"uid-2": "b-1", "uid-3": "b-1"}


def test_nobody_waits_longer_than_its_queue_timeout_allows() -> None:
    writer = noted(body(0), definition("kaniko", "amd64/web"))
    patient, hasty = body(1), body(2, timeouts={"queue": "60s"})
    builds = [writer, patient, hasty]
    assert set(scope.held_up(cache_of(), builds, START + timedelta(seconds=40))) == {"uid-1", "uid-2"}
    assert set(scope.held_up(cache_of(), builds, START + timedelta(seconds=55))) == {"uid-1"}
    assert scope.held_up(cache_of(), builds, START + timedelta(minutes=56)) == {}


@pytest.mark.parametrize("cache", [cache_of("NetworkReady"), cache_of(enabled=False)], ids=["not ready", "disabled"])
def test_nobody_waits_for_what_cannot_be_mounted(cache: BuildCache) -> None:
    assert scope.held_up(cache, [noted(body(0), definition("kaniko", "amd64/web")), body(1)], START) == {}


def test_a_queue_that_may_not_be_turns_nobody_away_for_a_scope() -> None:
    builds = [noted(body(0), definition("kaniko", "amd64/web")), body(1)]
    seen = Line(1, ("uid-1",), scope.held_up(cache_of(), builds, START))
    limits = cache_of(limits={"maxConcurrentBuilds": 2, "maxQueuedBuilds": 0}).spec.limits
    assert turn("uid-1", seen, limits, known=False) == Admitted()


# --- names


services = st.text(min_size=1, max_size=253) | st.text(st.sampled_from("ab.-_/@ "), min_size=1, max_size=60)


@given(services, services)
def test_two_services_never_share_a_directory(one: str, other: str) -> None:
    paths = [
        names.scope_path(names.Identity("c", "n", "m", "u" * 36), names.scope_name(each, "linux/amd64"))
        for each in (one, other)
    ]
    assert (paths[0] == paths[1]) == (one == other)
    for path in paths:
        assert len(path) <= 100
        assert path.count("/") == 4
        assert all(level and not level.startswith(".") for level in path[1:].split("/"))
        assert not set(path) & set("$#<>;`|&?{}^*\n ")


def test_a_mapped_name_cannot_be_somebody_elses_plain_one() -> None:
    mapped = names.scope_name("a b", "linux/amd64").removeprefix("amd64/")
    assert names.scope_name(mapped, "linux/amd64") != f"amd64/{mapped}"


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True), st.from_regex(r"[0-9a-f]{17}", fullmatch=True)
)
def test_a_family_tells_what_it_mounts(executor: str, digits: str) -> None:
    identity = names.Identity("cluster", "namespace" * 7, "name." * 50, "u" * 36)
    assert names.mounted_by(names.scope_family(identity, executor, f"fsap-{digits}")) == f"fsap-{digits}"
    if "fsap-" not in executor:
        assert names.mounted_by(names.family(identity, executor)) is None


# --- never two writers


@dataclass
class Simulated:
    """An operator, the API server and ECS. What was decided has its effect later, or never; what has an effect may never be noted."""

    services: list[str]
    now: datetime = START
    bodies: dict[int, dict[str, Any]] = field(default_factory=dict)
    decided: dict[int, Any] = field(default_factory=dict)
    """Decisions of passes that are under way."""
    tasks: dict[tuple[int, int], str] = field(default_factory=dict)
    """(Build, attempt) → task definition: ECS's client tokens."""
    running: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.cache = cache_of(limits={"maxConcurrentBuilds": 3})
        self.bodies = {number: body(number, service) for number, service in enumerate(self.services)}

    def attempt(self, number: int) -> int:
        attempts = self.bodies[number]["status"].get("attempts") or [{"number": 1}]
        return int(attempts[-1]["number"])

    def decide(self, number: int) -> None:
        if number in self.decided or number not in self.bodies:
            return
        mine, builds = self.bodies[number], [self.bodies[each] for each in sorted(self.bodies)]
        if FINALIZER not in mine["metadata"]["finalizers"]:
            seen = line(builds)
            seen = Line(seen.running, seen.waiting, scope.held_up(self.cache, builds, self.now))
            if turn(mine["metadata"]["uid"], seen, self.cache.spec.limits, known=True) == Admitted():
                self.decided[number] = "hold"
        elif not (mine["status"].get("attempts") or [{}])[-1].get("taskARN"):
            found = choose(self.cache, mine, builds)
            arn = found.task_definition_arn if isinstance(found, Mounted) else definition("kaniko", None)
            self.decided[number] = ("run", arn)

    def effect(self, number: int) -> None:
        step = self.decided.pop(number, None)
        if step is None or number not in self.bodies:
            return
        if step == "hold":
            self.bodies[number]["metadata"]["finalizers"] = [FINALIZER]
        elif step[0] == "run":
            token = (number, self.attempt(number))
            if token not in self.tasks:
                self.tasks[token] = step[1]
                self.running.add(token)
            self.decided[number] = ("note", token)
        else:
            status = self.bodies[number]["status"]
            rows = [row for row in status.get("attempts", ()) if row["number"] != step[1][1]]
            row = {"number": step[1][1], "taskARN": "arn:task"}
            executor = {"name": "kaniko", "engine": "Kaniko", "taskDefinitionARN": self.tasks[step[1]]}
            self.bodies[number]["status"] = {"attempts": [*rows, row], "executor": executor}

    def crash(self, _: int) -> None:
        self.decided.clear()

    def forget(self, number: int) -> None:
        """Somebody empties the status of a Build in its first attempt."""
        if number in self.bodies and number not in self.decided and self.attempt(number) == 1:
            self.bodies[number]["status"] = {}

    def stop(self, number: int) -> None:
        """The task ends."""
        if number in self.bodies:
            self.running.discard((number, self.attempt(number)))

    def _has_stopped(self, number: int) -> bool:
        if number not in self.bodies or number in self.decided:
            return False
        row = (self.bodies[number]["status"].get("attempts") or [{}])[-1]
        return bool(row.get("taskARN")) and (number, row["number"]) not in self.running

    def end(self, number: int) -> None:
        if self._has_stopped(number):
            del self.bodies[number]

    def retry(self, number: int) -> None:
        if self._has_stopped(number):
            attempts = self.bodies[number]["status"]["attempts"]
            attempts.append({"number": attempts[-1]["number"] + 1})

    def later(self, _: int) -> None:
        self.now += timedelta(minutes=20)

    def writers(self, service: str) -> int:
        return sum(
            1 for number, attempt in self.running
            if self.services[number] == service and "fsap-" in self.tasks[number, attempt]
        )  # fmt: skip


OPERATIONS = [*["decide"] * 5, *["effect"] * 6, "stop", "end", "retry", "crash", "forget", "later"]
"""Mostly what goes on: rare events alone reach no state worth a look."""


@settings(max_examples=400)
@given(
    st.sampled_from([["web", "web"], ["web", "web", "web"], ["web", "api", "web", "web"]]),
    st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 3)), min_size=20, max_size=100),
)
def test_never_two_writers_whatever_happens_when(services: list[str], events: list[tuple[str, int]]) -> None:
    world = Simulated(services)
    for operation, number in events:
        getattr(world, operation)(number)
        for service in ("web", "api"):
            assert world.writers(service) <= 1


@given(st.lists(st.sampled_from(["web", "api"]), min_size=1, max_size=5))
def test_where_nothing_goes_wrong_each_build_mounts_in_its_turn(services: list[str]) -> None:
    world = Simulated(services)
    for _ in range(40):
        for number in range(len(services)):
            for _ in range(3):
                world.decide(number)
                world.effect(number)
                world.effect(number)
        for number in range(len(services)):
            world.stop(number)
            world.end(number)
    assert world.bodies == {}
    assert all("fsap-" in arn for arn in world.tasks.values())
    for service in ("web", "api"):
        order = [number for number, _ in world.tasks if services[number] == service]
        assert order == sorted(order)
