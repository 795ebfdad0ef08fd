"""All effects times all modes: found by an undisturbed life, run life by life, shown as a table."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from kubernetes import client, config
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lab.chaos.build import BuildLife
from lab.chaos.cache import CacheLife
from lab.chaos.fault import MODES, STATUS_WRITE, Effect, Fault
from lab.chaos.life import live
from lab.chaos.subject import Subject
from lab.demo.cluster import Cluster
from lab.errors import LabError
from lab.lab import Lab, LabInfo

NAMESPACE = "chaos"
OPERATOR = "buildcache-operator"
FILE_WIDTH = 130
"""Columns where the output goes to a file: names of effects are not cut there."""

SUBJECTS: Mapping[str, type[CacheLife] | type[BuildLife]] = {"caches": CacheLife, "builds": BuildLife}


class Matrix:
    """One subject in one running lab."""

    def __init__(self, cluster: Cluster, subject: Subject) -> None:
        self._cluster = cluster
        self._subject = subject
        self.effects: tuple[Effect, ...] = ()
        """Those of the undisturbed life, in their order."""
        self._expected: Mapping[str, object] = {}
        self._seconds: Mapping[str, float] = {}

    def learn(self) -> None:
        """Live once undisturbed: what the operator writes, and what the end of each phase is."""
        found: list[Effect] = []

        @contextmanager
        def noted(phase: str) -> Iterator[None]:
            start = self._mark()
            yield
            writes = [each for each in self._writes(start, self._mark()) if self._subject.hits(phase, each)]
            found.extend(Effect(phase, operation) for operation in dict.fromkeys(writes))
            # One status write is not like another: the last one says that the cache is ready.
            found.extend(Effect(phase, STATUS_WRITE, turn) for turn in range(2, writes.count(STATUS_WRITE) + 1))

        lived = live(self._cluster, self._subject, {}, {}, noted)
        if lived.problems:
            raise LabError(f"the undisturbed life went wrong: {lived.problems}")
        self._expected, self._seconds, self.effects = lived.pictures, lived.seconds, tuple(found)

    def run(
        self,
        faults: Iterable[Fault],
        progress: Callable[[int], Iterable[int]],
        tell: Callable[[str], None] = lambda _: None,
    ) -> dict[Fault, str | None]:
        """Fault → what went wrong, None: survived. Faults of different phases share a life. `tell` hears at once what did not."""
        results: dict[Fault, str | None] = {}
        lives = list(_lives(faults, self._subject.phases))
        for number in progress(len(lives)):
            lived = live(self._cluster, self._subject, lives[number], self._expected, undisturbed=self._seconds)
            for phase, fault in lives[number].items():
                results[fault] = lived.problems.get(phase)
            for phase in lived.problems.keys() - lives[number].keys():
                # Without a fault of its own, it is an earlier one that shows here.
                last = max(lives[number].values(), key=lambda fault: self._subject.phases.index(fault.effect.phase))
                results[last] = results[last] or f"in the phase {phase} after it: {lived.problems[phase]}"
            for fault in lives[number].values():
                if results[fault] is not None:
                    tell(f"{fault.effect.phase}: {fault.effect}, {fault.mode}: did not survive")
        return results

    def _mark(self) -> tuple[int, int]:
        """Where the two logs of calls are now."""
        number: int = self._cluster.control("GET", "/calls?since=999999999")["next"]
        return number, Path(self._cluster.info["audit"]).stat().st_size

    def _writes(self, start: tuple[int, int], end: tuple[int, int]) -> Iterator[str]:
        for call in self._cluster.control("GET", f"/calls?since={start[0]}")["calls"]:
            if call["mutating"] and call["n"] < end[0]:
                yield call["operation"]
        with Path(self._cluster.info["audit"]).open("rb") as log:
            log.seek(start[1])
            for line in log.read(end[1] - start[1]).splitlines():
                if not line.endswith(b"}"):
                    continue
                write = _kubernetes_write(json.loads(line), self._subject.resource)
                if write is not None:
                    yield write


def main(subjects: Sequence[str] = tuple(SUBJECTS)) -> int:
    """The whole matrix in a lab of its own; 1 when anything did not survive."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="buildcache-chaos-") as folder:
        lab = Lab(Path(folder), runtime="simulated", progress=lambda line: console.print(f"lab: {line}"))
        try:
            info = lab.start()
            client.CoreV1Api(config.new_client_from_config(info["kubeconfig"])).create_namespace(
                {"metadata": {"name": NAMESPACE}}
            )
            results = {name: _run(SUBJECTS[name](Cluster(info, NAMESPACE)), info, console) for name in subjects}
        finally:
            lab.stop()
    everything = [problem for found in results.values() for problem in found.values()]
    for name, found in results.items():
        console.print(table(found, f"each effect in the life of a {SUBJECTS[name].title}, and what happened to it"))
    for found in results.values():
        for fault, problem in found.items():
            if problem is not None:
                console.print(f"{fault.effect.phase}: {fault.effect}, {fault.mode}: {problem}", markup=False)
    console.print(f"the whole matrix took {time.monotonic() - began:.0f} s")
    survived = sum(problem is None for problem in everything)
    console.print(f"chaos: {survived}/{len(everything)} survived", highlight=False)
    return 0 if survived == len(everything) and all(results.values()) else 1


