"""What all tests share: golden files, and Hypothesis without a stopwatch (shared machines are slow at times)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Random pairs of a cache and a build are often ones that the rules refuse, and then no example of the property.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
settings.register_profile(
    "ci", settings.get_profile("steady"), derandomize=True
)  # the gate judges a change, not the luck of a run
settings.load_profile("ci" if os.environ.get("CI") else "steady")

GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[str, Any], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files instead of comparing with them"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compares a value with the JSON file of that name below tests/golden."""

    def compare(name: str, value: Any) -> None:
        file = GOLDEN / f"{name}.json"
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        assert json.loads(file.read_text()) == json.loads(text), (
            f"{file} differs; pytest --update-golden writes it anew"
        )

    return compare
