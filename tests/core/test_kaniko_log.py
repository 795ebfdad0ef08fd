"""Kaniko's log as the only witness of its steps, in the words of the fork's 1.28 (colours and padding included)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core import kaniko_log
from buildcache.core.kaniko_log import completed
from buildcache.core.report import Report

KEY = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/acme/shop:" + "a" * 64
DIGEST = f"sha256:{'7' * 64}"
TOLD = Report(engine="Kaniko", digest=DIGEST)


def info(seconds: int, text: str) -> str:
    return f"\x1b[36mINFO\x1b[0m[{seconds:04}] {text:<44}"


def miss(seconds: int, command: str) -> str:
    return info(seconds, f"No cached layer found for cmd {command}")


def hit(seconds: int, command: str) -> str:
    return info(seconds, f"Using caching version of cmd: {command}")


COLD = [
    info(0, "Retrieving image manifest debian:12"),
    info(1, f"Checking for cached layer {KEY}..."),
    miss(1, "RUN apt-get update"),
    info(1, "Unpacking rootfs as cmd RUN apt-get update requires it."),
    info(4, "RUN apt-get update"),
    info(4, "Cmd: /bin/sh"),
    "Get:1 http://deb.example/debian bookworm InRelease",
    info(9, f"Pushing layer {KEY} to cache now"),
    info(9, "WORKDIR /src"),
    info(9, "COPY . ."),
    info(9, "RUN make"),
    info(12, f"Pushing layer {KEY} to cache now"),
    info(14, 'CMD ["/app"]'),
    info(21, "Pushed 111122223333.dkr.ecr.eu-west-1.amazonaws.com/team-a/web@sha256:77"),
]
WARM = [
    hit(1, "RUN apt-get update"),
    hit(1, "WORKDIR /src"),
    hit(1, "RUN make"),
    info(1, "Skipping unpacking as no commands require it."),
    info(2, "RUN apt-get update"),
    info(2, "Found cached layer, extracting to filesystem"),
    info(2, "WORKDIR /src"),
    info(2, "COPY . ."),
    info(3, "RUN make"),
]
FAILED = f"\x1b[33mWARN\x1b[0m[0015] Error uploading layer to cache: failed to push to destination {KEY}: NAME_UNKNOWN"


def test_a_cold_build_writes_and_finds_nothing() -> None:
    found = completed(TOLD, COLD)
    assert found == Report("Kaniko", DIGEST, steps=(3, 0), imported=False, exported=True, build_seconds=21)


def test_a_warm_build_has_nothing_to_write() -> None:
    found = completed(TOLD, WARM)
    assert found == Report("Kaniko", DIGEST, steps=(3, 3), imported=True, exported=None, build_seconds=3)


def test_a_cache_that_cannot_be_written_says_why() -> None:
    found = completed(TOLD, [*COLD, FAILED])
    assert found.exported is False
    assert found.export_error == f"failed to push to destination {KEY}: NAME_UNKNOWN"


def test_copies_count_when_they_are_cached() -> None:
    lines = [hit(1, "COPY . ."), miss(1, "RUN make"), info(2, "COPY . ."), info(3, "RUN make"), info(4, "ADD a b")]
    assert completed(TOLD, lines).steps == (2, 1)


def test_the_same_command_in_two_stages_is_a_hit_in_one() -> None:
    lines = [hit(1, "RUN make"), info(1, "RUN make"), miss(2, "RUN make"), info(2, "RUN make")]
    assert completed(TOLD, lines).steps == (2, 1)


def test_a_stage_that_is_looked_up_twice_is_built_once() -> None:
    assert completed(TOLD, [hit(1, "RUN make"), hit(1, "RUN make"), info(2, "RUN make")]).steps == (1, 1)


def test_without_a_cache_there_are_steps_but_no_transfers() -> None:
    found = completed(TOLD, [info(0, "RUN make"), info(1, "WORKDIR /src")])
    assert (found.steps, found.imported, found.exported) == ((2, 0), None, None)


@pytest.mark.parametrize(
    "lines",
    [[], ["make: Nothing to be done", "RUN make", "INFO[1] RUN make"], COLD * (kaniko_log.MAX_LINES // len(COLD) + 1)],
    ids=["no log", "a log that is not Kaniko's", "a log whose beginning is lost"],
)
def test_what_is_not_known_stays_unknown(lines: list[str]) -> None:
    assert completed(TOLD, lines) == TOLD


@given(st.lists(st.text(max_size=40) | st.sampled_from([*COLD, *WARM, FAILED]), max_size=30))
def test_total_and_within_bounds(lines: list[str]) -> None:
    found = completed(TOLD, lines)
    assert found.digest == DIGEST
    if found.steps is not None:
        assert 0 <= found.steps[1] <= found.steps[0]
    assert len(found.export_error) <= 256
