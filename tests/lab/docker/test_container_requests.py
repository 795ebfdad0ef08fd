"""From container definition to Docker's request, without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.ecs import docker_container, docker_privileges
from lab.ecs.docker_container import Host
from lab.ecs.docker_runtime import LONGEST_LINE, lines
from lab.ecs.task import Launch, Task

HOST = Host(label={"lab": "x"}, environment={"AWS_REGION": "us-east-1", "A": "host"}, efs=Path("/lab/efs"))


class Nobody:
    """Hears what a task says and does nothing about it."""

    def later(self, *_: Any) -> None: ...
    def must_stop(self, *_: Any) -> None: ...
    def deprovisioned(self, *_: Any) -> None: ...
    def stopped(self, *_: Any) -> None: ...
    def write_log(self, *_: Any) -> None: ...


def task(container: dict[str, Any], *, overrides: dict[str, Any] | None = None, **definition: Any) -> Task:
    containers = [{"name": "build", "image": "i", **container}]
    launch = Launch(
        arn="arn:task/1",
        id="1",
        cluster_arn="c",
        definition={"containerDefinitions": containers, **definition},
        overrides=overrides or {},
    )
    return Task(launch, Nobody())


def creation(task: Task, host: Host = HOST, configuration: Path | None = None) -> dict[str, Any]:
    return docker_container.creation(task, "build", host, docker_container.mounts(task, host).sources, configuration)


@pytest.mark.parametrize(
    ("container", "definition", "overrides", "mib"),
    [
        pytest.param({"memory": 100}, {"memory": "512"}, {}, 100, id="the container's own limit"),
        pytest.param({}, {"memory": "512"}, {}, 512, id="the task's where it has none"),
        pytest.param({"memory": 900}, {"memory": "512"}, {}, 512, id="never more than the task has"),
        pytest.param({}, {"memory": "512"}, {"memory": "256"}, 256, id="the override's"),
        pytest.param({}, {}, {}, 0, id="no limit at all"),
    ],
)
def test_memory_is_limited_by(
    container: dict[str, Any], definition: dict[str, Any], overrides: dict[str, Any], mib: int
) -> None:
    settings = creation(task(container, overrides=overrides, **definition))["host_config"]
    assert settings["Memory"] == settings["MemorySwap"] == mib * 1024 * 1024


def test_environment_of_the_override_beats_definition_beats_host() -> None:
    one = task(
        {"environment": [{"name": "A", "value": "definition"}, {"name": "B", "value": "definition"}]},
        overrides={"containerOverrides": [{"name": "build", "environment": [{"name": "B", "value": "override"}]}]},
    )
    assert creation(one)["environment"] == {"AWS_REGION": "us-east-1", "A": "definition", "B": "override"}


def test_volumes_of_the_task_the_host_and_a_file_system() -> None:
    volumes: list[dict[str, Any]] = [
        {"name": "workspace"},
        {"name": "socket", "host": {"sourcePath": "/run/x.sock"}},
        {
            "name": "caches",
            "efsVolumeConfiguration": {"fileSystemId": "fs-1", "authorizationConfig": {"accessPointId": "fsap-1"}},
        },
        {"name": "part", "efsVolumeConfiguration": {"fileSystemId": "fs-1", "rootDirectory": "/a/b"}},
    ]
    points = [
        {"sourceVolume": name, "containerPath": f"/{name}", "readOnly": name == "socket"}
        for name in (volume["name"] for volume in volumes)
    ]
    one = task({"mountPoints": points}, volumes=volumes)
    assert creation(one)["host_config"]["Binds"] == [
        "ecs-1-workspace:/workspace:rw",
        "/run/x.sock:/socket:ro",
        "/lab/efs/fs-1/access-points/fsap-1:/caches:rw",
        "/lab/efs/fs-1/root/a/b:/part:rw",
    ]
    assert docker_container.mounts(one, HOST).owned == ("ecs-1-workspace",)


def test_a_root_directory_stays_in_its_file_system() -> None:
    with pytest.raises(ValueError, match="leaves the file system"):
        docker_container.efs_folder(Path("/efs"), {"fileSystemId": "fs-1", "rootDirectory": "/../other"})


def test_privileged_is_privileged_where_the_machine_has_everything() -> None:
    settings = creation(task({"privileged": True}))["host_config"]
    assert settings["Privileged"] is True
    assert settings["Binds"] == []


def test_privileged_without_a_capability_is_all_the_others() -> None:
    host = Host(label={}, environment={}, efs=Path("/lab/efs"), missing_capabilities=("SYS_RESOURCE",))
    settings = creation(task({"privileged": True}), host)["host_config"]
    assert "Privileged" not in settings
    assert (settings["CapAdd"], settings["CapDrop"]) == (["ALL"], ["SYS_RESOURCE"])
    assert settings["Binds"] == ["/sys/fs/cgroup:/sys/fs/cgroup"]
    assert creation(task({}), host)["host_config"].get("CapAdd") is None


@pytest.mark.parametrize(
    ("bounding", "last", "missing"),
    [
        pytest.param("000001ffffffffff", "40", (), id="everything that this kernel knows"),
        pytest.param("000001fffeffffff", "40", ("SYS_RESOURCE",), id="one is withheld"),
        pytest.param("000000ffffffffff", "39", (), id="an older kernel knows fewer"),
        pytest.param("nonsense", "40", (), id="an unreadable status withholds nothing"),
    ],
)
def test_capabilities(tmp_path: Path, bounding: str, last: str, missing: tuple[str, ...]) -> None:
    (tmp_path / "status").write_text(f"Name:\tpython\nCapBnd:\t{bounding}\n")
    (tmp_path / "last").write_text(last)
    assert docker_privileges.missing_capabilities(tmp_path / "status", tmp_path / "last") == missing


def test_an_image_with_buildkitd_gets_its_configuration() -> None:
    binds = creation(task({}), configuration=Path("/lab/1.toml"))["host_config"]["Binds"]
    assert binds == ["/lab/1.toml:/etc/buildkit/buildkitd.toml:ro"]
    text = docker_container.buildkit_configuration("127.0.0.1:5000", "/docker/abc")
    assert '[registry."127.0.0.1:5000"]\nhttp = true\n' in text
    assert '[worker.oci]\ndefaultCgroupParent = "/docker/abc"\n' in text


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([b"a\nb\n"], ["a", "b"], id="whole lines"),
        pytest.param([b"a", b"b\nc", b"\r\nd"], ["ab", "c", "d"], id="lines in pieces, the last without an end"),
        pytest.param([b"\xc3", b"\xa4\n\xff\n"], ["ä", "�"], id="a character in pieces, and what is none"),
        pytest.param([b"\n\n"], ["", ""], id="empty lines"),
        pytest.param([b"x" * (LONGEST_LINE + 1)], ["x" * LONGEST_LINE, "x"], id="a line too long for one event"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_lines(chunks: list[bytes], expected: list[str]) -> None:
    assert list(lines(chunks)) == expected


def test_paths_of_an_instance_may_lie_elsewhere_on_this_machine() -> None:
    volumes = [
        {"name": "a", "host": {"sourcePath": "/var/run/docker.sock"}},
        {"name": "b", "host": {"sourcePath": "/b"}},
    ]
    host = replace(HOST, paths={"/var/run/docker.sock": "/lab/docker.sock"})
    found = docker_container.mounts(task({}, volumes=volumes), host)
    assert found.sources == {"a": "/lab/docker.sock", "b": "/b"}
