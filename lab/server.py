"""Programs that listen on loopback: a free port for each, started again on another one when somebody took it meanwhile.

Used for etcd, kube-apiserver and the registry, which want their port as a flag.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.process import Child, Processes

ATTEMPTS = 5
FIRST_PORT, PORTS = 10_000, 12_000


def free_port() -> int:
    """A port that is free now; whoever binds it first has it.

    Below the range from which the kernel gives ports to outgoing connections: those come and go by the thousand, and one of
    them would sooner or later sit on the port of a process that is just being restarted.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(max(FIRST_PORT, first - PORTS), first)
    for port in (*random.sample(candidates, len(candidates)), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise LabError("this machine has no free port on 127.0.0.1")


def start_server(
    processes: Processes,
    name: str,
    command: Callable[[int], Sequence[str | os.PathLike[str]]],
    *,
    is_ready: Callable[[int], bool],
    timeout: float,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    on: int | None = None,
) -> tuple[Child, int]:
    """Start `command(port)` and wait until `is_ready(port)`; answers the child and its port, which is `on` where that is given."""
    for attempt in range(1, ATTEMPTS + 1):
        port = on or free_port()
        child = processes.start(name, command(port), env=env, cwd=cwd)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if is_ready(port) and child.exit_code is None:
                return child, port
            if child.exit_code is not None:
                break
            time.sleep(0.05)
        else:
            child.kill()
            raise LabError(f"{name} was not ready after {timeout:.0f} s; the end of {child.log}:\n{child.tail()}")
        child.kill()
        if "address already in use" not in child.tail() or attempt == ATTEMPTS:
            raise LabError(f"{name} ended with exit code {child.exit_code}; the end of {child.log}:\n{child.tail()}")
    raise AssertionError("the loop returns or raises")


def answers(url: str, *, ca: Path | None = None, token: str | None = None) -> bool:
    """Whether the URL answers 200 now. Proxies of the environment are not asked about loopback."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        if ca is not None:
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca))))
        with urllib.request.build_opener(*handlers).open(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:  # of the connection or of TLS
        return False
