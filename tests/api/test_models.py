import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.api.executor import FARGATE_MEMORY
from buildcache.api.meta import Kind, json_name, seconds
from buildcache.api.problems import Problem, problems, summary
from tests.api.examples import BUILD, CACHE, REFUSED, Refused, changed

KINDS: dict[str, type[Kind]] = {"BuildCache": BuildCache, "Build": Build}


def refusals(kind: str, body: object) -> tuple[Problem, ...]:
    with pytest.raises(ValidationError) as caught:
        KINDS[kind].model_validate(body)
    return problems(caught.value)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_bad_value_is_refused_with_the_path_of_its_field(case: Refused) -> None:
    found = refusals(case.kind, changed(case.kind, case.path, case.value))
    assert any(problem.path.startswith(case.at) for problem in found), [str(problem) for problem in found]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.source.git.url", "https://user:canary@host/a.git"),
        ("spec.source.git.revision", "canary canary"),
        ("spec.buildArgs", [{"name": "A", "value": "canary\n"}]),
        ("spec.cache.mode", "canary"),
    ],
)
def test_a_refusal_never_repeats_the_value(path: str, value: object) -> None:
    assert not any("canary" in str(problem) for problem in refusals("Build", changed("Build", path, value)))


def test_valid_objects_get_the_defaults_of_the_contract() -> None:
    cache, build = BuildCache.parse(CACHE), Build.parse(BUILD)
    export = cache.spec.registry.export
    assert (export.mode, export.compression, export.ignore_error, export.tag_suffix) == (
        "max",
        "estargz",
        True,
        "buildcache",
    )
    assert (cache.spec.reconcile_interval, cache.spec.limits.max_concurrent_builds) == ("10m", 8)
    assert (build.spec.cache.mode, build.spec.timeouts.queue, build.spec.retries) == ("ReadWrite", "1h", 2)


def test_what_is_written_reads_back_as_the_same_value() -> None:
    for kind, body in (("BuildCache", CACHE), ("Build", BUILD)):
        value = KINDS[kind].parse(body)
        assert KINDS[kind].parse(json.loads(json.dumps(value.to_json()))) == value


def test_an_object_without_status_reads_as_never_observed() -> None:
    assert BuildCache.parse({**CACHE, "status": None}).status.observed_generation == -1
    assert Build.parse(BUILD).status.observed_generation == -1


def test_null_clears_the_transition_and_absence_keeps_the_default() -> None:
    cleared = BuildCache.parse(changed("BuildCache", "spec.fileSystem", {"transitionToIA": None})).spec.file_system
    absent = BuildCache.parse(changed("BuildCache", "spec.fileSystem", {})).spec.file_system
    assert cleared is not None
    assert cleared.transition_to_ia is None
    assert absent is not None
    assert absent.transition_to_ia == "AFTER_14_DAYS"


def test_c16_the_longest_durations() -> None:
    timeouts = Build.parse(changed("Build", "spec.timeouts", {"queue": "24h", "start": "1440m", "run": "660m"})).spec
    assert timeouts.timeouts.run == "660m"
    limits = BuildCache.parse(changed("BuildCache", "spec.limits", {"maxRunTimeout": "10h60m"})).spec.limits
    assert limits.max_run_timeout == "10h60m"


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Build", "spec.timeouts.queue"),
        ("Build", "spec.timeouts.start"),
        ("Build", "spec.timeouts.run"),
        ("BuildCache", "spec.limits.maxRunTimeout"),
        ("BuildCache", "spec.reconcileInterval"),
    ],
)
@pytest.mark.parametrize("length", ["24h1s", "99999h", "99999999h", "99999h99999h99999h99999h99999h"])
def test_c16_no_duration_is_without_end(kind: str, path: str, length: str) -> None:
    assert [problem.path for problem in refusals(kind, changed(kind, path, length))] == [path]


def test_c16_a_run_ends_before_its_login_does() -> None:
    (run,) = refusals("Build", changed("Build", "spec.timeouts", {"queue": "24h", "run": "11h1s"}))
    assert str(run) == "spec.timeouts.run: must be at most 11h"


def test_a9_a_quarter_of_a_cpu_has_three_sizes_of_memory() -> None:
    body = changed("BuildCache", "spec.executors.1.cpu", 256)
    body["spec"]["executors"][1]["memory"] = 1536
    (problem,) = refusals("BuildCache", body)
    assert str(problem) == "spec.executors[1].memory: must be 512 or 1024 or 2048 on Fargate with cpu 256"
    body["spec"]["executors"][1]["memory"] = 2048
    assert BuildCache.parse(body).spec.executors[1].memory == 2048


@pytest.mark.parametrize("path", ["/buildkitd.sock", "/run/../buildkitd.sock", "/./x", "/run/buildkit/"])
def test_a13_a_socket_is_in_a_folder_that_can_be_mounted(path: str) -> None:
    (problem,) = refusals("BuildCache", changed("BuildCache", "spec.executors.0.buildkit", {"socketPath": path}))
    assert problem.path == "spec.executors[0].buildkit.socketPath"


@pytest.mark.parametrize("host", ["docker.io", "111122223333.dkr.ecr.eu-west-1.amazonaws.com,evil.example"])
def test_a4_only_registries_of_ecr_can_be_named(host: str) -> None:
    (problem,) = refusals("BuildCache", changed("BuildCache", "spec.registries", [host]))
    assert problem.path == "spec.registries[0]"


@given(cpu=st.sampled_from(sorted(FARGATE_MEMORY)), memory=st.integers(512, 130_000))
def test_fargate_takes_exactly_the_pairs_that_aws_offers(cpu: int, memory: int) -> None:
    body = changed("BuildCache", "spec.executors.1.cpu", cpu)
    body["spec"]["executors"][1]["memory"] = memory
    if memory in FARGATE_MEMORY[cpu]:
        assert BuildCache.parse(body).spec.executors[1].memory == memory
    else:
        assert [problem.path for problem in refusals("BuildCache", body)] == ["spec.executors[1].memory"]


NAMES = st.sampled_from(["metadata", "spec", "name", "cacheRef", "source", "status", "git", "executors", "network"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
)


@given(JSON)
def test_no_json_value_is_valid_by_accident_or_raises_anything_but_a_validation_error(value: object) -> None:
    for kind in KINDS:
        assert refusals(kind, value)


@pytest.mark.parametrize(
    ("text", "length"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("14d", 1_209_600), ("0h5s", 5)]
)
def test_durations_are_counted_in_seconds(text: str, length: int) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize(
    ("name", "json"),
    [
        ("cluster_arn", "clusterARN"),
        ("subnet_ids", "subnetIDs"),
        ("assign_public_ip", "assignPublicIP"),
        ("ephemeral_storage_gib", "ephemeralStorageGiB"),
        ("provisioned_mibps", "provisionedMiBps"),
        ("transition_to_ia", "transitionToIA"),
        ("repository_uri", "repositoryURI"),
        ("uri", "uri"),
        ("id", "id"),
        ("oci_media_types", "ociMediaTypes"),
    ],
)
def test_json_names_follow_the_kubernetes_convention(name: str, json: str) -> None:
    assert json_name(name) == json


def test_a_summary_is_bounded() -> None:
    text = summary([Problem(f"spec.a[{number}]", "is required") for number in range(20)])
    assert text.count("is required") == 5
    assert text.endswith("and 15 more")
