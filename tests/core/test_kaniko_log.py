"""Kaniko's log as the only witness of its steps, in the words of the fork's 1.28 (colours and padding included)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core import kaniko_log
from buildcache.core.kaniko_log import completed
from buildcache.core.report import Report
from tests.conftest import GOLDEN

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
    info(2, "Cmd: workdir"),
    info(2, "Changed working directory to /src"),
    info(2, "Found cached layer, extracting to filesystem"),
    info(2, "COPY . ."),
    info(3, "RUN make"),
    info(3, "Found cached layer, extracting to filesystem"),
]
FAILED = f"\x1b[33mWARN\x1b[0m[0015] Error uploading layer to cache: failed to push to destination {KEY}: NAME_UNKNOWN"


@pytest.mark.parametrize(
    ("name", "version", "copy_layers", "steps", "exported", "doubted"),
    [
        ("k5-cold", (1, 28, 3), False, (2, 0), True, False),
        ("k5-warm", (1, 28, 3), False, (2, 2), None, False),
        ("k6-cold", (1, 28, 3), True, (4, 0), True, False),
        ("k6-warm", (1, 28, 3), True, (4, 4), None, False),
        ("k7-stale", (1, 27, 6), False, (1, 1), None, True),
        ("k8-readonly-down", (1, 28, 3), False, (2, 0), None, False),
        ("k10-copy-only", (1, 28, 3), False, (0, 0), None, False),
    ],
)
def test_k5_k6_k7_k8_k10_recorded_logs_of_real_executors(
    name: str,
    version: tuple[int, ...],
    copy_layers: bool,
    steps: tuple[int, int],
    exported: bool | None,
    doubted: bool,
) -> None:
    """Small Dockerfiles, built by executors of these versions; `k7-stale` after a change inside its heredoc."""
    lines = (GOLDEN / "kaniko" / f"{name}.log").read_text().splitlines()
    found = completed(Report(engine="Kaniko", kaniko_version=version, copy_layers=copy_layers), lines)
    assert (found.steps, found.exported, bool(found.doubt)) == (steps, exported, doubted)
    assert found.import_error == found.export_error == "", "1.28 does not say that it could not read the cache"


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
    lines = [hit(1, "RUN make"), hit(1, "RUN make"), info(2, "RUN make"), info(2, "RUN make install")]
    assert completed(TOLD, lines).steps == (2, 1)


def test_without_a_cache_there_are_steps_but_no_transfers() -> None:
    found = completed(TOLD, [info(0, "RUN make"), info(1, "WORKDIR /src")])
    assert (found.steps, found.imported, found.exported) == ((2, 0), None, None)


def test_k5_instructions_may_be_in_lower_case() -> None:
    lines = [miss(1, "run echo a"), info(1, "run echo a"), info(1, "workdir /src"), info(2, "Copy . .")]
    assert completed(TOLD, lines).steps == (2, 0)
    lines = [hit(1, "run echo a"), info(1, "run echo a"), info(1, "Found cached layer, extracting to filesystem")]
    assert completed(TOLD, lines).steps == (1, 1)


def test_k6_with_copy_layers_the_total_is_the_dockerfiles_own() -> None:
    """After a stage's first miss nothing is looked up: a cold build has never asked for the COPY."""
    told = Report(engine="Kaniko", copy_layers=True)
    cold = [miss(1, "RUN a"), info(1, "RUN a"), info(2, "COPY . ."), info(2, "ADD b c"), info(3, "RUN make")]
    warm = [
        line for command in ("RUN a", "COPY . .", "ADD b c", "RUN make") for line in (hit(1, command), info(2, command))
    ]
    assert (completed(told, cold).steps, completed(told, warm).steps) == ((4, 0), (4, 4))


HEREDOC = "RUN <<EOF"


@pytest.mark.parametrize(
    ("version", "lines", "doubted"),
    [
        ((1, 28, 0), [hit(1, HEREDOC), info(1, HEREDOC)], True),
        ((1, 27, 6), [hit(1, "COPY <<-'END' /etc/motd"), info(1, "COPY <<-'END' /etc/motd")], True),
        ((1, 28, 1), [hit(1, HEREDOC), info(1, HEREDOC)], False),
        ((1, 28, 0), [miss(1, HEREDOC), info(1, HEREDOC)], False),
        ((1, 28, 0), [hit(1, "RUN echo $((1 << 2))"), info(1, "RUN echo $((1 << 2))")], False),
        (None, [hit(1, HEREDOC), info(1, HEREDOC)], False),
    ],
    ids=["older", "a COPY", "keyed", "built afresh", "no heredoc", "version not told"],
)
def test_k7_a_heredoc_from_a_cache_that_does_not_key_it_is_doubted(
    version: tuple[int, ...] | None, lines: list[str], doubted: bool
) -> None:
    found = completed(Report(engine="Kaniko", kaniko_version=version, copy_layers=True), lines)
    assert ("heredoc" in found.doubt) == doubted


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("GET https://127.0.0.1:5000/v2/: dial tcp: connection refused", True),
        ("GET https://r/v2/shop/manifests/ab: DENIED: not authorized", True),
        ("GET https://r/v2/shop/manifests/ab: MANIFEST_UNKNOWN: Requested image not found", False),
        ("GET https://r/v2/shop/manifests/ab: unexpected status code 404 Not Found", False),
        ("cache entry expired: r/shop:ab", False),
    ],
)
def test_k8_where_the_log_tells_that_the_cache_could_not_be_read_so_does_the_report(said: str, error: bool) -> None:
    lines = [f"\x1b[37mDEBU\x1b[0m[0001] Failed to retrieve layer: {said}", miss(1, "RUN make"), info(1, "RUN make")]
    found = completed(TOLD, lines)
    assert (found.import_error, found.imported) == (said if error else "", False)


def test_k10_of_a_long_log_the_end_counts() -> None:
    """The lookups are at the beginning, which is not read; what came from the cache says so again where it is used."""
    lines = [
        info(61, "RUN make"),
        info(61, "Found cached layer, extracting to filesystem"),
        info(62, "RUN make test"),
        info(62, "Cmd: /bin/sh"),
        info(90, f"Pushing layer {KEY} to cache now"),
    ]
    found = completed(TOLD, lines, whole=False)
    assert (found.steps, found.imported, found.exported, found.build_seconds) == ((2, 1), True, True, 90)
    assert found.steps_of_the_end


def test_k10_a_dockerfile_that_only_copies_has_no_steps() -> None:
    assert completed(TOLD, [info(0, "COPY . ."), info(1, 'CMD ["/app"]')]).steps == (0, 0)


def test_kanikos_own_lines_are_kept() -> None:
    kept = kaniko_log.kept(["noise", *COLD, "INFO[1] RUN make"])
    assert completed(TOLD, kept) == completed(TOLD, COLD)
    assert len(kept) == len(COLD) - 1


@pytest.mark.parametrize(
    "lines", [[], ["make: Nothing to be done", "RUN make", "INFO[1] RUN make"]], ids=["no log", "not Kaniko's"]
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
