"""The operator's own AWS credentials: whether there are any, and a pause after a refresh that failed.

botocore refreshes credentials inside of whatever call needs them first. With a web identity that is a call to STS, by a client
that botocore makes itself; only the session's default configuration reaches it.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import NoCredentialsError

from buildcache.core.errors import Denied, Rejected, Unavailable

from .errors import translated

STS_CONFIG = Config(
    connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2}, tcp_keepalive=True
)
"""A silent STS costs eight seconds: every AWS call waits for it, and with them a worker thread each."""

SIGN_IN = "sts:AssumeRoleWithWebIdentity"
"""Allowed by the trust policy of the role, so no permission of its own policy."""

PAUSE = 10.0
"""Seconds after a failed refresh in which its error is the answer to all who wait for credentials, instead of a call each."""


def make_session() -> boto3.Session:
    """Return a session whose calls to STS are as impatient as all others."""
    core = botocore.session.get_session()
    core.set_default_client_config(STS_CONFIG)
    return boto3.Session(botocore_session=core)


class OwnCredentials:
    """The credentials of one session. Thread-safe."""

    def __init__(self, session: boto3.Session, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._lock = threading.Lock()
        self._guarded = False

    def find(self) -> bool:
        """Look for credentials, unless they were found before; tell whether there are any."""
        with self._lock:
            found = self._session.get_credentials()
            if isinstance(found, RefreshableCredentials) and not self._guarded:
                # Nothing public lets a failed refresh be remembered. A test fails when this name is gone.
                inner: Any = found
                inner._refresh_using = _Refresh(inner._refresh_using, self._clock)
                self._guarded = True
            return found is not None

    def problem(self) -> str:
        """Return why no call can be signed, and what to do; empty when calls can be. May ask STS."""
        try:
            with translated(SIGN_IN):
                found = self._session.get_credentials() if self.find() else None
                if found is None:
                    raise NoCredentialsError
                found.get_frozen_credentials()
        except (Denied, Unavailable, Rejected) as error:
            return f"AWS credentials: {error.message}"
        return ""


class _Refresh:
    """Calls `refresh` unless it has failed a moment ago. botocore lets one thread at a time in."""

    def __init__(self, refresh: Callable[[], Any], clock: Callable[[], float]) -> None:
        self._refresh = refresh
        self._clock = clock
        self._failed: tuple[float, Exception] | None = None

    def __call__(self) -> Any:
        if self._failed is not None and self._clock() - self._failed[0] < PAUSE:
            raise self._failed[1].with_traceback(None)
        try:
            metadata = self._refresh()
        except Exception as error:  # whatever it was, the next thread in line would only get it again
            self._failed = self._clock(), error
            raise
        self._failed = None
        return metadata
