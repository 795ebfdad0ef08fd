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


ROW = re.compile(r"^\| ([TFHPCAKM]\d+) \| ([^|]+) \|(?: ([^|]*) \|(?:([^|]*)\|)?)?$", re.M)
UNTESTED: set[str] = set()
"""Findings of docs/findings.md that may be without a test of their own."""

SOURCES = [
    path
    for folder in ("operator/buildcache", "lab", "tests")
    for path in (PROJECT / folder).rglob("*.py")
    if path != Path(__file__)
]


def listed(document: str) -> list[tuple[str, str, str, str]]:
    """The rows of a list of traps, faults or findings: id, and the columns after it."""
    return ROW.findall((PROJECT / "docs" / document).read_text())


def check_that_tests_exist(identity: str, cell: str) -> bool:
    """Whether the cell names tests; each of them must be there."""
    named = re.findall(r"`([^`:]+)::([^`]+)`", cell)
    for path, name in named:
        text = (PROJECT / path).read_text()
        assert re.search(rf"^(async )?(def )?{name}\b", text, re.M), f"{identity}: {path} has no {name}"
    return bool(named)


def test_every_trap_has_a_test_that_exists_or_says_why_not() -> None:
    rows = listed("traps.md")
    assert [row[0] for row in rows] == [f"T{number:02}" for number in range(1, 73)]
    for trap, _, tests, remark in rows:
        assert check_that_tests_exist(trap, tests) or remark.strip(), trap


def test_every_fault_and_threat_has_a_test_that_exists() -> None:
    rows = listed("faults.md")
    assert [row[0] for row in rows] == sorted({row[0] for row in rows}, key=lambda name: ("FH".index(name[0]), name))
    for fault, _, _, tests in rows:
        assert check_that_tests_exist(fault, tests), fault


def test_code_and_tests_cite_only_what_the_documents_list() -> None:
    """An id of a trap, fault or threat is in docs/traps.md or docs/faults.md; other numberings and documents do not exist."""
    known = {row[0] for document in ("traps.md", "faults.md") for row in listed(document)}
    for path in SOURCES:
        text = path.read_text()
        where = path.relative_to(PROJECT)
        cited = {name.upper() for name in re.findall(r"(?:\b|_)([TFHtfh]\d\d)(?=\b|_)", text)}
        assert cited <= known, f"{where}: {sorted(cited - known)} is in neither docs/traps.md nor docs/faults.md"
        for line in text.splitlines():
            assert not re.search(r"\b([Ff]aults?|[Tt]hreats?) T?\d|_faults?_\d", line), (
                f"{where}: {line.strip()!r}: cite a fault as F19 and a threat as H18, by docs/faults.md"
            )
            for document in re.findall(r"[\w./-]+\.md\b", line):
                name = document.rpartition("/")[2]
                assert name in {known.name for known in DOCUMENTS} or "test" in path.name, (
                    f"{where} cites {document}, which is not in the repository"
                )


def test_findings_are_listed_with_their_tests() -> None:
    """Tests of a finding begin with its id, of several with all of them: test_c3_…, test_a13_a14_…"""
    rows = {row[0] for row in listed("findings.md")}
    begun: set[str] = set()
    for path in (*SOURCES, Path(__file__)):
        for names in re.findall(r"^ *(?:async )?def test((?:_[pcakm]\d+)+)(?=_|\()", path.read_text(), re.M):
            begun |= {name.upper() for name in names.split("_")[1:]}
    assert begun <= rows, "every finding that a test names is in docs/findings.md"
    assert not rows - begun - UNTESTED, "its tests went away, or their names no longer begin with its id"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_c22_no_document_waits_for_what_a_failed_build_never_gets(path: Path) -> None:
    assert not re.search(r"--for[= ]condition=Succeeded", path.read_text())


def test_c22_the_oldest_kubernetes_is_the_one_that_is_checked() -> None:
    oldest = f"{MINIMUM[0]}.{MINIMUM[1]}"
    for path in ("README.md", "docs/tutorial.md"):
        assert f"{oldest} or newer" in (PROJECT / path).read_text()


def test_a16_the_page_on_instances_has_the_agents_settings() -> None:
    text = (PROJECT / "docs/how-to/ec2-instances.md").read_text()
    for setting in ("ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION=", "ECS_AWSVPC_BLOCK_IMDS=true", "Disk"):
        assert setting in text


def test_k9_what_empties_a_cache_mount_is_said() -> None:
    text = (PROJECT / "docs/how-to/cache-mounts.md").read_text()
    for word in ("cancel", "timeout", "Spot", "socket"):
        assert word in text


def test_the_changelog_keeps_its_form() -> None:
    text = (PROJECT / "CHANGELOG.md").read_text()
    assert "keepachangelog.com" in text
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
