"""AWS of the lab with what runs its tasks: registry, Docker engine and images where real containers are wanted.

Composed by `lab.lab.Lab`; `lab.aws` and `lab.ecs` say what is behind the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from lab.aws import Aws
from lab.command import Progress
from lab.dockerd import LABEL, Dockerd
from lab.ecs.docker_runtime import DockerRuntime
from lab.ecs.runtime import Runtime
from lab.files import Folder, RuntimeName
from lab.images import BUILDKIT, Images
from lab.process import Processes
from lab.registry import Registry
from lab.toolchain import cache_folder

# Simulated tasks name images, and nobody pulls them.
NO_REGISTRY = "127.0.0.1:1"
NO_IMAGE = "buildcache-operator:simulated"


class Cloud:
    """`start` in its own time; `aws` is there afterwards."""

    region = "us-east-1"
    account = "123456789012"

    def __init__(
        self,
        folder: Folder,
        processes: Processes,
        progress: Progress,
        *,
        runtime: RuntimeName,
        on_crash: Callable[[], None],
        limits: bool = False,
    ) -> None:
        self._folder = folder
        self._progress = progress
        self._runtime = runtime
        self._on_crash = on_crash
        self._limits = limits
        self._registry = Registry(folder.registry, processes, progress, seed=cache_folder() / "registry")
        self._engine = Dockerd(folder, processes, progress)
        self._aws: Aws | None = None
        self.registry = NO_REGISTRY
        self.runner_image = NO_IMAGE
        self.url = ""

    @property
    def aws(self) -> Aws:
        """The control side of AWS; only after `start`."""
        assert self._aws is not None, "the cloud was not started"
        return self._aws

    def registry_down(self) -> AbstractContextManager[None]:
        """The registry answers nobody for as long."""
        return self._registry.down()

    def start(self) -> None:
        """AWS answers, with a network and an ECS cluster in it, and its tasks can run."""
        if self._runtime == "docker":
            self._start_with_containers()
        else:
            self._start_aws()

    def stop(self) -> None:
        """AWS, all tasks and what ran them are gone."""
        if self._aws is not None:
            self._aws.stop()
        self._engine.stop()
        self._registry.stop()

    def _start_with_containers(self) -> None:
        began = time.monotonic()
        with ThreadPoolExecutor(max_workers=2, thread_name_prefix="lab-cloud") as pool:
            registry, engine = pool.submit(self._registry.start), pool.submit(self._engine.start)
            self.registry, client = registry.result(), engine.result()
            images = Images(
                client,
                self.registry,
                self._progress,
                on_push=self._registry.keep_as_seed,
                label=self._engine.label,
            )
            names = pool.submit(images.ensure)
            self._start_aws(
                DockerRuntime(
                    client,
                    label={LABEL: self._engine.label},
                    registry=self.registry,
                    aws_url=lambda: self.url,
                    region=self.region,
                    state_dir=self._folder.path,
                    socket=self._engine.socket,
                    buildkit=BUILDKIT,
                    provide=images.provide,
                )
            )
            self.runner_image = names.result().operator
        self._progress(f"registry and images: ready after {time.monotonic() - began:.1f} s")

    def _start_aws(self, runtime: Runtime | None = None) -> None:
        self._aws = Aws(
            region=self.region,
            account=self.account,
            registry=self.registry,
            runtime=runtime,
            on_crash=self._on_crash,
            limits=self._limits,
        )
        self.url = self._aws.start()
        self._progress(f"AWS: ready at {self.url}")
