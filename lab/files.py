"""What every part of the lab knows: its runtimes, its state folder, and how a file is written that no reader sees half of."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

RuntimeName = Literal["docker", "simulated"]

PROJECT = Path(__file__).resolve().parent.parent


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write beside the target, then rename over it."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(partial, mode)
        os.rename(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


@dataclass(frozen=True, slots=True)
class Folder:
    """The state folder of one lab."""

    path: Path

    @classmethod
    def from_environment(cls) -> Folder:
        """`BUILDCACHE_LAB_DIR`, else `.lab` in the project."""
        return cls(Path(os.environ.get("BUILDCACHE_LAB_DIR") or PROJECT / ".lab").absolute())

    @property
    def info(self) -> Path:
        """Written last, when everything answers: what it holds is the contract with the outside."""
        return self.path / "lab.json"

    @property
    def progress(self) -> Path:
        """The lines that `up` shows while `serve` starts."""
        return self.path / "progress.log"

    @property
    def processes(self) -> Path:
        """One record for each child process, for the clean-up after a kill -9."""
        return self.path / "processes"

    @property
    def logs(self) -> Path:
        """One log for each child process."""
        return self.path / "logs"

    @property
    def kubernetes(self) -> Path:
        """Data, certificates and kubeconfig of the control plane, and its audit log."""
        return self.path / "kubernetes"

    @property
    def registry(self) -> Path:
        """Configuration and storage of the registry."""
        return self.path / "registry"

    @property
    def docker(self) -> Path:
        """What is remembered of the Docker engine, and the run-time files of one of the lab's own."""
        return self.path / "docker"

    @property
    def kind(self) -> Path:
        """Of a lab with kind: its configuration, the administrator's kubeconfig, the logs of Pods."""
        return self.path / "kind"

    @property
    def operator_kubeconfig(self) -> Path:
        """Of the operator's service account, through the proxy."""
        return self.path / "operator.kubeconfig"
