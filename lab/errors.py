"""What the lab says when it cannot do its work: one exception, whose text says what happened, where, and what to do."""


class LabError(Exception):
    """A step of the lab failed; the message is for the person at the terminal, without a traceback."""
