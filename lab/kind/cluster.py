"""One cluster made by kind: on the user's Docker with the official node image where both can be had, else in a sandbox.

Composed by `lab.py`. `kubeconfig` works on this machine's loopback either way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import docker.errors
import yaml

from lab import packages
from lab.command import Progress, run
from lab.dockerd import label_of, users_docker
from lab.errors import LabError
from lab.files import PROJECT, Folder, write_atomically
from lab.images import answers_publicly
from lab.kind import node_image
from lab.kind.gate import HERE, Gate, Inside, Network
from lab.kind.sandbox import Sandbox
from lab.kind.warden import remove_node
from lab.process import Child, Processes
from lab.toolchain import ensure

OFFICIAL = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
"""The default of the kind that lab/tools/kind pins."""

SHIM = Path(__file__).parent / "bin"
NETWORK = "kind"
API_PORT = 6443
WAIT = "180s"
CAP_SYS_RESOURCE = 24


class KindCluster:
    """`start` leaves one node that is Ready, `stop` nothing."""

    def __init__(self, folder: Folder, processes: Processes, gate: Gate, progress: Progress) -> None:
        self._folder = folder
        self._processes = processes
        self._gate = gate
        self._progress = progress
        self._sandbox: Sandbox | None = None
        self._warden: Child | None = None
        self._inside: Inside | None = None
        self._client: docker.DockerClient | None = None
        self._host = ""
        self.name = cluster_name(folder)

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator."""
        return self._folder.kind / "kubeconfig"

    @property
    def pod_logs(self) -> Path:
        """A folder with the logs of all Pods, by namespace and name."""
        return self._folder.kind / "pods"

    @property
    def network(self) -> Network:
        """Where the node's bridge is."""
        return HERE if self._inside is None else self._inside.network

    @property
    def gateway(self) -> str:
        """The address of `network` that Pods reach."""
        assert self._client is not None, "the cluster was not started"
        for config in self._client.networks.get(NETWORK).attrs["IPAM"]["Config"]:
            if "." in config["Subnet"]:
                gateway: str = config["Gateway"].partition("/")[0]
                return gateway
        raise LabError(f"the Docker network {NETWORK} has no IPv4 subnet")

    def start(self) -> None:
        """The node is Ready and `kubeconfig` leads to it."""
        self.pod_logs.mkdir(parents=True, exist_ok=True)
        image = self._official() or self._own()
        config = self.kubeconfig.with_name("kind.yaml")
        write_atomically(config, yaml.safe_dump(self._configuration(own=image != OFFICIAL)))
        self._kind(
            "kind: creating the cluster",
            "create", "cluster", "--name", self.name, "--image", image, "--config", str(config),
            "--kubeconfig", str(self.kubeconfig), "--wait", WAIT, "--retain",
        )  # fmt: skip
        if self._inside is not None:
            port = self._gate.open(HERE, ("127.0.0.1", 0), self._inside.network, ("127.0.0.1", API_PORT))
            body = yaml.safe_load(self.kubeconfig.read_text())
            body["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
            write_atomically(self.kubeconfig, yaml.safe_dump(body))

    def stop(self) -> None:
        """The node and all in it are gone."""
        if self._client is not None and self._sandbox is None:
            remove_node(self._client, self.name)
            self._client.close()
        self._client = None
        if self._warden is not None:
            self._warden.stop()
            self._warden = None
        if self._sandbox is not None:
            self._sandbox.stop()
            self._sandbox = None
        if self._inside is not None:
            self._inside.close()
            self._inside = None

    def load(self, archive: Path) -> None:
        """Have the node's containerd take an archive of `docker save`."""
        self._kind("kind: loading the operator's image", "load", "image-archive", str(archive), "--name", self.name)

    def restart_node(self) -> None:
        """What a reboot of the machine is to a node: everything in it ends, its disk stays."""
        assert self._client is not None, "the cluster was not started"
        self._client.containers.get(f"{self.name}-control-plane").restart(timeout=5)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 180.0) -> str:
        """What kubectl prints, as the administrator."""
        command = [str(ensure("kubectl", self._progress)), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
        if done.returncode:
            raise LabError(f"`kubectl {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _official(self) -> str | None:
        """The official image in the user's Docker; None where either cannot be had."""
        host = users_docker(self._progress)
        if host is None:
            return None
        client = docker.DockerClient(host)
        try:
            client.images.get(OFFICIAL)
        except docker.errors.ImageNotFound:
            if not answers_publicly():
                self._progress("kind: no public registry answers, so the official node image cannot be had")
                client.close()
                return None
            self._progress(f"kind: pulling {OFFICIAL}")
            client.images.pull(OFFICIAL)
        self._host, self._client = host, client
        write_atomically(record_path(self._folder), json.dumps({"host": host, "name": self.name}))
        remove_node(client, self.name)
        command = [sys.executable, "-m", "lab.kind.warden", str(os.getpid()), host, self.name]
        self._warden = self._processes.start("kind-warden", command, cwd=PROJECT)
        return OFFICIAL

    def _own(self) -> str:
        """An image made here, in an engine of the lab's own."""
        archive, name = node_image.archive(self._progress), node_image.name()
        self._sandbox = Sandbox("node", self._folder, self._processes, self._progress, own_network=True)
        self._client = self._sandbox.start()
        self._host = self._sandbox.host
        self._inside = Inside(self._sandbox.network)
        repository, _, tag = name.partition(":")
        for image in self._client.images.list(name=repository):
            if name not in image.tags:
                self._client.images.remove(image.id, force=True)
        try:
            self._client.images.get(name)
        except docker.errors.ImageNotFound:
            began = time.monotonic()
            self._progress("node image for kind: unpacking it")
            with archive.open("rb") as file:
                self._client.api.import_image_from_data(
                    file, repository=repository, tag=tag, changes=['ENTRYPOINT ["/kind/init"]']
                )
            self._progress(f"node image for kind: unpacked in {time.monotonic() - began:.0f} s")
        return name

    def _configuration(self, *, own: bool) -> Mapping[str, Any]:
        """What kind is asked for. The lab's own image has no CoreDNS, a plain CNI, and may run on old control groups."""
        cluster: dict[str, Any] = {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": {},
            "nodes": [
                {
                    "role": "control-plane",
                    "extraMounts": [{"hostPath": str(self.pod_logs), "containerPath": "/var/log/pods"}],
                }
            ],
        }
        if own:
            cluster["networking"] = {"disableDefaultCNI": True, "kubeProxyMode": "nftables", "apiServerPort": API_PORT}
            cluster["kubeadmConfigPatches"] = [
                yaml.safe_dump(patch)
                for patch in (
                    {
                        "kind": "KubeletConfiguration",
                        "cgroupDriver": "cgroupfs",
                        "failCgroupV1": False,
                        "localStorageCapacityIsolation": False,
                    },
                    {
                        "kind": "ClusterConfiguration",
                        "dns": {"disabled": True},
                        "etcd": {"local": {"extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}},
                    },
                )
            ]
        return cluster

    def _kind(self, what: str, *arguments: str) -> None:
        kind = ensure("kind", self._progress)
        real = packages.find("docker", ["docker.io"], self._progress)
        began = time.monotonic()
        # No proxies: kind hands them on to the node, where nothing is to be fetched.
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        path = f"{real.parent}:{environment.get('PATH', os.defpath)}"
        if self._sandbox is not None and not _may_privilege():
            path = f"{SHIM}:{path}"
        environment |= {
            "DOCKER_HOST": self._host,
            "DOCKER": str(real),
            "PATH": path,
            "KIND_EXPERIMENTAL_PROVIDER": "docker",
        }
        run(what, [kind, *arguments], self._progress, environment)
        self._progress(f"{what}: done in {time.monotonic() - began:.0f} s")


def clean(folder: Folder) -> None:
    """Remove the node that a killed lab left in the user's Docker; a sandbox goes by itself."""
    try:
        record = json.loads(record_path(folder).read_text())
    except (FileNotFoundError, ValueError):
        return
    client = docker.DockerClient(record["host"])
    remove_node(client, record["name"])
    client.close()
    record_path(folder).unlink()


def cluster_name(folder: Folder) -> str:
    """Unlike that of any other lab in the same engine."""
    return f"lab-{label_of(folder)[:8]}"


def record_path(folder: Folder) -> Path:
    """Where the use of the user's Docker is remembered."""
    return folder.kind / "node.json"


def _may_privilege() -> bool:
    """Whether this machine has everything that `docker run --privileged` gives away."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return True
