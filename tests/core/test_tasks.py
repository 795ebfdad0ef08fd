"""Task definitions and RunTask requests, against golden files that a reviewer can read, and against botocore's service model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import given

from buildcache.api.build import Build
from buildcache.api.executor import Executor
from buildcache.api.stores import Export
from buildcache.core import engines, flags, names, tasks
from buildcache.core.errors import Rejected
from buildcache.core.flags import Flags, Scope, Stores
from buildcache.core.status import Reason
from tests.conftest import Golden

from . import specs
from .specs import IDENTITY, MOUNTED, OFF, ON, SCOPE, URI, build, cache_spec, executor, export

RUNNER = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/buildcache-operator:0.1.0"
DEFINITION = "arn:aws:ecs:eu-west-1:111122223333:task-definition/buildcache:1"
OWN, OTHER = URI.partition("/")[0], "999988887777.dkr.ecr.us-east-1.amazonaws.com"
MODEL = botocore.session.get_session().get_service_model("ecs")


def definition(own: Executor, scope: Scope | None = None) -> dict[str, Any]:
    plain = tasks.task_definition(IDENTITY, cache_spec(own), own, runner_image=RUNNER)
    if scope is None:
        return dict(plain.request)
    family = names.scope_family(IDENTITY, own.name, scope.access_point_id)
    return dict(tasks.mounting(plain, family, scope).request)


def request(
    own: Executor, of: Build, stores: Stores, *, spec: Mapping[str, Any] | None = None, attempt: int = 1
) -> dict[str, Any]:
    found = flags.render(own, export(), of.spec, stores)
    assert isinstance(found, Flags)
    return tasks.run_task(
        IDENTITY,
        cache_spec(own, **(spec or {})),
        own,
        of,
        found,
        engines.command(own, of.spec, found),
        attempt=attempt,
        task_definition_arn=DEFINITION,
        security_group_ids=["sg-0a1b2c3d4e5f60718"],
    )


def container(request: Mapping[str, Any], name: str) -> dict[str, Any]:
    containers = request.get("containerDefinitions") or request["overrides"]["containerOverrides"]
    (found,) = [each for each in containers if each["name"] == name]
    return dict(found)


def environment(of: Mapping[str, Any]) -> dict[str, str]:
    return {pair["name"]: pair["value"] for pair in of["environment"]}


EXECUTORS = {
    "buildkit": executor("BuildKit"),
    "buildkit-socket": executor("BuildKit", buildkit={"socketPath": "/run/host/daemon.sock"}),
    "docker": executor("Docker", platform="linux/arm64"),
    "kaniko-ec2": executor("Kaniko", launchType="EC2"),
    "kaniko-fargate": executor("Kaniko", platform="linux/arm64", ephemeralStorageGiB=60),
}


@pytest.mark.parametrize("name", EXECUTORS)
def test_task_definition(name: str, golden: Golden) -> None:
    golden(f"tasks/definition-{name}", definition(EXECUTORS[name]))


@pytest.mark.parametrize("name", ["kaniko-ec2", "kaniko-fargate"])
def test_task_definition_with_a_scope(name: str, golden: Golden) -> None:
    golden(f"tasks/definition-{name}-scope", definition(EXECUTORS[name], scope=SCOPE))


@pytest.mark.parametrize("on", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("name", EXECUTORS)
def test_run_task(name: str, on: bool, golden: Golden) -> None:
    own = EXECUTORS[name]
    golden(f"tasks/run-{name}-{'on' if on else 'off'}", request(own, build(), MOUNTED if on else OFF))


@pytest.mark.parametrize("name", EXECUTORS)
def test_a2_k1_the_engine_finds_the_task_volume_where_its_command_looks(name: str) -> None:
    own = EXECUTORS[name]
    engine, root = container(definition(own), "build"), "/kaniko/workspace" if own.engine == "Kaniko" else "/workspace"
    mounts = {mount["sourceVolume"]: mount["containerPath"] for mount in engine["mountPoints"]}
    assert mounts["workspace"] == root
    assert environment(engine)["DOCKER_CONFIG"] == f"{root}/.docker"
    sent = json.dumps(container(request(own, build(output={"push": False}), ON), "build"))
    assert sent.count("/workspace") == sent.count(root) > 0, "each path of the command is below the volume"
    for runner in ("fetch", "report"):
        (mount,) = container(definition(own), runner)["mountPoints"]
        assert (mount["sourceVolume"], mount["containerPath"]) == ("workspace", "/workspace")


def test_a2_k1_kaniko_leaves_none_of_the_users_folders_out_of_the_image() -> None:
    own = EXECUTORS["kaniko-fargate"]
    assert "/workspace" not in [mount["containerPath"] for mount in container(definition(own), "build")["mountPoints"]]
    command = container(request(own, build(), ON), "build")["command"]
    assert not [item for item in command if item.startswith("--ignore-path")]


def test_a13_the_folder_of_a_hosts_socket_is_mounted_and_not_the_socket() -> None:
    request = definition(EXECUTORS["buildkit-socket"])
    build = container(request, "build")
    assert [volume["host"] for volume in request["volumes"] if "host" in volume] == [{"sourcePath": "/run/host"}]
    assert {"sourceVolume": "buildkit", "containerPath": "/run/buildkit", "readOnly": False} in build["mountPoints"]
    assert environment(build)["BUILDKIT_HOST"] == "unix:///run/buildkit/daemon.sock"


@pytest.mark.parametrize("name", EXECUTORS)
def test_a3_a_daemon_of_the_tasks_own_has_minutes_to_start(name: str) -> None:
    retries = environment(container(definition(EXECUTORS[name]), "build")).get("BUILDCTL_CONNECT_RETRIES_MAX")
    assert (retries is not None and int(retries) >= 150) == (name == "buildkit")


@pytest.mark.parametrize("name", EXECUTORS)
def test_a14_no_line_of_a_report_is_lost_and_no_build_waits_for_its_log(name: str) -> None:
    request = definition(EXECUTORS[name])
    options = {each: container(request, each)["logConfiguration"]["options"] for each in ("fetch", "build", "report")}
    told = {each: (found["mode"], found.get("max-buffer-size")) for each, found in options.items()}
    assert told == {
        "fetch": ("non-blocking", "25m"),
        "build": ("non-blocking", "25m"),
        "report": ("blocking", None),
    }


def test_a4_the_registries_of_a_cache_are_in_its_task_definitions() -> None:
    own = EXECUTORS["kaniko-fargate"]
    spec = cache_spec(own, registries=[OTHER, "444455556666.dkr.ecr.eusc-de-east-1.amazonaws.eu"])
    plain = tasks.task_definition(IDENTITY, spec, own, runner_image=RUNNER)
    told = environment(container(plain.request, "fetch"))["FURTHER_REGISTRIES"]
    assert told == f"{OTHER},444455556666.dkr.ecr.eusc-de-east-1.amazonaws.eu"


@pytest.mark.parametrize("name", ["kaniko-ec2", "kaniko-fargate"])
def test_a_scope_adds_its_volume_and_its_mount_and_nothing_else(name: str) -> None:
    own = EXECUTORS[name]
    plain, mounted = definition(own), definition(own, scope=SCOPE)
    assert mounted.pop("family") != plain.pop("family")
    assert mounted["volumes"].pop() == flags.efs_volume(SCOPE)
    mount = container(mounted, "build")["mountPoints"].pop()
    assert mount == {"sourceVolume": "kaniko-caches", "containerPath": "/kaniko/caches", "readOnly": False}
    assert mounted == plain


@pytest.mark.parametrize("name", EXECUTORS)
def test_the_cache_adds_its_flags_and_environment_to_the_request_and_nothing_else(name: str) -> None:
    own, of = EXECUTORS[name], build(output={"images": ["ghcr.io/acme/web:1"]})
    on, off = request(own, of, ON), request(own, of, OFF)
    rendered = [flags.render(own, export(), of.spec, stores) for stores in (ON, OFF)]
    for each, found in zip((on, off), rendered, strict=True):
        assert isinstance(found, Flags)
        overrides = container(each, "build")
        assert environment({"environment": overrides.get("environment", [])}) == found.environment
        assert "".join(overrides["command"]).count("".join(found.args)) >= 1
        for item in found.args:
            overrides["command"].remove(item)
        each["overrides"]["containerOverrides"][1] = overrides["command"]
    login = container({"overrides": {"containerOverrides": [on["overrides"]["containerOverrides"][0]]}}, "fetch")
    assert login["environment"].pop(2) == {"name": "REGISTRIES", "value": URI.partition("/")[0]}
    assert on == off


@pytest.mark.parametrize("name", EXECUTORS)
def test_privileged_is_only_a_buildkitd_inside_the_task(name: str) -> None:
    assert [each["name"] for each in definition(EXECUTORS[name])["containerDefinitions"] if "privileged" in each] == (
        ["build"] if name == "buildkit" else []
    )


@pytest.mark.parametrize("name", EXECUTORS)
def test_reservations_fit_the_task(name: str) -> None:
    small = EXECUTORS[name].model_copy(update={"cpu": 256, "memory": 512})
    found = definition(small)
    assert sum(each["memoryReservation"] for each in found["containerDefinitions"]) <= int(found["memory"]) == 512
    assert container(found, "build")["memory"] == 512


def test_storage_is_asked_for_only_where_it_is_wanted() -> None:
    assert "ephemeralStorage" not in definition(executor("Kaniko"))
    assert definition(executor("Kaniko", ephemeralStorageGiB=21))["ephemeralStorage"] == {"sizeInGiB": 21}


def test_the_hash_changes_with_the_content_only() -> None:
    def content_hash(own: Executor, runner_image: str = RUNNER) -> str:
        return tasks.task_definition(IDENTITY, cache_spec(own), own, runner_image=runner_image).content_hash

    first = content_hash(executor())
    assert first == content_hash(executor())
    assert len({first, content_hash(executor(memory=4096)), content_hash(executor(), "other:1")}) == 3


def test_the_docker_script_is_constant_and_values_are_its_positional_parameters() -> None:
    build_container = container(definition(executor("Docker")), "build")
    assert build_container["entryPoint"] == ["/bin/sh", "-c", tasks.DOCKER_SCRIPT, "docker"]
    assert 'docker "$@"' in tasks.DOCKER_SCRIPT
    overrides = container(
        request(executor("Docker"), build(buildArgs=[{"name": "A", "value": "$(id); `id`"}]), ON), "build"
    )
    assert overrides["command"][:2] == ["buildx", "build"]
    assert "A=$(id); `id`" in overrides["command"]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (executor("BuildKit"), {"launchType": "EC2"}),
        (executor("Kaniko"), {"launchType": "FARGATE", "platformVersion": "1.4.0"}),
        (
            executor(
                "Kaniko", capacityProviders=[{"name": "FARGATE_SPOT", "weight": 3}, {"name": "FARGATE", "base": 1}]
            ),
            {
                "capacityProviderStrategy": [
                    {"capacityProvider": "FARGATE_SPOT", "weight": 3, "base": 0},
                    {"capacityProvider": "FARGATE", "weight": 1, "base": 1},
                ],
                "platformVersion": "1.4.0",
            },
        ),
    ],
    ids=["EC2", "Fargate", "capacity providers instead of a launch type"],
)
def test_where_a_task_runs(own: Executor, expected: dict[str, Any]) -> None:
    keys = ("launchType", "capacityProviderStrategy", "platformVersion")
    found = request(own, build(), ON)
    assert {key: found[key] for key in keys if key in found} == expected


@pytest.mark.parametrize(
    ("own", "public", "expected"),
    [
        (executor("Kaniko"), True, "ENABLED"),
        (executor("Kaniko"), False, "DISABLED"),
        (executor("BuildKit"), True, None),
    ],
)
def test_a_public_address_is_for_fargate_only(own: Executor, public: bool, expected: str | None) -> None:
    network = {"vpcID": "vpc-0a1b2c3d4e5f60718", "subnetIDs": ["subnet-0a1b2c3d4e5f60718"], "assignPublicIP": public}
    found = request(own, build(), ON, spec={"network": network})["networkConfiguration"]["awsvpcConfiguration"]
    assert found.get("assignPublicIp") == expected


def test_the_source_travels_whole() -> None:
    dockerfile = 'FROM scratch\nLABEL a="$(id)"\n# …'
    found = environment(
        container(request(executor(), build(source={"inline": {"dockerfile": dockerfile}}), ON), "fetch")
    )
    assert json.loads(found["SOURCE"]) == {"inline": {"dockerfile": dockerfile}}
    assert (found["CONTEXT_DIR"], found["DOCKERFILE"]) == (".", "Dockerfile")


@pytest.mark.parametrize(
    ("images", "mode", "stores", "expected"),
    [
        (["ghcr.io/a/b"], "ReadWrite", OFF, None),
        (["ghcr.io/a/b"], "ReadWrite", ON, f"{OWN},{OTHER}"),
        (["ghcr.io/a/b"], "Refresh", ON, OWN),
        ([f"{OTHER}/a", specs.IMAGE], "None", ON, f"{OTHER},{OWN}"),
    ],
)
def test_registries_to_log_in_to(images: list[str], mode: str, stores: Stores, expected: str | None) -> None:
    of = build(output={"images": images}, cache={"mode": mode, "importFrom": [f"{OTHER}/acme/shop:main"]})
    assert environment(container(request(executor(), of, stores), "fetch")).get("REGISTRIES") == expected


def test_report_hears_of_images_only_when_there_are_some() -> None:
    assert environment(container(request(executor(), build(), ON), "report")) == {
        "ENGINE": "BuildKit",
        "IMAGES": specs.IMAGE,
    }
    of = build(output={"push": False})
    assert environment(container(request(executor(), of, ON), "report")) == {"ENGINE": "BuildKit"}


def test_attempts_have_tokens_of_their_own_and_the_same_attempt_asks_for_the_same() -> None:
    first, again, second = (request(executor(), build(), ON, attempt=attempt) for attempt in (1, 1, 2))
    assert first == again
    assert first.pop("clientToken") != second.pop("clientToken")
    assert first == second


@pytest.mark.parametrize(("length", "fits"), [(0, True), (1, False)], ids=["the limit itself", "one character more"])
def test_overrides_are_measured_before_they_are_sent(length: int, fits: bool) -> None:
    def of(padding: int) -> Build:
        arguments = [{"name": f"A{index}", "value": "x" * 2048} for index in range(3)]
        return build(buildArgs=[*arguments, {"name": "P", "value": "x" * padding}])

    room = tasks.OVERRIDES_LIMIT - len(json.dumps(request(executor(), of(0), ON)["overrides"], separators=(",", ":")))
    if fits:
        request(executor(), of(room + length), ON)
    else:
        with pytest.raises(Rejected, match="8193 characters") as refused:
            request(executor(), of(room + length), ON)
        assert refused.value.reason is Reason.LIMIT_EXCEEDED


def valid(operation: str, parameters: Mapping[str, Any]) -> str:
    """What botocore says against the parameters; nothing when they have the service's form."""
    shape = MODEL.operation_model(operation).input_shape
    assert shape is not None
    return str(ParamValidator().validate(dict(parameters), shape).generate_report())


@given(specs.executors(), specs.exports(), specs.builds(), specs.stores)
def test_every_request_has_the_form_that_ecs_takes(own: Executor, options: Export, of: Build, stores: Stores) -> None:
    found = flags.render(own, options, of.spec, stores)
    if not isinstance(found, Flags):
        return
    assert (
        valid("RegisterTaskDefinition", definition(own, scope=stores.scope if own.engine == "Kaniko" else None)) == ""
    )
    try:
        run = request(own, of, stores)
    except Rejected:
        return
    assert valid("RunTask", run) == ""
    assert not [key for key, value in (run | definition(own)).items() if value in ([], {}, "", None)]
