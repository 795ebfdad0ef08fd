"""The lab's container registry: the real distribution registry on loopback, where ECR's repositories live.

Composed by `lab.lab.Lab` in the docker runtime. Its storage belongs to one lab and goes with it; a seed in the cache
folder (the sample's base image) saves pushing that again for every new lab.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from lab.command import Progress
from lab.files import write_atomically
from lab.process import Child, Processes
from lab.server import answers, start_server
from lab.toolchain import ensure, locked


class Registry:
    """One registry; `address` is what image names begin with."""

    def __init__(self, folder: Path, processes: Processes, progress: Progress, *, seed: Path | None = None) -> None:
        self._folder = folder
        self._processes = processes
        self._progress = progress
        self._seed = seed
        self._child: Child | None = None
        self.address = ""

    @property
    def storage(self) -> Path:
        """The registry's own layout of blobs and repositories."""
        return self._folder / "storage"

    def start(self) -> str:
        """Serve what the seed holds; answers the address."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._seed is not None and not self.storage.exists():
            with self._locked(self._seed):
                if self._seed.is_dir():
                    copy_storage(self._seed, self.storage)
        return self._serve(None)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nothing answers at its address for a while; then it is there again, with all it held."""
        self.stop()
        try:
            yield
        finally:
            self._serve(int(self.address.rpartition(":")[2]))

    def _serve(self, on: int | None) -> str:
        program = ensure("registry", self._progress)
        settings = self._folder / "config.yml"

        def command(port: int) -> list[str | Path]:
            write_atomically(settings, json.dumps(configuration(port, self.storage)))
            return [program, "serve", settings]

        self._child, port = start_server(
            self._processes,
            "registry",
            command,
            is_ready=lambda port: answers(f"http://127.0.0.1:{port}/v2/"),
            timeout=30,
            # Its tracing would look for a collector on loopback and fill the log with failures.
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
            on=on,
        )
        self.address = f"127.0.0.1:{port}"
        return self.address

    def stop(self) -> None:
        """Stopped; the storage stays."""
        if self._child is not None:
            self._child.stop(2.0)
            self._child = None

    def keep_as_seed(self) -> None:
        """What it holds now is what the next lab's registry begins with; an older seed is replaced."""
        if self._seed is None:
            return
        with self._locked(self._seed):
            partial = self._seed.with_name(f".{self._seed.name}.new")
            shutil.rmtree(partial, ignore_errors=True)
            copy_storage(self.storage, partial)
            shutil.rmtree(self._seed, ignore_errors=True)
            partial.rename(self._seed)

    def _locked(self, seed: Path) -> AbstractContextManager[None]:
        """Against other labs that begin with the same seed."""
        return locked(seed.with_name(f".{seed.name}.lock"), "the registry's seed", self._progress)


def configuration(port: int, storage: Path) -> Mapping[str, Any]:
    """The registry's configuration file; JSON is YAML."""
    return {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": secrets.token_hex(16)},
    }


def copy_storage(source: Path, target: Path) -> None:
    """Blobs never change, so they are linked where the file system can; the small files that name them are copied."""

    def copy(origin: str, copied: str) -> str:
        if Path(origin).name == "data":
            with contextlib.suppress(OSError):
                os.link(origin, copied)
                return copied
        return shutil.copy2(origin, copied)

    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns("_uploads"))
