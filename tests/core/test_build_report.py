"""The report line and the log's tail: untrusted text from inside the task."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.log_text import clean, one_line, tail
from buildcache.core.report import PREFIX, Report, parse

DIGEST = "sha256:" + "0" * 64
GOOD = {
    "version": 1,
    "digest": DIGEST,
    "sizeBytes": 41200000,
    "commit": "3f2c1ab9" * 5,
    "steps": {"total": 16, "cached": 12},
    "imported": True,
    "exported": True,
    "importError": None,
    "exportError": None,
    "startedAt": "2026-11-24T10:00:00.250Z",
    "sourceSeconds": 3,
    "buildSeconds": 51.4,
}


def line(**changes: Any) -> str:
    return PREFIX + json.dumps({**GOOD, **changes})


def test_report_is_read() -> None:
    assert parse(["noise", line()]) == Report(
        digest=DIGEST,
        size_bytes=41200000,
        commit="3f2c1ab9" * 5,
        steps=(16, 12),
        imported=True,
        exported=True,
        started_at=datetime(2026, 11, 24, 10, 0, 0, 250_000, UTC),
        source_seconds=3,
        build_seconds=51,
    )


def test_the_last_readable_line_counts() -> None:
    assert parse([line(sizeBytes=1), line(sizeBytes=2), PREFIX + "{"]) == parse([line(sizeBytes=2)])


@pytest.mark.parametrize(
    "text",
    ["", "hello", PREFIX, PREFIX + "[]", PREFIX + "null", PREFIX + '{"version": 0}', line(version="1"), " x" + line()],
)
def test_what_is_no_report_is_passed_over(text: str) -> None:
    assert parse([text]) is None


def test_f62_long_line_is_passed_over() -> None:
    assert parse([line(importError="x" * 10_000)]) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", "sha256:abc"),
        ("digest", DIGEST + "\n"),
        ("digest", 7),
        ("sizeBytes", -1),
        ("sizeBytes", True),
        ("sizeBytes", float("inf")),
        ("sizeBytes", float("nan")),
        ("sizeBytes", 10**30),
        ("commit", "../../etc"),
        ("steps", {"total": 1, "cached": 2}),
        ("steps", [1, 2]),
        ("steps", {"total": 3}),
        ("imported", "yes"),
        ("buildSeconds", "51"),
        ("startedAt", 1795514400),
        ("startedAt", ["2026-11-24T10:00:00Z"]),
        ("startedAt", ""),
        ("startedAt", "2026-11-24"),
        ("startedAt", "2026-11-24T10:00:00"),
        ("startedAt", "2026-11-24T10:00:00+01:00"),
        ("startedAt", "2026-11-24T10:00:00Z\n"),
        ("startedAt", "2026-11-24 10:00:00Z"),
        ("startedAt", "2026-11-24T10:00:00." + "0" * 1000 + "Z"),
        ("startedAt", "2026-02-30T10:00:00Z"),
        ("startedAt", "2026-11-24T25:00:00Z"),
        ("startedAt", "0000-00-00T00:00:00Z"),
        ("startedAt", "٢٠٢٦-11-24T10:00:00Z"),
    ],
)
def test_wrong_value_counts_as_not_known_and_the_rest_is_kept(field: str, value: Any) -> None:
    assert parse([line(**{field: value})]) == parse([line(**{field: None})]) != None  # noqa: E711


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("", 0), (".5", 500_000), (".250", 250_000), (".123456", 123_456), (".123456789", 123_456)],
)
def test_the_start_is_read_with_any_fraction_of_rfc_3339(text: str, microseconds: int) -> None:
    report = parse([line(startedAt=f"2026-11-24T10:00:00{text}Z")])
    assert report is not None
    assert report.started_at == datetime(2026, 11, 24, 10, 0, 0, microseconds, UTC)


@given(st.datetimes(timezones=st.just(UTC)) | st.text(alphabet="0123456789-:.TZ", max_size=30))
def test_a_start_is_a_moment_in_utc_or_not_known(value: datetime | str) -> None:
    text = value if isinstance(value, str) else value.isoformat().replace("+00:00", "Z")
    report = parse([line(startedAt=text)])
    assert report is not None
    assert report.started_at is None or report.started_at.utcoffset() == timedelta()
    if isinstance(value, datetime):
        assert report.started_at == value


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=12,
)


@given(st.lists(st.one_of(st.text(), json_values.map(lambda value: PREFIX + json.dumps(value))), max_size=5))
def test_reading_a_report_is_total(lines: list[str]) -> None:
    report = parse(lines)
    if report is not None:
        assert report.size_bytes is None or report.size_bytes >= 0
        assert report.started_at is None or report.started_at.tzinfo is UTC
        assert clean(report.import_error) == report.import_error


def test_f62_controls_and_escapes_are_removed() -> None:
    assert clean("\x1b[31mred\x1b[0m \x1b]0;title\x07a\tb\x00\x9b\u202e\ud800") == "red a b"
    assert one_line("a\r\nb\n\n  c", 100) == "a b c"


@given(st.lists(st.text()), st.integers(1, 300))
def test_t68_tail_is_bounded_in_bytes_and_printable(lines: list[str], limit: int) -> None:
    text = tail(lines, limit)
    assert len(text.encode()) <= limit
    assert clean(text) == text


def test_tail_keeps_the_last_lines() -> None:
    assert tail([f"line {number}" for number in range(1000)], 20) == "line 998\nline 999"
    assert tail(["x" * 100 + "end"], 10) == "xxxxxxxend"
    assert tail([], 10) == ""
