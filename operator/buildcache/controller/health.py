"""Known problems of the operator's set-up, by source: one log line when one appears or ends, and a line each in /readyz.

Reported from any thread, read by the probe's thread. A problem here is one that an administrator has to solve; what belongs
to one object is in that object's status instead.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)


class Health:
    """The problems that stand now."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}
        self._remarks: list[str] = []

    def report(self, source: str, problem: str) -> None:
        """Set what is wrong with a source, in words that name what to do; an empty text means that it works."""
        before = self._problems.get(source, "")
        if problem == before:
            return
        if problem:
            self._problems[source] = problem
            logger.error("not ready: %s", problem, extra={"source": source})
        else:
            self._problems.pop(source, None)
            logger.info("ready again", extra={"source": source, "was": before})

    def remark(self, text: str) -> None:
        """Say once what an administrator should know although the operator works; /readyz goes on saying it."""
        self._remarks.append(text)
        logger.warning("%s", text)

    def remarks(self) -> list[str]:
        """Return what was remarked."""
        return self._remarks.copy()

    def problems(self) -> list[str]:
        """Return what stands between the operator and its work, one text for each source."""
        return list(self._problems.copy().values())
