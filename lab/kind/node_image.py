"""The lab's own node image for kind, for when the official one cannot be had: one tar, kept in the cache folder.

Used by `cluster.py`. A Debian root with containerd, the Kubernetes programs from their Go modules, and the images of the
control plane as archives that the node imports when it starts. CoreDNS is left out: nothing here asks for cluster DNS.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from lab import debian
from lab.command import Progress
from lab.errors import LabError
from lab.images import fingerprint
from lab.toolchain import MODULES, cache_folder, ensure_all, locked
from lab.toolchain import fingerprint as module_fingerprint
from lab.toolchain.go import KUBERNETES

REPOSITORY = "buildcache-lab/kind-node"
FILES = Path(__file__).parent / "node"
PACKAGES = "ca-certificates,conntrack,containerd,containernetworking-plugins,ethtool,iproute2,iptables,kmod,mount,nftables,procps,runc"
RECIPE = f"1 {debian.RECIPE} {PACKAGES}"
"""Raise the number when this module changes in a way that no other input shows."""

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE_PROGRAMS = ("kubeadm", "kubectl", "kubelet")


def name() -> str:
    """The image's name with the hash of all that it is made of."""
    modules = [module_fingerprint(MODULES[module]) for module in ("kubernetes", "node", "etcd", "kind")]
    files = [path.read_bytes() for path in sorted(FILES.iterdir())]
    return f"{REPOSITORY}:{fingerprint(RECIPE, *modules, *files)}"


def archive(progress: Progress) -> Path:
    """A tar of the node's root file system, made first if this one was never made here."""
    folder = cache_folder() / "kind"
    path = folder / f"node-{name().rpartition(':')[2]}.tar"
    if path.exists():
        return path
    with locked(folder / ".node.lock", "the node image", progress):
        if not path.exists():
            began = time.monotonic()
            _make(folder, path, progress)
            progress(f"node image for kind: made in {time.monotonic() - began:.0f} s")
            for older in folder.glob("node-*.tar"):
                if older != path:
                    older.unlink()
    return path


def _make(folder: Path, path: Path, progress: Progress) -> None:
    programs = ensure_all((*NODE_PROGRAMS, *CONTROL_PLANE, "kube-proxy", "pause"), progress)
    images = _images(programs["kubeadm"])
    with debian.root(folder, "node", PACKAGES, progress) as root:
        progress("node image for kind: packing the images of the control plane")
        (root / "kind" / "images").mkdir(parents=True)
        (root / "kind" / "version").write_text(KUBERNETES)
        for program in NODE_PROGRAMS:
            shutil.copy(programs[program], root / "usr" / "bin" / program)
        # One image under the names of all: layers of their own would each be unpacked at every start.
        _image(
            root / "kind" / "images" / "control-plane.tar",
            {f"usr/bin/{program}": programs[program] for program in CONTROL_PLANE},
            [images[program] for program in CONTROL_PLANE],
        )
        _image(
            root / "kind" / "images" / "kube-proxy.tar",
            {"usr/local/bin/kube-proxy": programs["kube-proxy"], **_with_libraries(root, "/usr/sbin/nft")},
            [images["kube-proxy"]],
        )
        _image(root / "kind" / "images" / "pause.tar", {"pause": programs["pause"]}, [images["pause"]], ["/pause"])
        _install(root, images["pause"])
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            debian.pack(root, partial, progress)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


def _install(root: Path, pause: str) -> None:
    """Put the node's own files in their places."""
    (root / debian.BUNDLE).write_bytes(debian.host_bundle() or (root / debian.BUNDLE).read_bytes())
    init = root / "kind" / "init"
    init.write_bytes((FILES / "init.sh").read_bytes())
    init.chmod(0o755)
    containerd = root / "etc" / "containerd" / "config.toml"
    containerd.parent.mkdir(parents=True, exist_ok=True)
    containerd.write_text((FILES / "containerd.toml").read_text().replace("@PAUSE@", pause))
    network = root / "etc" / "cni" / "net.d"
    network.mkdir(parents=True, exist_ok=True)
    shutil.copy(FILES / "10-node.conflist", network)


def _images(kubeadm: Path) -> dict[str, str]:
    """The names by which this kubeadm asks for its images, by the last part without the tag."""
    command = [str(kubeadm), "config", "images", "list", f"--kubernetes-version={KUBERNETES}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode:
        raise LabError(f"`{' '.join(command)}` failed: {answer.stderr.strip()}")
    return {image.rpartition("/")[2].partition(":")[0]: image for image in answer.stdout.split()}


def _with_libraries(root: Path, program: str) -> dict[str, Path]:
    """A program of the root file system and what it loads, by the places they belong to."""
    answer = subprocess.run(["chroot", root, "ldd", program], capture_output=True, text=True, check=False, timeout=60)
    if answer.returncode:
        raise LabError(f"`ldd {program}` failed in the node's root file system: {answer.stderr.strip()}")
    names = [program, *(word for word in answer.stdout.split() if word.startswith("/"))]
    return {name.lstrip("/"): _inside(root, name) for name in names}


def _inside(root: Path, name: str) -> Path:
    """What a path means in this root file system: links are followed as chroot would."""
    answer = subprocess.run(
        ["chroot", root, "readlink", "-f", name], capture_output=True, text=True, check=True, timeout=60
    )
    return root / answer.stdout.strip().lstrip("/")


def _image(path: Path, files: Mapping[str, Path], tags: Sequence[str], entrypoint: Sequence[str] | None = None) -> None:
    """An archive as `docker save` writes it, with one image of one layer."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        layer = Path(folder) / "layer.tar"
        with tarfile.open(layer, "w") as archive:
            for name, source in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = source.stat().st_size, 0o755
                with source.open("rb") as file:
                    archive.addfile(entry, file)
        with layer.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        config = json.dumps(
            {
                "architecture": ARCHITECTURES[os.uname().machine],
                "os": "linux",
                "config": {
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "Entrypoint": entrypoint,
                },
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            }
        ).encode()
        config_name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = [{"Config": config_name, "RepoTags": list(tags), "Layers": ["layer.tar"]}]
        with tarfile.open(path, "w") as archive:
            archive.add(layer, "layer.tar")
            for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, BytesIO(data))


ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
