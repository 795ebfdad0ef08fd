"""The chaos matrix: a fixed sample of it on the lab of the tests; `make chaos` runs all of it."""

from collections.abc import Iterable, Iterator

import pytest

from lab.chaos.cache import CacheLife
from lab.chaos.fault import Effect, Fault
from lab.chaos.matrix import Matrix, table
from lab.demo.cluster import Cluster
from tests.lab.world import World

SAMPLE = [
    Fault(Effect("create", "CreateMountTarget"), "kill after"),
    Fault(Effect("update", "UpdateFileSystem"), "lost"),
    Fault(Effect("delete", "DeleteFileSystem"), "kill before"),
    Fault(Effect("create", "patch buildcaches"), "kill after"),
    Fault(Effect("update", "patch buildcaches/status"), "kill before"),
    Fault(Effect("delete", "DeleteSecurityGroup"), "throttle"),
]


@pytest.fixture
def matrix(world: World, namespace: str) -> Iterator[Matrix]:
    cluster = Cluster(world.info, namespace)  # type: ignore[arg-type]
    subject = CacheLife(cluster)
    yield Matrix(cluster, subject)
    subject.close()


@pytest.mark.lab
def test_a_sample_of_the_matrix_is_survived(matrix: Matrix) -> None:
    """T01, T02, T33, T38, T41, T71, fault 19."""
    matrix.learn()
    assert {fault.effect for fault in SAMPLE} <= set(matrix.effects), matrix.effects
    results = matrix.run(SAMPLE, range)
    assert {fault: problem for fault, problem in results.items() if problem is not None} == {}


def test_the_table_counts_what_was_survived() -> None:
    effect = Effect("create", "CreateFileSystem")
    shown = table({Fault(effect, "lost"): None, Fault(effect, "reset"): "left two"})
    cells: list[Iterable[object]] = [list(column.cells) for column in shown.columns]
    assert list(cells[-1]) == ["1/2", "1/2"]
    assert shown.row_count == 2
