"""The process of the second emulator: on loopback, on a free port, in a folder of its own, ended by its id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY = "/_ministack/ready"

_PROGRAM = """
import ctypes, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: it ends with the tests, also when these are killed
from hypercorn.__main__ import main
sys.exit(main())
"""


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Start it, yield its URL, end it. `folder` takes its log and whatever else it writes."""
    log = folder / "ministack.log"
    with socket.socket() as listening, log.open("wb") as output:
        # The socket is made here and handed over: no other process can take the port, and a client waits instead of being refused.
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "ministack.app:app", "--bind", f"fd://{listening.fileno()}"],
            pass_fds=[listening.fileno()],
            cwd=folder,
            env=_environment(folder, listening.getsockname()[1]),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    try:
        with urllib.request.urlopen(url + READY, timeout=60):
            return
    except OSError as problem:
        raise RuntimeError(
            f"ministack (exit code {process.poll()}) does not answer at {url}: {log.read_text()[-2000:]}"
        ) from problem


def _environment(folder: Path, port: int) -> dict[str, str]:
    """Nothing of this machine's: no container engine, so that a task is only a record, and no listener beside the one."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return {
        **kept,
        "TMPDIR": str(folder),
        "GATEWAY_PORT": str(port),
        "DOCKER_HOST": f"unix://{folder}/no-engine.sock",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
    }
