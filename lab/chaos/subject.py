"""What a scenario of the matrix can do. Each kind of object is an implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Subject(Protocol):
    """Objects from their creation to their end, again and again under new names."""

    title: str
    """What lives, for the table: BuildCache."""

    resource: str
    """Its plural. The operator's writes to other kinds are no effects of this life."""

    phases: Sequence[str]
    """In their order; the last one leaves nothing."""

    is_chain: bool
    """Whether each phase goes on from where the one before ended. Else a life leaves out those to which nothing happens."""

    def hits(self, phase: str, operation: str) -> bool:
        """Whether this write is to be spoilt in this phase; not where another phase has it in the same situation."""

    def begin(self) -> None:
        """A new object is meant from now on."""

    def prepare(self, phase: str) -> None:
        """What must be there before the phase; nothing is spoilt yet. Raises LabError when it does not come about."""

    def act(self, phase: str) -> None:
        """What a user does."""

    def is_done(self, phase: str) -> bool:
        """Whether the operator says that it is through with it."""

    def picture(self) -> object:
        """The whole outcome, without what differs between two undisturbed lives."""

    def broken(self) -> str | None:
        """What must never be, at no moment of this life, and was; None: nothing."""

    def explain(self) -> str:
        """What the object says of itself, for a failure's message."""
