"""Which Kubernetes versions are too old."""

from typing import Any

import pytest

from buildcache.core.cluster_version import MINIMUM, complaint


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ({"major": "1", "minor": "30"}, True),
        ({"major": "1", "minor": "30+"}, True),
        ({"major": "1", "minor": "9"}, True),
        ({"major": "1", "minor": "31"}, False),
        ({"major": "1", "minor": "31+"}, False),
        ({"major": "1", "minor": "37"}, False),
        ({"major": "2", "minor": "0"}, False),
        pytest.param({"major": "", "minor": ""}, False, id="does not tell"),
        pytest.param({}, False, id="is no version"),
        pytest.param({"major": None, "minor": [3]}, False, id="nonsense"),
    ],
)
def test_c22_a_cluster_that_is_too_old_is_named_with_what_to_do(version: dict[str, Any], old: bool) -> None:
    said = complaint(version)
    assert bool(said) is old
    if old:
        assert f"is older than {MINIMUM[0]}.{MINIMUM[1]}" in said
        assert said.endswith("Upgrade the cluster")
