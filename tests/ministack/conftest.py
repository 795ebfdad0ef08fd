"""One emulator for the tests of this folder, an account for each, and the operator's session with the shims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest

from tests.ministack.account import REGION, Account
from tests.ministack.differences import DIFFERENCES
from tests.ministack.emulator import running

READS = ("Describe", "List", "Get", "Filter")


@dataclass
class Calls:
    """What the operator has asked since the last reset; the shims' own questions are not among it."""

    names: list[str] = field(default_factory=list)

    def note(self, model: Any, **_: Any) -> None:
        self.names.append(model.name)

    @property
    def writes(self) -> list[str]:
        return [name for name in self.names if not name.startswith(READS)]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("ministack")) as served:
        yield served


@pytest.fixture
def account(url: str) -> Iterator[Account]:
    fresh = Account(url)
    yield fresh
    fresh.close()


@pytest.fixture
def calls(account: Account, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Points the operator at the account: every session that it makes has the shims and is listened to."""
    session = boto3.Session(region_name=REGION)
    heard = Calls()
    session.events.register("provide-client-params", heard.note)
    for difference in DIFFERENCES:
        for event, handler in (difference.shim(account) if difference.shim else {}).items():
            session.events.register(event, handler)
    monkeypatch.setenv("AWS_ENDPOINT_URL", account.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", account.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("buildcache.aws.clients.make_session", lambda: session)
    return heard
