"""The plain progress of `docker buildx build`: the only thing that tells its steps. Lines of people's text, so data from outside.

`#7 [build 2/4] RUN make` names a vertex, `#7 CACHED`, `#7 DONE 0.1s` and `#7 ERROR: …` say how it ended. What a step prints has a
time between number and text (`#7 0.068 …`), so no step can pass for another. A step that comes from the cache and is needed by one that
does not is fetched and unpacked, and then ends as DONE: that it names layers tells it from one that was built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from .progress import Trace, transfers

_LINE = re.compile(r"#([0-9]{1,9}) (.*)", re.DOTALL)
_STEP = re.compile(r"\[(?:[^\]]* )?[0-9]+/[0-9]+\] (?!FROM )")
_FETCHED = re.compile(r"(extracting )?sha256:[0-9a-f]{64} ")
_MAX_NAME = 512


@dataclass(frozen=True, slots=True)
class Plain:
    """What it tells: the steps (total, cached), and the transfers of the cache."""

    steps: tuple[int, int] | None = None
    trace: Trace = field(default_factory=Trace)


def read(lines: Iterable[str], seconds: float | None) -> Plain:
    """The progress of one build that took so long. Base images are no steps, as in `progress.steps`."""
    names: dict[str, str] = {}
    errors: dict[str, str] = {}
    done: set[str] = set()
    cached: set[str] = set()
    for line in lines:
        found = _LINE.fullmatch(line)
        if not found:
            continue
        number, text = found[1], found[2]
        if number not in names:
            names[number] = text[:_MAX_NAME]
        elif text == "CACHED" or _FETCHED.match(text):
            cached.add(number)
        elif text.startswith("DONE "):
            done.add(number)
        elif text.startswith("ERROR: "):
            errors[number] = text.removeprefix("ERROR: ")
    if not names:
        return Plain()
    steps = {number for number, name in names.items() if _STEP.match(name)}
    return Plain((len(steps), len(steps & cached)), transfers(names, errors, done, seconds))
