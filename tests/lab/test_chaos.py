"""The chaos matrix: fixed samples of it on the lab of the tests; `make chaos` runs all of it."""

from collections.abc import Iterable
from typing import Any

import pytest

from lab.chaos.build import BuildLife
from lab.chaos.cache import CacheLife
from lab.chaos.fault import STATUS_KINDS, STATUS_WRITE, Effect, Fault
from lab.chaos.history import History
from lab.chaos.matrix import Matrix, table
from lab.demo.cluster import Cluster
from tests.lab.world import World

CACHE_SAMPLE = [
    Fault(Effect("create", "CreateMountTarget"), "kill after"),
    Fault(Effect("update", "UpdateFileSystem"), "lost"),
    Fault(Effect("delete", "DeleteFileSystem"), "kill before"),
    Fault(Effect("create", "patch buildcaches"), "kill after"),
    Fault(Effect("update", "patch buildcaches/status"), "kill before"),
    Fault(Effect("delete", "DeleteSecurityGroup"), "throttle"),
    Fault(Effect("need", "CreateAccessPoint"), "lost"),
    Fault(Effect("need", "RegisterTaskDefinition"), "kill after"),
]

BUILD_PHASES = ("launch", "withdraw", "delete")
BUILD_SAMPLE = [
    Fault(Effect("launch", "RunTask"), "kill after"),
    Fault(Effect("withdraw", "StopTask"), "kill before"),
    Fault(Effect("delete", "patch builds"), "kill before"),
    Fault(Effect("launch", "patch builds/status"), "lost"),
    Fault(Effect("withdraw", "patch builds/status"), "conflict"),
    Fault(Effect("delete", "StopTask"), "throttle"),
]


@pytest.fixture
def cluster(world: World, namespace: str) -> Cluster:
    return Cluster(world.info, namespace)  # type: ignore[arg-type]


@pytest.mark.lab
def test_a_sample_of_the_matrix_is_survived(cluster: Cluster) -> None:
    """T01, T02, T04, T33, T38, T41, T71, F19."""
    subject = CacheLife(cluster)
    survives(Matrix(cluster, subject), CACHE_SAMPLE)
    subject.close()


@pytest.mark.lab
def test_c1_a_status_write_that_fails_once_is_right_within_ten_seconds(cluster: Cluster) -> None:
    """The last write of each phase, which says that the cache is ready, or lets it go."""
    subject = CacheLife(cluster)
    matrix = Matrix(cluster, subject)
    matrix.learn()
    last = {effect.phase: effect for effect in matrix.effects if effect.operation == STATUS_WRITE}
    assert last["create"].turn > 1
    survived = matrix.run([Fault(last[phase], mode) for phase, mode in zip(last, STATUS_KINDS, strict=False)], range)
    assert {fault: problem for fault, problem in survived.items() if problem is not None} == {}
    subject.close()


@pytest.mark.lab
def test_a_sample_of_the_matrix_of_builds_is_survived(cluster: Cluster) -> None:
    """T06, T09, T57, F19, F24, F52."""
    subject = BuildLife(cluster, BUILD_PHASES)
    survives(Matrix(cluster, subject), BUILD_SAMPLE)
    subject.close()


def survives(matrix: Matrix, sample: list[Fault]) -> None:
    matrix.learn()
    assert {fault.effect for fault in sample} <= set(matrix.effects), matrix.effects
    results = matrix.run(sample, range)
    assert {fault: problem for fault, problem in results.items() if problem is not None} == {}


def build(succeeded: str = "Unknown", reason: str = "Running", arns: Iterable[str] = ("t1",)) -> dict[str, Any]:
    return {
        "metadata": {"name": "web-1", "uid": "u1"},
        "status": {
            "conditions": [{"type": "Succeeded", "status": succeeded, "reason": reason}],
            "attempts": [{"number": number, "taskARN": arn} for number, arn in enumerate(arns, 1)],
        },
    }


def task(arn: str, started_by: str = "u1", token: str | None = None) -> dict[str, Any]:
    return {"arn": arn, "startedBy": started_by, "clientToken": token or f"token of {arn}"}


@pytest.mark.parametrize(
    ("states", "tasks", "told"),
    [
        ([build(), build("True", "Completed")], [task("t1")], None),
        ([build(), build(arns=("t1", "t2"))], [task("t1"), task("t2")], None),
        (
            [build("True", "Completed"), build("False", "Cancelled"), build("True", "Completed")],
            [task("t1")],
            "had ended",
        ),
        ([build("True", "Completed"), {**build(), "status": {}}], [task("t1")], "had ended"),
        ([build()], [task("t1"), task("t2")], "has 2 tasks"),
        ([{**build(), "status": {}}], [task("t1"), task("t2")], "has 2 tasks"),
        ([build(arns=("t1", "t1"))], [task("t1"), task("t2")], "the attempts of web-1"),
        ([build(arns=("t3",))], [task("t1")], "the attempts of web-1"),
        ([build(arns=("t1", "t2"))], [task("t1", token="a"), task("t2", token="a")], "one client token"),
        ([build()], [task("t1"), task("t2", "u2")], "which is no Build"),
    ],
)
def test_a_history_tells_what_must_never_be(states: list[Any], tasks: list[Any], told: str | None) -> None:
    history = History()
    for state in states:
        history.take(state)
    found = history.broken(tasks, ["u1"])
    assert found is None if told is None else told in str(found)


def test_each_status_write_of_a_cache_has_modes_of_its_own_and_other_writes_have_not() -> None:
    first, third = Effect("create", STATUS_WRITE), Effect("create", STATUS_WRITE, 3)
    assert third.modes() == tuple(STATUS_KINDS)
    assert set(STATUS_KINDS) < set(first.modes())
    assert not set(STATUS_KINDS) & set(Effect("launch", "patch builds/status").modes())
    assert Fault(third, "409 once").request() == (
        "/faults",
        [{"kubernetes": STATUS_WRITE, "kind": "conflict", "skip": 2}],
    )
    assert str(third) == f"{STATUS_WRITE}, write 3"


def test_the_table_counts_what_was_survived() -> None:
    effect = Effect("create", "CreateFileSystem")
    shown = table({Fault(effect, "lost"): None, Fault(effect, "reset"): "left two"})
    cells: list[Iterable[object]] = [list(column.cells) for column in shown.columns]
    assert list(cells[-1]) == ["1/2", "1/2"]
    assert shown.row_count == 2
