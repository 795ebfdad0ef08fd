"""The flag function against vectors that real engines are held to as well (tests/lab/conformance)."""

from __future__ import annotations

import pytest

from tests.vectors import VECTORS, Vector


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.says)
def test_a_manifest_gives_exactly_these_arguments(vector: Vector) -> None:
    found = vector.resolve()
    assert list(found.flags.args) == vector.args
    assert dict(found.flags.environment) == dict(vector.environment)
    assert (found.flags.mounts, found.flags.volumes) == ((), ())
