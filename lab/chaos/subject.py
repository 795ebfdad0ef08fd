"""What a scenario of the matrix can do. A second kind of object is a second implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Subject(Protocol):
    """One object from its creation to its end, again and again under new names."""

    phases: Sequence[str]
    """In their order; the last one leaves nothing."""

    def begin(self) -> None:
        """A new object is meant from now on."""

    def act(self, phase: str) -> None:
        """What a user does."""

    def is_done(self, phase: str) -> bool:
        """Whether the operator says that it is through with it."""

    def picture(self) -> object:
        """The whole outcome in AWS, without what differs between two undisturbed lives."""

    def explain(self) -> str:
        """What the object says of itself, for a failure's message."""
