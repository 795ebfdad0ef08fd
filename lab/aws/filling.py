"""Puts the better backends and responses of `gaps/` in moto's place, and keeps the accounts of several `Aws` in one process apart.

moto looks up the class of a backend in its `BackendDict` whenever it makes one, and the functions that answer in the `url_paths` of
its url modules. Both are replaced here, so nothing of moto's own classes is changed, and filling twice is the same as filling once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import FakeKey, s3_backends

from lab.aws.gaps import ec2, ecr, ecs, efs, logs
from lab.aws.timing import Timing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication


@dataclass(frozen=True, slots=True)
class Setting:
    """What the filled gaps must know of the lab."""

    registry: str
    timing: Timing
    task_counts: Callable[[str], tuple[int, int]]
    """Running and pending tasks of a cluster, by its ARN."""


_living: set[str] = set()


def open_account(account: str, setting: Setting) -> None:
    """Begin with an empty account. moto's state is global, so an account can be open once in a process."""
    if account in _living:
        raise RuntimeError(
            f"account {account} is served by another Aws of this process, and moto keeps one state for both: "
            "stop that one first, or give this one another account"
        )
    _living.add(account)
    forget(account)
    ec2.fill()
    ecr.fill(account, setting.registry)
    ecs.fill(account, setting.task_counts)
    efs.fill(account, setting.timing)
    logs.fill()


def close_account(account: str) -> None:
    """Give the account free, with nothing in it."""
    forget(account)
    _living.discard(account)


def forget(account: str) -> None:
    """Drop the state of one account; those of other `Aws` stay."""
    for backend in s3_backends.get(account, {}).values():
        # moto keeps each object's content in a temporary file; its own reset would close those of all accounts.
        for bucket in backend.buckets.values():
            s3_backends.bucket_accounts.pop(bucket.name, None)
            for key in bucket.keys.values():
                if isinstance(key, FakeKey):
                    key.dispose()
    for backends in list(BackendDict._instances):
        backends.pop(account, None)


def application(account: str) -> WSGIApplication:
    """Return moto as a WSGI application whose callers belong to `account`."""
    moto: Any = DomainDispatcherApplication(create_backend_app)

    def serve(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        # The default account needs no word; without one, credentials of AssumeRole lead to the role's account.
        if account != DEFAULT_ACCOUNT_ID:
            environ.setdefault("HTTP_X_MOTO_ACCOUNT_ID", account)
        answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    return serve
