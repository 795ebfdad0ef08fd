"""What can go wrong with AWS, by what the caller does about it.

Drivers raise these, a pass catches them once and turns them into conditions; every other exception is a bug and keeps its traceback.

    Trouble
    ├── Unavailable   throttled, down or out of reach: try again soon, with backoff; what was ready stays ready
    ├── Denied        missing or expired permission: try again in minutes; a person must grant it
    └── Rejected      AWS or the spec says no: try again at the slow interval; a person must change something

Waiting (a file system is being created) and absence are not here: they are values.
"""

from buildcache.core.status import Reason


class Trouble(Exception):
    """Base of the three: a reason of the closed set, a sentence, and where it happened."""

    def __init__(self, reason: Reason, message: str, *, operation: str = "", resource: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.operation = operation
        self.resource = resource

    def __str__(self) -> str:
        """One line for a condition: operation, resource, what was said."""
        where = " on ".join(part for part in (self.operation, self.resource) if part)
        return f"{where}: {self.message}" if where else self.message


class Unavailable(Trouble):
    """AWS is throttling, failing or out of reach; a write may have happened, so the next pass looks first."""

    def __init__(self, message: str, *, operation: str = "", resource: str = "") -> None:
        super().__init__(Reason.AWS_UNAVAILABLE, message, operation=operation, resource=resource)


class Denied(Trouble):
    """The operator's credentials lack a permission or have expired; the message names the operation, never a credential."""

    def __init__(self, message: str, *, operation: str = "", resource: str = "") -> None:
        super().__init__(Reason.ACCESS_DENIED, message, operation=operation, resource=resource)


class Rejected(Trouble):
    """The request cannot succeed until the spec or the account changes."""