def _run(subject: CacheLife | BuildLife, info: LabInfo, console: Console) -> dict[Fault, str | None]:
    matrix = Matrix(Cluster(info, NAMESPACE), subject)
    console.print(f"chaos: one undisturbed life of a {subject.title}, to see what the operator writes")
    matrix.learn()
    faults = [Fault(effect, mode) for effect in matrix.effects for mode in effect.modes()]
    console.print(f"chaos: {len(matrix.effects)} effects, {len(faults)} faults")
    progress = partial(_counted, subject.title, console=console)
    results = matrix.run(faults, progress, lambda line: console.print(f"chaos: {line}", highlight=False))
    subject.close()
    return {fault: results[fault] for fault in faults}


def _counted(title: str, count: int, console: Console) -> Iterator[int]:
    """Numbers of the lives, with a bar for people and a line each for a file: a life takes some ten seconds."""
    if console.is_terminal:
        yield from track(range(count), description=f"lives of a {title}", console=console)
        return
    for number in range(count):
        console.print(f"chaos: {title}, life {number + 1} of {count}", highlight=False)
        yield number


def table(results: Mapping[Fault, str | None], title: str = "") -> Table:
    """Effects × modes; the last column and row count."""
    shown = Table(title=title)
    shown.add_column("phase", no_wrap=True)
    shown.add_column("effect", no_wrap=True)
    for mode in (*MODES, "survived"):
        shown.add_column(mode, justify="right")
    totals: dict[str, list[bool]] = defaultdict(list)
    for effect in dict.fromkeys(fault.effect for fault in results):
        row = {fault.mode: problem is None for fault, problem in results.items() if fault.effect == effect}
        for mode, survived in row.items():
            totals[mode].append(survived)
        cells = [("yes" if row[mode] else "NO") if mode in row else "" for mode in MODES]
        shown.add_row(effect.phase, str(effect), *cells, f"{sum(row.values())}/{len(row)}")
    shown.add_section()
    everything = [survived for column in totals.values() for survived in column]
    counts = [f"{sum(totals[mode])}/{len(totals[mode])}" for mode in MODES]
    shown.add_row("", "survived", *counts, f"{sum(everything)}/{len(everything)}")
    return shown


def _lives(faults: Iterable[Fault], phases: Sequence[str]) -> Iterator[Mapping[str, Fault]]:
    """As few lives as can be: the n-th fault of each phase together."""
    by_phase = {phase: [fault for fault in faults if fault.effect.phase == phase] for phase in phases}
    for together in itertools.zip_longest(*by_phase.values()):
        yield {fault.effect.phase: fault for fault in together if fault is not None}


def _kubernetes_write(entry: Mapping[str, object], resource: str) -> str | None:
    """The operator's write to a kind that an audit entry tells of."""
    match entry:
        case {
            "user": {"username": str(name)},
            "verb": "patch" | "delete" as verb,
            "objectRef": {"apiGroup": "buildcache.dev", "resource": found, **more},
            "stage": "ResponseComplete",
        } if name.endswith(OPERATOR) and found == resource:
            below = more.get("subresource")
            return f"{verb} {resource}/{below}" if below else f"{verb} {resource}"
    return None
