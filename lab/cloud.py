"""AWS of the lab with what runs its tasks: registry, Docker and images where real containers are wanted.

Composed by `lab.lab.Lab`; `lab.aws` and `lab.ecs` say what is behind the API.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.aws import Aws
from lab.files import Folder, RuntimeName
from lab.process import Processes
from lab.toolchain import Progress

REGION = "us-east-1"
ACCOUNT = "123456789012"
NO_REGISTRY = "127.0.0.1:1"  # simulated tasks name images, and nobody pulls them


class Cloud:
    """`start` in its own time; `aws` is there afterwards."""

    def __init__(
        self,
        folder: Folder,
        processes: Processes,
        progress: Progress,
        *,
        runtime: RuntimeName,
        on_crash: Callable[[], None],
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._progress = progress
        self._runtime = runtime
        self._on_crash = on_crash
        self._aws: Aws | None = None
        self.registry = NO_REGISTRY
        self.runner_image = "buildcache-operator:lab"
        self.url = ""

    @property
    def aws(self) -> Aws:
        """The control side of AWS; only after `start`."""
        assert self._aws is not None, "the cloud was not started"
        return self._aws

    def start(self) -> None:
        """AWS answers, with a network and an ECS cluster in it."""
        self._aws = Aws(region=REGION, account=ACCOUNT, registry=self.registry, on_crash=self._on_crash)
        self.url = self._aws.start()
        self._progress(f"AWS: ready at {self.url}")

    def stop(self) -> None:
        """AWS and all tasks are gone."""
        if self._aws is not None:
            self._aws.stop()
