"""report, against files that buildctl really left (tests/golden/runner) and against anything else."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildcache.core.report import parse
from buildcache.runner import report
from buildcache.runner.workspace import Workspace

from .conftest import Run

GOLDEN = Path(__file__).parent.parent / "golden" / "runner"
COMMIT = "3f2c1ab9" * 5


def reported(workspace: Workspace, **environment: str) -> dict[str, Any]:
    printed: list[str] = []
    assert report.main(environment, workspace, write=printed.append) == 0
    (line,) = printed
    assert line.startswith("buildcache-report: ")
    assert len(line.encode()) <= 4096
    assert line.isascii()
    assert line.isprintable()
    data: dict[str, Any] = json.loads(line.removeprefix("buildcache-report: "))
    assert data["version"] == 1
    return data


CASES: dict[str, dict[str, Any]] = {
    "cold": {"steps": (5, 0), "imported": False, "exported": True},
    "warm": {"steps": (5, 5), "imported": True, "exported": True},
    "changed": {"steps": (5, 2), "imported": True, "exported": True},
    "export-failed": {
        "steps": (5, 2),
        "imported": True,
        "exported": False,
        "exportError": "invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format",
    },
    "export-denied": {
        "steps": (5, 0),
        "imported": False,
        "exported": False,
        "importError": 'failed to configure registry cache importer: failed to do request: Head "http://127.0.0.1:1/v2/t/manifests'
        '/svc.buildcache": dial tcp 127.0.0.1:1: connect: connection refused',
        "exportError": 'error writing layer blob: failed to do request: Head "http://127.0.0.1:1/v2/t/blobs/sha256:'
        '05033a036049329210895da0043d3de903ad5964b8b63738981b06dfae664be1": dial tcp 127.0.0.1:1: connect: connection refused',
    },
    "step-failed": {"steps": (5, 2), "imported": True, "exported": None, "digest": False},
    "syntax-error": {"steps": (0, 0), "imported": None, "exported": None, "digest": False},
    "no-cache": {"steps": (5, 0), "imported": None, "exported": None},
    "second-import": {"steps": (5, 2), "imported": True, "exported": True},
    "docker-cold": {"steps": (5, 0), "imported": False, "exported": True},
    "docker-warm": {"steps": (5, 5), "imported": True, "exported": True},
    "docker-changed": {"steps": (5, 2), "imported": True, "exported": True},
    "docker-export-denied": {
        "steps": (5, 0),
        "imported": False,
        "exported": False,
        "importError": 'failed to configure registry cache importer: failed to do request: Head "http://127.0.0.1:1/v2/x/manifests'
        '/web.buildcache": dial tcp 127.0.0.1:1: connect: connection refused',
        "exportError": 'error writing layer blob: failed to do request: Head "http://127.0.0.1:1/v2/x/blobs/sha256:'
        '46fbf5a074d65687f907eb6fd817a160d04dd854801f9ca3456bea5f31e31b00": dial tcp 127.0.0.1:1: connect: connection refused',
    },
    "docker-step-failed": {"steps": (1, 0), "imported": True, "exported": None, "digest": False},
    "docker-syntax-error": {"steps": (0, 0), "imported": None, "exported": None, "digest": False},
    "docker-no-cache": {"steps": (5, 0), "imported": None, "exported": None},
    "docker-second-import": {"steps": (5, 2), "imported": True, "exported": True},
    "docker-two-platforms-warm": {"steps": (2, 2), "imported": True, "exported": True},
}


@pytest.mark.parametrize("case", CASES)
def test_what_real_builds_left(workspace: Workspace, case: str) -> None:
    want = CASES[case]
    shutil.copytree(GOLDEN / case, workspace.out)
    if case.startswith("docker-"):
        (workspace.out / "started").touch()
        os.utime(workspace.out / "started", (1000, 1000))
        os.utime(workspace.out / "progress.log", (1000, 1004.6))
    data = reported(workspace)
    assert (data["steps"]["total"], data["steps"]["cached"]) == want["steps"]
    assert data["imported"] is want["imported"]
    assert data["exported"] is want["exported"]
    assert data["importError"] == want.get("importError")
    assert data["exportError"] == want.get("exportError")
    assert bool(data["digest"]) is want.get("digest", True)
    assert 0 <= data["buildSeconds"] <= 5


def test_what_fetch_left(workspace: Workspace) -> None:
    workspace.prepare()
    workspace.write_source(
        {"commit": COMMIT, "startedAt": "2026-11-24T10:00:00.000Z", "finishedAt": "2026-11-24T10:00:03.400Z"}
    )
    data = reported(workspace)
    assert data["commit"] == COMMIT
    assert data["startedAt"] == "2026-11-24T10:00:00.000Z"
    assert data["sourceSeconds"] == 3
    assert data["digest"] is None
    assert data["steps"] is None


@pytest.mark.parametrize(
    "odd",
    ["2026-11-24T10:00:00Z", "2026-11-24T10:00:00.000Z\n", "2026-11-24T10:00:00.000+00:00", "x" * 5000, 1795514400],
)
def test_a_start_that_fetch_did_not_write_is_not_passed_on(workspace: Workspace, odd: object) -> None:
    workspace.prepare()
    workspace.write_source({"startedAt": odd})
    assert reported(workspace)["startedAt"] is None


def test_the_start_that_fetch_wrote_is_read_by_the_operator(run: Run, workspace: Workspace) -> None:
    assert run({"inline": {"dockerfile": "FROM scratch\n"}}).code == 0
    read = parse([report.line(workspace, {})])
    assert read is not None
    assert read.started_at == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert read.source_seconds == 1


def test_nothing_at_all(workspace: Workspace) -> None:
    data = reported(workspace)
    assert {key for key, value in data.items() if value is not None} == {"version"}


def test_base_images_are_no_steps(workspace: Workspace) -> None:
    """The last line of a wholly cached build of a Dockerfile with one FROM of a real image: buildctl counts that FROM in user_total."""
    workspace.prepare()
    (workspace.out / "metrics.json").write_text(
        '{"total":25,"completed":25,"user_total":18,"user_cached":17,"user_completed":18,"user_cacheable":17,"from":1,"miss":0,'
        '"client_duration_ms":156}\n'
    )
    assert reported(workspace)["steps"] == {"total": 17, "cached": 17}


def test_metrics_of_an_older_buildctl(workspace: Workspace) -> None:
    workspace.prepare()
    (workspace.out / "metrics.json").write_text('cache miss: a\n{"user_total":6,"user_cached":2}\n')
    assert reported(workspace)["steps"] == {"total": 6, "cached": 2}


def test_a_build_that_ended_during_the_export(workspace: Workspace) -> None:
    workspace.prepare()
    vertex = {"digest": "sha256:1", "name": "exporting cache to registry", "started": "2026-11-24T10:00:00.123456789Z"}
    (workspace.out / "trace.json").write_text(json.dumps({"vertexes": [vertex]}) + '\n{"vertexes": [{"dig')
    assert reported(workspace)["exported"] is None


def test_a_hostile_trace_stays_one_short_line(workspace: Workspace) -> None:
    """T17: names and errors in a trace come from the Dockerfile and from servers."""
    workspace.prepare()
    error = '\r\n\x1b[2J"}\nbuildcache-report: {"version": 1, "digest": "sha256:' + "0" * 64 + '"}\n' + '"\\' * 5000
    lines = [
        {"vertexes": [{"digest": f"d{name}", "name": name, "error": error}]}
        for name in ("importing cache manifest from x", "exporting cache to registry")
    ]
    (workspace.out / "trace.json").write_text("\n".join(json.dumps(line) for line in lines))
    data = reported(workspace)
    assert data["digest"] is None
    assert len(data["importError"]) <= 256
    assert data["exported"] is False


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (f"sha256:{'a' * 64}", f"sha256:{'a' * 64}"),
        (f"sha256:{'a' * 64}\n", f"sha256:{'a' * 64}"),
        (f"sha256:{'a' * 63}", None),
        ("", None),
    ],
    ids=["as Kaniko writes it", "with a line break", "cut off", "empty"],
)
def test_what_kaniko_leaves_is_the_digest(workspace: Workspace, text: str, digest: str | None) -> None:
    workspace.prepare()
    (workspace.out / "digest").write_text(text)
    data = reported(workspace, ENGINE="Kaniko")
    assert {key: value for key, value in data.items() if value is not None} == {
        "version": 1,
        "engine": "Kaniko",
        **({"digest": digest} if digest else {}),
    }


def test_k6_k7_the_report_says_what_kanikos_log_is_to_be_read_with(workspace: Workspace) -> None:
    environment = {"ENGINE": "Kaniko", "KANIKO_VERSION": "1.27.6", "KANIKO_COPY_LAYERS": "true"}
    read = parse([report.line(workspace, environment)])
    assert read is not None
    assert (read.engine, read.kaniko_version, read.copy_layers) == ("Kaniko", (1, 27, 6), True)
    read = parse([report.line(workspace, {"KANIKO_VERSION": "latest", "KANIKO_COPY_LAYERS": "yes"})])
    assert read is not None
    assert (read.kaniko_version, read.copy_layers) == (None, False)


@pytest.mark.parametrize("engine", ["Podman", "Kaniko\n", ""])
def test_an_engine_that_is_none_is_not_told(workspace: Workspace, engine: str) -> None:
    assert reported(workspace, ENGINE=engine)["engine"] is None


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        pytest.param(
            ["#1 [1/2] FROM a", "#1 CACHED", "#2 [2/2] RUN b", "#2 DONE 0.1s"], (1, 0), id="a base is no step"
        ),
        pytest.param(
            ["#2 [2/2] RUN b", "#2 0.068 #2 CACHED", "#2 0.068 CACHED"], (1, 0), id="what a step prints says nothing"
        ),
        pytest.param(
            ["#2 [a 2/2] RUN b", "#2 [a 2/2] RUN b", "#2 CACHED", "#2 CACHED"], (1, 1), id="a step told twice"
        ),
        pytest.param(["#3 [internal] load .dockerignore", "#3 CACHED", "#4 [context x] load"], (0, 0), id="no steps"),
        pytest.param(["#2 [linux/arm64 a 2/2] RUN b", "#2 CACHED"], (1, 1), id="with a platform"),
        pytest.param([" > [2/2] RUN b:", "#x [1/1] COPY", "ERROR: #2 CACHED", "# 2"], None, id="other lines"),
    ],
)
def test_plain_progress(workspace: Workspace, lines: list[str], steps: tuple[int, int] | None) -> None:
    workspace.prepare()
    (workspace.out / "progress.log").write_text("\r\n".join(lines))
    found = reported(workspace)
    assert found["steps"] == (None if steps is None else {"total": steps[0], "cached": steps[1]})
    assert found["buildSeconds"] is None, "nobody knows when it began"


def test_a_clock_that_was_set_back_is_no_time_below_zero(workspace: Workspace) -> None:
    workspace.prepare()
    for name, at in (("started", 2000), ("progress.log", 1000)):
        (workspace.out / name).write_text("#1 [1/1] COPY a b\n")
        os.utime(workspace.out / name, (at, at))
    assert reported(workspace)["buildSeconds"] == 0


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
VERTEX = st.dictionaries(
    st.sampled_from(["digest", "name", "error", "started", "completed", "cached"]),
    ANY
    | st.sampled_from(["importing cache manifest from x", "exporting cache to registry", "sha256:1"])
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
    | st.datetimes().map(lambda moment: moment.isoformat()),
)
METADATA = st.dictionaries(
    st.sampled_from(["containerimage.digest", "cache.manifest", "containerimage.descriptor"]), ANY
)
METRICS = st.dictionaries(
    st.sampled_from(["user_total", "user_cached", "user_cacheable", "miss", "client_duration_ms"]), ANY
)
SOURCE = st.dictionaries(
    st.sampled_from(["commit", "startedAt", "finishedAt"]),
    ANY | st.datetimes().map(str) | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)
CONTENT = st.fixed_dictionaries(
    {
        "metadata.json": (METADATA | ANY).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
        "source.json": (SOURCE | ANY).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
        "progress.log": st.lists(
            st.from_regex(r"#[0-9]{1,3} (\[a 1/2\] RUN x|CACHED|DONE 1s|ERROR: .{0,9}|.{0,9})") | st.text(max_size=20)
        )
        .map("\n".join)
        .map(str.encode)
        | st.binary(max_size=60),
        "metrics.json": (METRICS | ANY).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60),
        "trace.json": st.lists(
            st.fixed_dictionaries({"vertexes": st.lists(VERTEX | ANY, max_size=4)}).map(
                lambda value: json.dumps(value).encode()
            )
            | ANY.map(lambda value: json.dumps(value).encode())
            | st.binary(max_size=60),
            max_size=5,
        ).map(b"\n".join),
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=CONTENT,
    missing=st.sets(st.sampled_from(["metadata.json", "source.json", "metrics.json", "trace.json", "progress.log"])),
)
def test_no_content_whatever_makes_it_fail(workspace: Workspace, content: dict[str, bytes], missing: set[str]) -> None:
    shutil.rmtree(workspace.out, ignore_errors=True)
    workspace.out.mkdir(parents=True)
    for name, raw in content.items():
        if name not in missing:
            (workspace.out / name).write_bytes(raw)
    data = reported(workspace)
    steps = data["steps"]
    assert steps is None or 0 <= steps["cached"] <= steps["total"]
    assert all(data[key] in (True, False, None) for key in ("imported", "exported"))
    assert all(data[key] is None or data[key] >= 0 for key in ("sourceSeconds", "buildSeconds", "sizeBytes"))


def test_folders_where_files_should_be(workspace: Workspace) -> None:
    for name in ("metadata.json", "source.json", "metrics.json", "trace.json", "progress.log", "digest"):
        (workspace.out / name).mkdir(parents=True)
    assert reported(workspace)["digest"] is None
