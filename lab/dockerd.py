"""The Docker engine that runs the lab's tasks: the user's where one answers, else a dockerd of the lab's own.

Started by `lab.cloud` before the images are made. An own dockerd shares nothing with the machine's Docker: its socket and
its run-time files lie in the state folder, its images in a slot of the cache folder. A slot serves one dockerd at a time
(a lock on a file that dockerd and its children inherit, so that it holds as long as any of them lives); a second lab takes
the next slot. Containers use the host's network, so neither bridge nor iptables are touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import docker
import docker.context
import docker.errors
import requests

from lab import docker_leftovers, loaded_images, packages
from lab.command import Progress
from lab.errors import LabError
from lab.files import Folder, write_atomically
from lab.process import Child, Processes
from lab.toolchain import cache_folder

LABEL = "buildcache.dev/lab"
NAME = "dockerd"
SLOTS = 16
SLOT_IS_TAKEN = 75
READY_WITHIN = 60.0
CALL_TIMEOUT = 300.0
POOL = 64
STOP_DEADLINE = 20.0

# containerd appends up to 34 characters to the folder, and the kernel allows 107 for the path of a socket.
LONGEST_RUN_FOLDER = 107 - 36


@dataclass(frozen=True, slots=True)
class Engine:
    """What a killed lab leaves behind to be found: which engine it used and where that one keeps its things."""

    host: str
    label: str
    slot: str | None = None
    run: str | None = None

    @classmethod
    def read(cls, path: Path) -> Engine | None:
        """None when there is none, or one that nobody can read any more."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


class Dockerd:
    """One engine for one lab. `stop` leaves nothing of this lab in it, and nothing of an engine of the lab's own."""

    def __init__(
        self,
        folder: Folder,
        processes: Processes,
        progress: Progress,
        *,
        find_users: Callable[[Progress], str | None] | None = None,
    ) -> None:
        self._folder = folder
        self._processes = processes
        self._progress = progress
        self._find_users = find_users or users_docker
        self._child: Child | None = None
        self._client: docker.DockerClient | None = None
        self._engine: Engine | None = None
        self.label = label_of(folder)

    @property
    def is_own(self) -> bool:
        """Whether the lab started this engine and may do in it as it likes."""
        return self._engine is not None and self._engine.slot is not None

    @property
    def socket(self) -> str:
        """Where the engine listens; only after `start`."""
        assert self._engine is not None, "the engine was not started"
        return self._engine.host.removeprefix("unix://")

    def start(self) -> docker.DockerClient:
        """An engine that answers, without containers or volumes of an earlier lab in this folder."""
        if host := self._find_users(self._progress):
            self._remember(Engine(host=host, label=self.label))
            self._client = connect(host)
        if self._client is not None:
            self._progress(f"Docker: using yours at {host} ({self._client.version()['Version']})")
        else:
            self._client = self._start_own()
        clear(self._client, None if self.is_own else self.label)
        return self._client

    def stop(self) -> None:
        """Containers and volumes of this lab are gone; so is the lab's own engine with all its processes and mounts."""
        if self._client is not None and self._engine is not None and listens(self._engine.host):
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                clear(self._client, None if self.is_own else self.label)
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._child is not None:
            self._child.stop(STOP_DEADLINE)
            self._child = None
        _forget(self._folder, self._engine)
        self._engine = None

    def _remember(self, engine: Engine) -> None:
        self._engine = engine
        path = record_path(self._folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(engine)))

    def _start_own(self) -> docker.DockerClient:
        if os.geteuid() != 0:
            raise LabError(
                "no Docker answers (DOCKER_HOST, the current context, /var/run/docker.sock), and only root can start one. Start "
                "Docker, or run this as root, or use the simulated runtime: python -m lab up --runtime simulated"
            )
        program = packages.find("dockerd", ["docker.io", "iptables"], self._progress)
        wrapper = packages.find("flock", ["util-linux"], self._progress)
        began = time.monotonic()
        for number in range(SLOTS):
            slot = cache_folder() / "docker" / str(number)
            slot.mkdir(parents=True, exist_ok=True)
            client = self._try_slot(wrapper, program, slot)
            if client is not None:
                version = client.version()["Version"]
                self._progress(f"Docker: own dockerd {version} in {slot}, up after {time.monotonic() - began:.1f} s")
                return client
        raise LabError(f"all {SLOTS} slots in {cache_folder() / 'docker'} are used by other labs; stop one (make down)")

    def _try_slot(self, flock: Path, dockerd: Path, slot: Path) -> docker.DockerClient | None:
        """A client of a new dockerd on this slot; None when another lab has it."""
        run = run_folder(self._folder)
        engine = Engine(host=f"unix://{run}/docker.sock", label=self.label, slot=str(slot), run=str(run))
        self._remember(engine)
        docker_leftovers.clean(run)
        run.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [flock, "--no-fork", "--nonblock", "--conflict-exit-code", str(SLOT_IS_TAKEN)]
        command += [slot / "lock", dockerd, "--data-root", slot / "data", "--exec-root", run / "exec"]
        command += ["--pidfile", run / "dockerd.pid", "-H", engine.host, "--bridge=none", "--iptables=false"]
        command += ["--ip-forward=false", "--storage-driver", storage_driver(slot)]
        self._child = self._processes.start(NAME, command)
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if (code := self._child.exit_code) is not None:
                tail = self._child.tail()
                self._child.kill()
                self._child = None
                if code == SLOT_IS_TAKEN:
                    return None
                raise LabError(f"dockerd ended with exit code {code}; the end of {self._processes.log(NAME)}:\n{tail}")
            if client := connect(engine.host):
                return client
            time.sleep(0.05)
        raise LabError(
            f"dockerd did not answer on {engine.host} within {READY_WITHIN:.0f} s; "
            f"the end of {self._child.log}:\n{self._child.tail()}"
        )


