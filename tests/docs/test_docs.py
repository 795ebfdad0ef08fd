"""The documents keep up with the code: every reason is explained, every link leads somewhere, every sample is valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.core.cluster_version import MINIMUM
from buildcache.core.status import BUILD_REASONS, CACHE_REASONS, ConditionType

PROJECT = Path(__file__).parent.parent.parent
DOCUMENTS = [
    *(path for path in PROJECT.glob("*.md")),
    *(PROJECT / "docs").rglob("*.md"),
    *(PROJECT / "manifests").rglob("*.md"),
]
KINDS: dict[str, type[BuildCache | Build]] = {"BuildCache": BuildCache, "Build": Build}


def explained(heading: str) -> set[str]:
    """The reasons in the tables of one half of docs/reasons.md."""
    text = (PROJECT / "docs" / "reasons.md").read_text()
    half = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in half.splitlines() if line.startswith("| ")]
    assert all(len(row) == 3 and row[2].strip() for row in rows), "each reason has a meaning and something to do"
    return {row[0].strip() for row in rows} - {"reason"}


@pytest.mark.parametrize(("heading", "reasons"), [("BuildCache", CACHE_REASONS), ("Build", BUILD_REASONS)])
def test_every_reason_says_what_to_do(heading: str, reasons: dict[ConditionType, frozenset[str]]) -> None:
    known = {str(reason) for found in reasons.values() for reason in found}
    shared = {"AwsUnavailable", "InternalError"}  # of both kinds; explained with the first
    assert explained(heading) | shared == known | shared


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def manifests() -> list[Any]:
    found = []
    for path in (PROJECT / "manifests" / "samples").glob("*.yaml"):
        found += [pytest.param(body, id=path.name) for body in yaml.safe_load_all(path.read_text())]
    for path in (PROJECT / "README.md",):
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL)):
            found += [pytest.param(body, id=f"{path.name}-{number}") for body in yaml.safe_load_all(block)]
    return found


@pytest.mark.parametrize("body", manifests())
def test_samples_are_valid(body: dict[str, Any]) -> None:
    KINDS[body["kind"]].model_validate(body)


def test_every_trap_has_a_test_that_exists_or_says_why_not() -> None:
    rows = re.findall(r"^\| (T\d\d) \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", (PROJECT / "docs/traps.md").read_text(), re.M)
    assert [row[0] for row in rows] == [f"T{number:02}" for number in range(1, 73)]
    for trap, _, tests, remark in rows:
        named = re.findall(r"`([^`:]+)::([^`]+)`", tests)
        assert named or remark.strip(), trap
        for path, name in named:
            text = (PROJECT / path).read_text()
            assert re.search(rf"^(async )?(def )?{name}\b", text, re.M), f"{trap}: {path} has no {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_c22_no_document_waits_for_what_a_failed_build_never_gets(path: Path) -> None:
    assert not re.search(r"--for[= ]condition=Succeeded", path.read_text())


def test_c22_the_oldest_kubernetes_is_the_one_that_is_checked() -> None:
    oldest = f"{MINIMUM[0]}.{MINIMUM[1]}"
    for path in ("README.md", "docs/tutorial.md"):
        assert f"{oldest} or newer" in (PROJECT / path).read_text()


def test_the_changelog_keeps_its_form() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text()
    assert "keepachangelog.com" in text
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
