"""The demo's own rules: what it packs, when it says ok, and that waiting shows how far a thing is."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from lab.demo import sample, screen
from lab.demo.results import Result, result, table, verdict
from lab.demo.screen import Screen
from lab.errors import LabError

COLD = Result("shop-cold", "a1", 30, 25, 0, 17, "sha256:aa", None)
WARM = Result("shop-warm", "b2", 5, 1, 17, 17, "sha256:aa", 24)
CHANGED = Result("shop-changed", "c3", 8, 4, 14, 17, "sha256:bb", 21)
NOTHING: dict[str, set[str]] = {"file systems": set(), "repositories": set()}


def files(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: content.read() for member in tar if (content := tar.extractfile(member))}


def test_the_sample_is_packed_the_same_every_time() -> None:
    assert sample.archive(changed=False) == sample.archive(changed=False)


def test_the_change_is_one_line_of_one_source_file() -> None:
    before, after = files(sample.archive(changed=False)), files(sample.archive(changed=True))
    assert set(before) == set(after)
    assert [name for name in before if before[name] != after[name]] == ["src/shop"]
    assert b"ARG BASE_IMAGE=debian:12" in before["Dockerfile"]


def test_the_program_stays_executable() -> None:
    with tarfile.open(fileobj=io.BytesIO(sample.archive(changed=True))) as tar:
        assert tar.getmember("src/shop").mode == 0o755
        assert tar.getmember("Dockerfile").mode == 0o644


def test_a_good_demo_says_so_in_one_line() -> None:
    assert verdict([COLD, WARM, CHANGED], NOTHING) == "demo: ok cold=30s warm=5s cached=17/17"


@pytest.mark.parametrize(
    ("cold", "warm", "changed", "left", "says"),
    [
        pytest.param(replace(COLD, cached=3), WARM, CHANGED, NOTHING, "not cold", id="the first build found a cache"),
        pytest.param(COLD, replace(WARM, cached=16), CHANGED, NOTHING, "16/17", id="the second build repeated a step"),
        pytest.param(COLD, replace(WARM, cached=0, total=0), CHANGED, NOTHING, "0/0", id="no steps at all"),
        pytest.param(COLD, replace(WARM, digest="sha256:cc"), CHANGED, NOTHING, "different", id="another image"),
        pytest.param(COLD, replace(WARM, task="a1"), CHANGED, NOTHING, "same ECS task", id="the same builder"),
        pytest.param(COLD, WARM, replace(CHANGED, cached=17), NOTHING, "not all", id="the change was not seen"),
        pytest.param(COLD, WARM, replace(CHANGED, cached=0), NOTHING, "some", id="the change cost everything"),
        pytest.param(
            COLD, WARM, CHANGED, {"repositories": {"buildcache/demo/shop"}}, "buildcache/demo/shop", id="left"
        ),
    ],
)
def test_a_demo_that_proves_nothing_fails(
    cold: Result, warm: Result, changed: Result, left: dict[str, set[str]], says: str
) -> None:
    with pytest.raises(LabError, match=says):
        verdict([cold, warm, changed], left)


def test_a_result_from_a_status() -> None:
    status: dict[str, Any] = {
        "attempts": [{"number": 1, "taskARN": "arn:aws:ecs:r:1:task/builds/abc"}],
        "timing": {"totalSeconds": 9},
        "cache": {"steps": {"total": 17, "cached": 14}},
        "image": {"digest": "sha256:bb"},
    }
    assert result("shop-changed", status) == Result("shop-changed", "abc", 9, None, 14, 17, "sha256:bb", None)
    with pytest.raises(LabError, match="report line"):
        result("shop-warm", {**status, "cache": {}})


def shown(width: int = 150) -> tuple[Screen, io.StringIO]:
    written = io.StringIO()
    return Screen(Console(file=written, width=width, highlight=False)), written


def test_the_table_names_every_build() -> None:
    view, written = shown()
    view.table(table([COLD, WARM, CHANGED]))
    for text in ("cold", "warm, on a new builder", "after a source change", "17/17", "24 s"):
        assert text in written.getvalue()


def test_waiting_shows_how_far_it_is_and_what_was_seen_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(screen, "SAY_EVERY", 0.0)
    view, written = shown()
    looks = iter([None, None, "there"])
    assert view.wait("the cache", lambda: next(looks), now=lambda: "Creating [1/3]", timeout=5) == "there"
    assert "Creating [1/3]" in written.getvalue()
    with pytest.raises(LabError, match="the last thing seen was: still Creating"):
        view.wait("the cache", lambda: None, now=lambda: "still Creating", timeout=0.02)
