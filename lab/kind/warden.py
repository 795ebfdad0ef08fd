"""Removes a node from the user's Docker when the lab that made it has ended, however it ended.

`cluster.py` starts it as `python -m lab.kind.warden OWNER HOST NAME`. A node in a sandbox needs none: it ends with the sandbox.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

import docker
import docker.errors

CLUSTER_LABEL = "io.x-k8s.kind.cluster"


def main(arguments: list[str]) -> int:
    """Return when the process OWNER has ended, or on SIGTERM, and the cluster NAME is gone."""
    owner, host, name = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt, ProcessLookupError):
        select.select([os.pidfd_open(int(owner))], [], [])
    client = docker.DockerClient(host)
    remove_node(client, name)
    client.close()
    return 0


def remove_node(client: docker.DockerClient, name: str) -> None:
    """As `kind delete cluster` does."""
    for container in client.containers.list(all=True, filters={"label": f"{CLUSTER_LABEL}={name}"}):
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
