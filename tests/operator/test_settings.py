"""Settings: what is missing or wrong is said by name, with what to do."""

from __future__ import annotations

import dataclasses

import pytest

from buildcache.settings import IMAGE, NAMES, Settings, SettingsError, read

GOOD = {"BUILDCACHE_CLUSTER_ID": "prod-eu"}


def test_only_the_cluster_id_is_needed() -> None:
    assert read({**GOOD, "PATH": "/bin", "AWS_REGION": "x"}, terminal=False) == Settings(cluster_id="prod-eu")
    assert Settings(cluster_id="x").runner_image == IMAGE


def test_all_settings_are_read() -> None:
    values = {
        **GOOD,
        "BUILDCACHE_RUNNER_IMAGE": "registry/op:1",
        "BUILDCACHE_NAMESPACES": " team-a, team-b,team-a ",
        "BUILDCACHE_WORKERS": "4",
        "BUILDCACHE_LOG_FORMAT": "text",
        "BUILDCACHE_LOG_LEVEL": "Warning",
        "BUILDCACHE_METRICS_PORT": "9191",
        "BUILDCACHE_PROBE_PORT": "8181",
    }
    assert len(values) == len(NAMES) == len(dataclasses.fields(Settings))
    assert read(values, terminal=False) == Settings(
        cluster_id="prod-eu",
        runner_image="registry/op:1",
        namespaces=("team-a", "team-b"),
        workers=4,
        log_format="text",
        log_level="warning",
        metrics_port=9191,
        probe_port=8181,
    )


@pytest.mark.parametrize(("terminal", "form"), [(True, "text"), (False, "json")])
def test_the_log_is_for_who_reads_it(terminal: bool, form: str) -> None:
    assert read(GOOD, terminal=terminal).log_format == form


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"BUILDCACHE_LOG_LEVEL": "loud"}, "debug, info, warning or error", id="a log level"),
        pytest.param({"BUILDCACHE_CLUSTER_ID": ""}, "CLUSTER_ID is required", id="no cluster id"),
        pytest.param({"BUILDCACHE_CLUSTER_ID": "Prod EU"}, "lower-case letters", id="a cluster id with a space"),
        pytest.param({"BUILDCACHE_CLUSTER_ID": "x" * 33}, "1 to 32", id="a cluster id that is too long"),
        pytest.param({"BUILDCACHE_CLUSTER_ID": "a\nb"}, "lower-case letters", id="a cluster id with a line break"),
        pytest.param({"BUILDCACHE_NAMESPACES": "team_a"}, "'team_a'", id="a namespace that is none"),
        pytest.param({"BUILDCACHE_WORKERS": "0"}, "from 2 to 64", id="no workers"),
        pytest.param({"BUILDCACHE_WORKERS": "many"}, "whole number", id="workers in words"),
        pytest.param({"BUILDCACHE_PROBE_PORT": "99999"}, "from 1 to 65535", id="a port that is none"),
        pytest.param({"BUILDCACHE_LOG_FORMAT": "xml"}, "json or text", id="a log format that is none"),
        pytest.param({"BUILDCACHE_CLUSTERID": "x"}, "BUILDCACHE_CLUSTERID is no setting", id="a misspelt name"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read({**GOOD, **changes}, terminal=False)