def users_docker(progress: Progress) -> str | None:
    """The address of the engine that `docker info` would ask; None when there is none that can run the lab's tasks."""
    try:
        host = os.environ.get("DOCKER_HOST") or docker.context.ContextAPI.get_current_context().Host
    except (docker.errors.DockerException, OSError, ValueError, AttributeError):
        return None
    if not host:
        return None
    if not host.startswith("unix://"):
        progress(
            f"Docker at {host} is not on this machine, so its containers cannot reach the lab on loopback: not used"
        )
        return None
    client = connect(host)
    if client is None:
        return None
    info = client.info()
    client.close()
    if info.get("OSType") != "linux" or "Docker Desktop" in info.get("OperatingSystem", ""):
        progress(
            "Docker Desktop runs containers in a virtual machine, where the lab's loopback means nothing: not used"
        )
        return None
    return str(host)


def connect(host: str) -> docker.DockerClient | None:
    """A client of the engine at this unix socket; None when nothing answers there now."""
    if not listens(host):
        return None
    try:
        return docker.DockerClient(host, timeout=CALL_TIMEOUT, max_pool_size=POOL)
    except docker.errors.DockerException:
        return None


def listens(host: str) -> bool:
    """Asked first, because the SDK leaves a socket open for each time nobody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError:
            return False
    return True


def clean(folder: Folder, progress: Progress) -> None:
    """End what a killed lab left in its engine, and an engine of its own with all it left running.

    To be called before the other processes of that lab are ended: a dockerd that still answers is the best cleaner, and a
    shim that is killed leaves its container running.
    """
    engine = Engine.read(record_path(folder))
    if engine is None:
        return
    if client := connect(engine.host):
        try:
            if count := clear(client, None if engine.slot else engine.label):
                progress(f"removed {count} containers of an earlier lab")
        except (docker.errors.DockerException, requests.RequestException) as error:
            progress(f"cannot remove the containers of an earlier lab from {engine.host}: {error}")
        finally:
            client.close()
    _forget(folder, engine)


def clear(client: docker.DockerClient, label: str | None) -> int:
    """Remove containers, volumes and loaded images, those with this label or all there are; how many containers that were."""
    filters = {} if label is None else {"label": f"{LABEL}={label}"}
    containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    for container in containers:
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
    for volume in client.volumes.list(filters=filters):
        with contextlib.suppress(docker.errors.NotFound):
            volume.remove(force=True)
    loaded_images.remove(client, label)
    return len(containers)


def label_of(folder: Folder) -> str:
    """Tells this lab's containers from those of others in the same engine."""
    return hashlib.sha256(str(folder.path).encode()).hexdigest()[:12]


def record_path(folder: Folder) -> Path:
    """Where the engine of a lab is remembered, for the clean-up."""
    return folder.path / "docker" / "engine.json"


def run_folder(folder: Folder, name: str = "docker") -> Path:
    """Sockets and run-time state of an own dockerd: in the state folder, unless its path is too long for a socket."""
    run = folder.path / name
    if len(str(run)) > LONGEST_RUN_FOLDER - len("/exec"):
        return Path("/run") / f"buildcache-lab-{label_of(folder)}{'' if name == 'docker' else f'-{name}'}"
    return run


def storage_driver(slot: Path) -> str:
    """overlay2, but not on top of another overlay (a lab inside a container), where the kernel refuses it."""
    return "vfs" if docker_leftovers.file_system(slot) == "overlay" else "overlay2"


def _forget(folder: Folder, engine: Engine | None) -> None:
    if engine is not None and engine.slot is not None and engine.run is not None:
        run = Path(engine.run)
        docker_leftovers.clean(run, Path(engine.slot))
        for name in ("exec", "dockerd.pid", "docker.sock"):
            path = run / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if run != folder.path / "docker":
            shutil.rmtree(run, ignore_errors=True)
    record_path(folder).unlink(missing_ok=True)
