"""The list of differences is true: one that a newer ministack no longer has must leave the list, and its shim with it."""

from collections.abc import Iterator

import pytest

from tests.ministack.account import Account
from tests.ministack.differences import DIFFERENCES, Difference


@pytest.fixture(scope="module")
def raw(url: str) -> Iterator[Account]:
    account = Account(url)
    yield account
    account.close()


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: f"{each.operation}: {each.ministack}")
def test_the_emulator_still_differs(raw: Account, difference: Difference) -> None:
    assert difference.is_there(raw), f"ministack answers {difference.operation} as AWS does now: drop the entry"
    assert difference.evidence.startswith("https://")
