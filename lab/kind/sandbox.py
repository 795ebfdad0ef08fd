"""A dockerd of the lab's own in network, mount and process namespaces of its own: what runs in it cannot leak out of it.

Used by `cluster.py` for the node and by `operator_image.py` for a build, which wants the machine's network. `keeper.py` holds
the namespaces and ends everything in them when the lab ends or is killed. Images lie in a slot of the cache folder, as those
of `lab.dockerd` do, with slots for each purpose; a second lab takes the next one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Literal, get_args

import docker

from lab import packages
from lab.command import Progress
from lab.dockerd import SLOTS, clear, connect, label_of, run_folder, storage_driver
from lab.errors import LabError
from lab.files import PROJECT, Folder
from lab.kind import keeper
from lab.process import Child, Processes
from lab.toolchain import cache_folder

Purpose = Literal["node", "builder"]

READY_WITHIN = 60.0
STOP_DEADLINE = 20.0


class Sandbox:
    """One engine; not to be started again after `stop`."""

    def __init__(
        self, purpose: Purpose, folder: Folder, processes: Processes, progress: Progress, *, own_network: bool
    ) -> None:
        self._name = f"{purpose}-engine"
        self._slots = cache_folder() / "kind" / purpose
        self._processes = processes
        self._progress = progress
        self._own_network = own_network
        self._run = run_folder(folder, self._name)
        self._cgroup = cgroup_of(folder, purpose)
        self._child: Child | None = None
        self._client: docker.DockerClient | None = None

    @property
    def host(self) -> str:
        """The engine's address."""
        return f"unix://{self._run}/docker.sock"

    @property
    def keeper(self) -> int:
        """The process that holds everything; only after `start`."""
        assert self._child is not None, "the engine was not started"
        return self._child.pid

    @property
    def network(self) -> Path:
        """The network namespace, for setns(2); only after `start`."""
        return Path(f"/proc/{self.keeper}/ns/net")

    def start(self) -> docker.DockerClient:
        """An engine that answers, without containers or volumes of an earlier lab."""
        if os.geteuid() != 0:
            raise LabError(
                "no Docker of yours can run kind, and only root can start one: start Docker, or run this as root"
            )
        dockerd = packages.find("dockerd", ["docker.io", "iptables"], self._progress)
        ip = packages.find("ip", ["iproute2"], self._progress)
        began = time.monotonic()
        for number in range(SLOTS):
            slot = self._slots / str(number)
            slot.mkdir(parents=True, exist_ok=True)
            self._client = self._try_slot(dockerd, ip, slot)
            if self._client is not None:
                self._progress(f"{self._name}: own dockerd in {slot}, up after {time.monotonic() - began:.1f} s")
                clear(self._client, None)
                self._client.networks.prune()
                return self._client
        raise LabError(f"all {SLOTS} slots in {self._slots} are used by other labs; stop one (make kind-down)")

    def stop(self) -> None:
        """Every process in the sandbox is gone, and its mounts, network and control groups with them."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._child is not None:
            self._child.stop(STOP_DEADLINE)
            self._child = None

    def _try_slot(self, dockerd: Path, ip: Path, slot: Path) -> docker.DockerClient | None:
        """A client of a new dockerd on this slot; None when another lab has it."""
        self._run.mkdir(parents=True, exist_ok=True)
        engine: list[str | Path] = [dockerd, "--data-root", slot / "data", "--exec-root", self._run / "exec"]
        engine += ["--pidfile", self._run / "dockerd.pid", "-H", self.host, "--cgroup-parent", f"/{self._cgroup}"]
        engine += ["--storage-driver", storage_driver(slot), "--bridge=none", "--iptables=false", "--ip-forward=false"]
        # A shell as the first process: it collects orphans, dockerd would not.
        script = f'{f"{ip} link set lo up && " if self._own_network else ""}"$@"; exit $?'
        command: list[str | Path] = ["unshare", "--mount", *(["--net"] if self._own_network else []), "--"]
        command += [sys.executable, "-m", "lab.kind.keeper", str(os.getpid()), slot / "lock", self._run, self._cgroup]
        command += ["bash", "-c", script, "engine", *engine]
        path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        self._child = self._processes.start(self._name, command, env={**os.environ, "PATH": path}, cwd=PROJECT)
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if (code := self._child.exit_code) is not None:
                tail = self._child.tail()
                self._child.kill()
                self._child = None
                if code == keeper.IS_TAKEN:
                    return None
                raise LabError(
                    f"dockerd ended with exit code {code}; the end of {self._processes.log(self._name)}:\n{tail}"
                )
            if client := connect(self.host):
                return client
            time.sleep(0.05)
        raise LabError(
            f"dockerd did not answer on {self.host} within {READY_WITHIN:.0f} s; "
            f"the end of {self._child.log}:\n{self._child.tail()}"
        )


def clean(folder: Folder) -> None:
    """Remove what is left of a killed lab's sandboxes when their keepers were killed too; the processes are gone already."""
    for purpose in get_args(Purpose):
        keeper.remove(run_folder(folder, f"{purpose}-engine"), cgroup_of(folder, purpose))


def cgroup_of(folder: Folder, purpose: Purpose) -> str:
    """The control group that holds everything of this sandbox."""
    return f"buildcache-lab-{label_of(folder)}-{purpose}"
