"""Puts the better backends and responses of `gaps/` in moto's place and starts with an empty account.

moto looks up the class of a backend in its `BackendDict` whenever it makes one, and the functions that answer in the `url_paths` of
its url modules. Both are replaced here, so nothing of moto's own classes is changed, and filling twice is the same as filling once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

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


def fill(setting: Setting) -> None:
    """Forget all state of moto and serve it better from now on."""
    BackendDict.reset()
    reset_model_data()
    ec2.fill()
    ecr.fill(setting.registry)
    ecs.fill(setting.task_counts)
    efs.fill(setting.timing)
    logs.fill()


def application(account: str) -> WSGIApplication:
    """Return moto as a WSGI application whose callers belong to `account`."""
    moto: Any = DomainDispatcherApplication(create_backend_app)

    def serve(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if account != DEFAULT_ACCOUNT_ID:
            environ.setdefault("HTTP_X_MOTO_ACCOUNT_ID", account)
        answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    return serve
