"""Executes tasks as real containers: implements `runtime.Runtime` on a Docker engine. Composed by `lab.cloud`.

One thread for each live container follows it from creation to removal; threads of one task meet in `_Run`. A builder's
container begins with an empty root every time, as on a new instance, so a warm build owes nothing to this machine.
Engines that want a builder on the instance get one for each task (`docker_builder`).
What differs from an ECS instance: all tasks share the host's network, and images of all containers are pulled before the
first one starts (the agent's ECS_PULL_DEPENDENT_CONTAINERS_UPFRONT).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import docker
import docker.errors
import requests

from lab.ecs import docker_builder, docker_container
from lab.ecs.docker_builder import Builders
from lab.ecs.docker_container import Host, Mounts
from lab.ecs.docker_privileges import missing_capabilities
from lab.ecs.task import Task
from lab.errors import LabError

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
STOP_TIMEOUT = 30
"""Seconds from SIGTERM to SIGKILL where the container definition says nothing (the agent's default)."""
LONGEST_LINE = 256 * 1024
"""Bytes of one event of CloudWatch Logs."""
CLOSE_DEADLINE = 30.0

# Errors of the engine and of the way to it.
FAILURES = (docker.errors.DockerException, requests.RequestException, OSError)


class _NeverStarted(Exception):
    """A container that did not come to run; the text is ECS's reason."""


@dataclass(slots=True)
class _Run:
    """One task in execution."""

    task: Task
    mounts: Mounts
    lock: threading.Lock = field(default_factory=threading.Lock)
    threads: int = 0
    created: dict[str, str] = field(default_factory=dict)
    """Container ids by name."""
    started: set[str] = field(default_factory=set)
    stopping: set[str] = field(default_factory=set)
    """Containers that were told to stop, or are as soon as they run."""


class DockerRuntime:
    """Thread-safe."""

    def __init__(
        self,
        client: docker.DockerClient,
        *,
        label: Mapping[str, str],
        registry: str,
        aws_url: Callable[[], str],
        region: str,
        state_dir: Path,
        socket: str,
        buildkit: str,
        provide: Callable[[str], bool] = lambda _: False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`label` goes on everything made here. `aws_url` is asked when a task starts; AWS may start after its runtime.

        `socket` is the engine's, `buildkit` the image of builders. `provide` has an image that the engine lacks, if it can.
        """
        self._api = client.api
        self._label = dict(label)
        self._registry = registry
        self._aws_url = aws_url
        self._region = region
        self._folder = state_dir / "ecs"
        self._environment = dict(environment or {})
        self._provide = provide
        self._missing = missing_capabilities()
        self._builders = Builders(
            self._api,
            image=buildkit,
            label=label,
            registry=registry,
            folder=self._folder / "builders",
            socket=socket,
            missing_capabilities=self._missing,
        )
        # With the systemd driver a container's group has another name, and only machines without systemd were seen to
        # withhold a capability.
        self._has_plain_groups = client.info().get("CgroupDriver") == "cgroupfs"
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def start(self, task: Task) -> None:
        """Pull, then run what the task hands out."""
        run = _Run(task, docker_container.mounts(task, self._host(task)))
        with self._lock:
            if self._closed:
                return
            self._runs[task.id] = run
        self._spawn(run, partial(self._begin, run))

    def stop(self, task: Task) -> None:
        """SIGTERM in the order of the task; SIGKILL by the engine after each container's stopTimeout."""
        with self._lock:
            run = self._runs.get(task.id)
        if run is not None:
            self._stop_next(run)

    def close(self) -> None:
        """Kill all containers; the threads that follow them remove them, then the tasks' volumes."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for run in runs:
            with run.lock:
                identities = list(run.created.values())
            for identity in identities:
                with contextlib.suppress(
                    *FAILURES
                ):  # not running any more, or not yet, and then its thread gives it up
                    self._api.kill(identity)
        deadline = time.monotonic() + CLOSE_DEADLINE
        while time.monotonic() < deadline:
            with self._lock:
                threads = list(self._threads)
            if not threads:
                return
            threads[0].join(deadline - time.monotonic())
        logger.warning("tasks still end after %s s; the engine's clean-up takes what they leave", CLOSE_DEADLINE)

    # --- a task

    def _begin(self, run: _Run) -> None:
        try:
            for definition in run.task.definition["containerDefinitions"]:
                self._pull(run, definition["image"])
            self._make_volumes(run)
            self._make_builder(run)
        except _NeverStarted as error:
            if not self._given_up(run):
                run.task.failed_to_start(str(error))
            return
        self._go_on(run)

    def _go_on(self, run: _Run) -> None:
        """Start what may start now; when the task stops, stop what may stop now."""
        if self._closed:
            return
        for name in run.task.ready():
            self._spawn(run, partial(self._execute, run, name))
        if run.task.stopping:
            self._stop_next(run)

    def _stop_next(self, run: _Run) -> None:
        for name in run.task.to_stop():
            with run.lock:
                if name in run.stopping:
                    continue
                run.stopping.add(name)
                # One that is still being created finds out by itself.
                identity = run.created.get(name) if name in run.started else None
            if identity is not None:
                self._spawn(run, partial(self._terminate, run, name, identity))

    def _spawn(self, run: _Run, work: Callable[[], None]) -> None:
        """Run `work` on a thread of its own; the last thread of a task removes its volumes."""

        def follow() -> None:
            try:
                work()
            except Exception:
                # Nothing else would say so, and the other tasks go on.
                logger.exception("a task of the docker runtime failed: %s", run.task.arn)
            with run.lock:
                run.threads -= 1
                is_last = run.threads == 0
            if is_last:
                self._end(run)
            with self._lock:
                self._threads.discard(threading.current_thread())

        with run.lock:
            run.threads += 1
        thread = threading.Thread(target=follow, name=f"task-{run.task.id[:8]}", daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _end(self, run: _Run) -> None:
        with self._lock:
            self._runs.pop(run.task.id, None)
        for volume in run.mounts.owned:
            with contextlib.suppress(*FAILURES):
                self._api.remove_volume(volume, force=True)
        if docker_builder.is_wanted(run.task):
            with contextlib.suppress(*FAILURES):
                self._builders.remove(run.task)

    def _given_up(self, run: _Run) -> bool:
        return self._closed or run.task.stopping

    def _make_volumes(self, run: _Run) -> None:
        for folder in run.mounts.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for volume in run.mounts.owned:
            try:
                self._api.create_volume(volume, labels=self._label)
            except FAILURES as error:
                raise _NeverStarted(
                    f"ResourceInitializationError: failed to create volume {volume}: {error}"
                ) from error

    def _make_builder(self, run: _Run) -> None:
        if not docker_builder.is_wanted(run.task):
            return
        # The containers that mount the builder's folder are those with its client.
        wanted = docker_builder.mounted_by(run.task)
        try:
            self._builders.start(run.task, wanted["image"])
        except FAILURES as error:
            raise _NeverStarted(f"ResourceInitializationError: {_text(error)}") from error

    def _pull(self, run: _Run, image: str) -> None:
        """Have the image; one of the lab's registry is asked for anew, for its tags move."""
        is_here = True
        try:
            self._api.inspect_image(image)
        except docker.errors.ImageNotFound:
            is_here = False
        except FAILURES as error:
            raise _NeverStarted(f"CannotInspectContainerError: {error}") from error
        if is_here and not image.startswith(f"{self._registry}/"):
            return
        try:
            if not is_here and self._provide(image):
                return
            for event in self._api.pull(image, stream=True, decode=True):
                if self._given_up(run):
                    return
                if "error" in event:
                    raise docker.errors.DockerException(event["error"])
        except (*FAILURES, LabError) as error:
            if not is_here:
                text = error.explanation if isinstance(error, docker.errors.APIError) else error
                raise _NeverStarted(f"CannotPullContainerError: {image}: {text}") from error

    # --- a container

    def _execute(self, run: _Run, name: str) -> None:
        exit_code: int | None = None
        reason: str | None
        # Deleting a builder's root takes a second, and nobody has to wait for it.
        with contextlib.ExitStack() as leftovers:
            try:
                exit_code, reason = self._contain(run, name, leftovers)
            except _NeverStarted as error:
                reason = str(error)
            except FAILURES as error:
                reason = f"DockerStateError: {_text(error)}"
            if not self._closed:
                run.task.container_stopped(name, exit_code, reason)
                self._go_on(run)

    def _contain(self, run: _Run, name: str, leftovers: contextlib.ExitStack) -> tuple[int, str | None]:
        """From creation to end; the exit code and, when there is one, the reason that ECS gives."""
        configuration = self._buildkit_configuration(run, name)
        if configuration is not None:
            leftovers.callback(configuration.unlink, missing_ok=True)
        request = docker_container.creation(run.task, name, self._host(run.task), run.mounts.sources, configuration)
        try:
            identity = str(self._api.create_container(**request)["Id"])
        except FAILURES as error:
            raise _NeverStarted(f"CannotCreateContainerError: {_text(error)}") from error
        leftovers.callback(self._remove, identity)
        with run.lock:
            run.created[name] = identity
        if self._given_up(run):
            raise _NeverStarted("the task was stopped before the container ran")
        if configuration is not None and request["host_config"].get("CapDrop") and self._has_plain_groups:
            configuration.write_text(docker_container.buildkit_configuration(self._registry, f"/docker/{identity}"))
        try:
            self._api.start(identity)
        except FAILURES as error:
            raise _NeverStarted(f"CannotStartContainerError: {_text(error)}") from error
        with run.lock:
            run.started.add(name)
            must_stop = name in run.stopping
        run.task.container_started(name)
        self._go_on(run)  # what waits for START
        if must_stop:
            self._spawn(run, partial(self._terminate, run, name, identity))
        written = 0
        for line in self._output(identity, follow=True):
            run.task.log(name, line)
            written += 1
        exit_code = int(self._api.wait(identity, timeout=None)["StatusCode"])
        # A follower may miss the last line when no line break ends it (moby/moby#43860); the awslogs driver does not.
        for line in itertools.islice(self._output(identity, follow=False), written, None):
            run.task.log(name, line)
        return exit_code, reason_of(self._api.inspect_container(identity)["State"])

    def _output(self, identity: str, *, follow: bool) -> Iterator[str]:
        return lines(self._api.logs(identity, stdout=True, stderr=True, stream=True, follow=follow))

    def _terminate(self, run: _Run, name: str, identity: str) -> None:
        seconds = run.task.container_definition(name).get("stopTimeout")
        with contextlib.suppress(*FAILURES):  # it has ended by itself, or the engine has
            self._api.stop(identity, timeout=STOP_TIMEOUT if seconds is None else int(seconds))

    def _remove(self, identity: str) -> None:
        with contextlib.suppress(*FAILURES):
            self._api.remove_container(identity, force=True, v=True)

    def _buildkit_configuration(self, run: _Run, name: str) -> Path | None:
        """A file to mount, for images whose program is buildkitd."""
        try:
            image = self._api.inspect_image(run.task.container_definition(name)["image"])
        except FAILURES as error:
            raise _NeverStarted(f"CannotInspectContainerError: {_text(error)}") from error
        entry_point: Iterable[str] = (image.get("Config") or {}).get("Entrypoint") or ()
        if "buildkitd" not in {PurePosixPath(word).name for word in entry_point}:
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{run.task.id}-{name}.toml"
        path.write_text(docker_container.buildkit_configuration(self._registry, None))
        return path

    def _host(self, task: Task) -> Host:
        on_fargate = task.launch.launch_type == "FARGATE"
        return Host(
            label=self._label,
            environment={
                **self._environment,
                # What the agent gives every container, and what stands for the task role's credentials.
                "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if on_fargate else "AWS_ECS_EC2",
                "AWS_ENDPOINT_URL": self._aws_url(),
                "AWS_REGION": self._region,
                "AWS_DEFAULT_REGION": self._region,
                "AWS_ACCESS_KEY_ID": "lab",
                "AWS_SECRET_ACCESS_KEY": "lab",
            },
            efs=self._folder.parent / "efs",
            paths=self._builders.paths(task),
            missing_capabilities=self._missing,
        )


def reason_of(state: Mapping[str, Any]) -> str | None:
    """What ECS says of a container that Docker leaves in this state: the agent, too, knows only Docker's word."""
    return OUT_OF_MEMORY if state.get("OOMKilled") else state.get("Error") or None


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of an output that comes in pieces, the same however it was cut up.

    A very long one is divided as the awslogs driver does.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield from map(_plain, _divided(line) or [b""])
        *full, rest = _divided(rest) or [b""]
        yield from map(_plain, full)
    if rest:
        yield _plain(rest)


def _divided(line: bytes) -> list[bytes]:
    return [line[start : start + LONGEST_LINE] for start in range(0, len(line), LONGEST_LINE)]


def _plain(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")


def _text(error: Any) -> str:
    """The engine's own words."""
    return str(getattr(error, "explanation", None) or error)
