"""A Docker engine with images and a registry, and tasks without an ECS around them: what the tests of the runtime work with."""

from __future__ import annotations

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import docker

from lab.dockerd import LABEL, Dockerd
from lab.ecs.clock import Clock
from lab.ecs.docker_runtime import DockerRuntime
from lab.ecs.task import Launch, Task
from lab.files import Folder
from lab.images import DOCKER, ImageNames, Images
from lab.process import Processes
from lab.registry import Registry
from lab.toolchain import cache_folder

NUMBERS = itertools.count(1)


class Ward:
    """Plays the agent for one runtime (`task.Events`)."""

    def __init__(self) -> None:
        self.runtime: DockerRuntime
        self.logs: dict[str, list[str]] = defaultdict(list)
        self._clock = Clock("ward")
        self._stopped = threading.Condition()
        self._done: set[str] = set()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._clock.later(seconds, action)

    def must_stop(self, task: Task) -> None:
        self.runtime.stop(task)

    def deprovisioned(self, task: Task) -> None:
        pass

    def stopped(self, task: Task) -> None:
        with self._stopped:
            self._done.add(task.id)
            self._stopped.notify_all()

    def write_log(self, group: str, stream: str, line: str) -> None:
        self.logs[stream].append(line)

    def wait(self, task: Task, seconds: float = 60) -> None:
        with self._stopped:
            assert self._stopped.wait_for(lambda: task.id in self._done, seconds), (
                f"{task.last_status} after {seconds} s"
            )

    def close(self) -> None:
        self._clock.close()


@dataclass
class Result:
    """How a task ended."""

    task: Task
    logs: Mapping[str, list[str]]
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    reasons: dict[str, str | None] = field(default_factory=dict)


class Engine:
    """Everything that the runtime needs, started once for all tests."""

    def __init__(self, state: Path, say: Callable[[str], None]) -> None:
        self.folder = Folder(state)
        processes = Processes(self.folder.path, self.folder.processes, self.folder.logs)
        seed = cache_folder() / "registry"
        self.registry = Registry(self.folder.registry, processes, say, seed=seed)
        self.dockerd = Dockerd(self.folder, processes, say)
        self._say = say
        self.client: docker.DockerClient
        self.maker: Images
        self.images: ImageNames
        self.ward = Ward()

    def start(self) -> None:
        address = self.registry.start()
        self.client = self.dockerd.start()
        self.maker = Images(self.client, address, self._say, on_push=self.registry.keep_as_seed)
        self.images = self.maker.ensure()
        self.ward.runtime = self.new_runtime()

    def new_runtime(self) -> DockerRuntime:
        return DockerRuntime(
            self.client,
            label={LABEL: self.dockerd.label},
            registry=self.registry.address,
            aws_url=lambda: "http://127.0.0.1:1",
            region="us-east-1",
            state_dir=self.folder.path,
            socket=self.dockerd.socket,
            buildkit=self.images.buildkit,
            provide=self.maker.provide,
        )

    @cached_property
    def docker(self) -> str:
        """The image with Docker's client and buildx, which is made for the first test that asks."""
        assert self.maker.provide(DOCKER)
        return DOCKER

    def stop(self) -> None:
        if hasattr(self.ward, "runtime"):
            self.ward.runtime.close()
        self.ward.close()
        self.dockerd.stop()
        self.registry.stop()

    def task(self, *containers: dict[str, Any], overrides: Mapping[str, Any] | None = None, **definition: Any) -> Task:
        """A task of these containers, not started; all write to logs and share the volume `workspace`."""
        identity = f"{next(NUMBERS):032x}"
        complete = [
            {
                "image": self.images.base.partition("/")[2],
                "mountPoints": [{"sourceVolume": "workspace", "containerPath": "/workspace"}],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "build"},
                },
                **container,
            }
            for container in containers
        ]
        launch = Launch(
            arn=f"arn:aws:ecs:us-east-1:123456789012:task/builds/{identity}",
            id=identity,
            cluster_arn="arn:aws:ecs:us-east-1:123456789012:cluster/builds",
            definition={"containerDefinitions": complete, "volumes": [{"name": "workspace"}], **definition},
            overrides=overrides or {},
        )
        return Task(launch, self.ward)

    def start_task(self, *containers: dict[str, Any], **more: Any) -> Task:
        task = self.task(*containers, **more)
        assert task.provisioned()
        self.ward.runtime.start(task)
        return task

    def run(self, *containers: dict[str, Any], seconds: float = 60, **more: Any) -> Result:
        task = self.start_task(*containers, **more)
        return self.ended(task, seconds)

    def ended(self, task: Task, seconds: float = 60) -> Result:
        self.ward.wait(task, seconds)
        result = Result(task, {name: self.ward.logs[f"build/{name}/{task.id}"] for name in names(task)})
        for name, progress, reason in task.container_states():
            result.exit_codes[name] = progress.exit_code
            result.reasons[name] = reason
        return result

    def line(self, task: Task, name: str, text: str, seconds: float = 60) -> None:
        """Wait until the container has written a line that holds `text`."""
        deadline = time.monotonic() + seconds
        lines = self.ward.logs[f"build/{name}/{task.id}"]
        while not any(text in line for line in lines):
            assert time.monotonic() < deadline, f"{name} has only written {lines}"
            time.sleep(0.02)

    def left(self) -> list[str]:
        """Containers, volumes and builders' folders of this lab."""
        wanted = {"label": f"{LABEL}={self.dockerd.label}"}
        containers = self.client.containers.list(all=True, filters=wanted, ignore_removed=True)
        volumes = self.client.volumes.list(filters=wanted)
        builders = self.folder.path / "ecs" / "builders"
        return [item.name for item in (*containers, *volumes)] + [path.name for path in builders.glob("*")]

    def nothing_left(self, seconds: float = 60) -> bool:
        """A task has stopped a moment before its volume and its builder are gone."""
        deadline = time.monotonic() + seconds
        while self.left():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def names(task: Task) -> list[str]:
    return [entry["name"] for entry in task.definition["containerDefinitions"]]


def shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A container that runs a script."""
    return {"name": name, "entryPoint": ["sh", "-c"], "command": [script], **more}


def after(name: str, condition: str) -> dict[str, Any]:
    return {"dependsOn": [{"containerName": name, "condition": condition}]}
