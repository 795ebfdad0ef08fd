"""One life of a subject, with at most one fault in each phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from lab.chaos.fault import Fault
from lab.chaos.subject import Subject
from lab.demo.cluster import Cluster
from lab.errors import LabError

DEADLINE = 90.0
"""Seconds for one phase, backoff after faults included."""
QUIET = 15.0
"""Seconds for what still goes on when the object says that it is done: an old task definition is retired then."""
WITHIN = 10.0
"""Seconds that a phase may take longer than undisturbed when one status write fails."""
POLL = 0.1

Pictures = Mapping[str, object]


@dataclass
class Lived:
    """What came of a life: by phase the picture at its end, how many seconds it took, and what went wrong."""

    pictures: dict[str, object] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def live(
    cluster: Cluster,
    subject: Subject,
    faults: Mapping[str, Fault],
    expected: Pictures,
    around: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    undisturbed: Mapping[str, float] | None = None,
) -> Lived:
    """From creation to end. A phase that goes wrong does not end the life: what comes after must still lead to nothing.

    `around` is entered when a phase is prepared and left at its end. `undisturbed`: the seconds that the phases take without a fault.
    """
    lived = Lived()
    cluster.control("POST", "/operator/start")
    subject.begin()
    for phase in subject.phases:
        if faults and not subject.is_chain and phase not in faults and phase != subject.phases[-1]:
            continue
        problem = None
        try:
            subject.prepare(phase)
        except LabError as error:
            problem = f"before anything was spoilt: {error}"
            _calm(cluster)
        with around(phase):
            fault, limit = faults.get(phase), DEADLINE
            if fault is not None and fault.is_prompt and undisturbed is not None:
                limit = undisturbed[phase] + WITHIN
            began = time.monotonic()
            problem = problem or _phase(cluster, subject, phase, fault, limit)
            lived.seconds[phase] = time.monotonic() - began
            problem = problem or _end(subject, expected.get(phase))
            _calm(cluster)
            lived.pictures[phase] = subject.picture()
        problem = problem or subject.broken()
        if problem is not None:
            lived.problems[phase] = problem
    return lived


def _phase(cluster: Cluster, subject: Subject, phase: str, fault: Fault | None, limit: float) -> str | None:
    """From the user's act to what the object says at its end. The fault stays in force: some effects come after that."""
    if fault is not None:
        cluster.control("POST", *fault.request())
    subject.act(phase)
    if fault is not None and fault.kills and not until(lambda: _pid(cluster) is None, DEADLINE / 3):
        return "the call at which the operator was to be killed never came"
    cluster.control("POST", "/operator/start")
    if not until(lambda: subject.is_done(phase), limit):
        return f"not done within {limit:.0f} s: {subject.broken() or subject.explain()}"
    return None


def _end(subject: Subject, expected: object) -> str | None:
    if expected is not None and not until(lambda: subject.picture() == expected, QUIET):
        return subject.broken() or f"there is {subject.picture()}, not {expected}"
    return None


def _calm(cluster: Cluster) -> None:
    """Nothing is spoilt any more, and the operator runs."""
    cluster.control("DELETE", "/faults")
    cluster.control("POST", "/operator/start")


def _pid(cluster: Cluster) -> int | None:
    pid: int | None = cluster.control("GET", "/operator")["pid"]
    return pid


def until(there: Callable[[], bool], seconds: float) -> bool:
    """Wait for it; False when it has not come by then."""
    deadline = time.monotonic() + seconds
    while not there():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
