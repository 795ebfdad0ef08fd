"""buildkitd in containers of their own: each begins with an empty root, as on a new instance, and reads its source at /workspace.

A command of Docker runs in a second container with the engine's own image, by the script of the engine's tasks, on that buildkitd.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from buildcache.core.tasks import BUILDER, DOCKER_SCRIPT
from buildcache.runner import report
from buildcache.runner.workspace import Workspace
from lab.dockerd import LABEL
from lab.ecs import docker_container, docker_privileges
from tests.lab.docker.engine import Engine

READY_WITHIN = 60.0
SOCKET = "unix:///run/buildkit/buildkitd.sock"
MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)


class Builder:
    """One running buildkitd; `run` executes a command beside it."""

    def __init__(self, engine: Engine, folder: Path, identity: str) -> None:
        self._engine = engine
        self._api = engine.client.api
        self._folder = folder
        self._id = identity
        self._client: str | None = None

    def run(self, command: Sequence[str], files: Mapping[str, str]) -> Ran:
        """Build `files`; the workspace is new for every command."""
        workspace = Workspace(self._folder)
        for name in ("src", "out"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        workspace.prepare()
        for name, text in files.items():
            path = workspace.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if command[0] == "docker":
            place, command = self._docker(), ["/bin/sh", "-c", DOCKER_SCRIPT, *command]
        else:
            place = self._id
        code, output = self._execute(place, command)
        return Ran(code, output, workspace)

    def remove(self) -> None:
        """With all its state."""
        for identity in filter(None, (self._client, self._id)):
            self._api.remove_container(identity, force=True, v=True)

    def _docker(self) -> str:
        """The container with Docker's client; made at the first of its commands."""
        if self._client is None:
            made = self._api.create_container(
                image=self._engine.docker,
                entrypoint=["sleep", "infinity"],
                environment={"BUILDX_BUILDER": BUILDER, "DOCKER_BUILDKIT": "1"},
                labels={LABEL: self._engine.dockerd.label},
                host_config={
                    "NetworkMode": "host",
                    "Binds": [f"{self._folder}:/workspace:rw", f"{self._folder}/run:/run/buildkit:rw"],
                },
            )
            self._client = str(made["Id"])
            self._api.start(self._client)
            create = ["docker", "buildx", "create", "--name", BUILDER, "--driver", "remote", SOCKET]
            code, output = self._execute(self._client, create)
            assert code == 0, output
        return self._client

    def _execute(self, place: str, command: Sequence[str]) -> tuple[int, str]:
        made = self._api.exec_create(place, list(command))
        output = self._api.exec_start(made["Id"]).decode(errors="replace")
        return int(self._api.exec_inspect(made["Id"])["ExitCode"]), output

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + READY_WITHIN
        while True:
            if self._execute(self._id, ["buildctl", "debug", "workers"])[0] == 0:
                return
            log = self._api.logs(self._id).decode(errors="replace")
            assert self._api.inspect_container(self._id)["State"]["Running"], log
            assert time.monotonic() < deadline, log
            time.sleep(0.05)


class Ran:
    """How a command ended, and what the task's report would say of it."""

    def __init__(self, code: int, output: str, workspace: Workspace) -> None:
        self.code = code
        self.output = output
        self.report: dict[str, Any] = json.loads(report.line(workspace, {}).removeprefix(report.PREFIX))

    @property
    def steps(self) -> tuple[int, int]:
        """Total and cached."""
        assert self.code == 0, self.output
        return self.report["steps"]["total"], self.report["steps"]["cached"]


@contextlib.contextmanager
def builder(engine: Engine, folder: Path) -> Iterator[Builder]:
    """A new one, gone with all its state afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    configuration = folder / "buildkitd.toml"
    configuration.write_text(docker_container.buildkit_configuration(engine.registry.address, None))
    missing = docker_privileges.missing_capabilities()
    made = engine.client.api.create_container(
        image=engine.images.buildkit,
        entrypoint=["buildkitd"],
        labels={LABEL: engine.dockerd.label},
        host_config={
            "NetworkMode": "host",
            **docker_privileges.host_settings(missing),
            "Binds": [
                f"{folder}:/workspace:rw",
                f"{folder}/run:/run/buildkit:rw",
                f"{configuration}:{docker_container.BUILDKIT_CONFIGURATION}:ro",
                *docker_privileges.binds(missing),
            ],
        },
    )
    found = Builder(engine, folder, made["Id"])
    try:
        engine.client.api.start(made["Id"])
        found.wait()
        yield found
    finally:
        found.remove()


def manifest(registry: str, repository: str, tag: str) -> dict[str, Any]:
    """What the registry holds under that name."""
    url = f"http://{registry}/v2/{repository}/manifests/{tag}"
    return ask(urllib.request.Request(url, headers={"Accept": MANIFESTS}))[0]


def contents(registry: str) -> dict[str, dict[str, str]]:
    """Everything in the registry: the digest of each tag of each repository."""
    found: dict[str, dict[str, str]] = {}
    for repository in ask(f"http://{registry}/v2/_catalog?n=1000")[0]["repositories"]:
        tags = ask(f"http://{registry}/v2/{repository}/tags/list")[0]["tags"] or []
        urls = {tag: f"http://{registry}/v2/{repository}/manifests/{tag}" for tag in tags}
        found[repository] = {
            tag: ask(urllib.request.Request(url, headers={"Accept": f"{MANIFESTS}, */*"}))[1]
            for tag, url in urls.items()
        }
    return found


def ask(request: urllib.request.Request | str) -> tuple[dict[str, Any], str]:
    """The answer and the digest that the registry gives with it."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer), answer.headers.get("Docker-Content-Digest", "")
