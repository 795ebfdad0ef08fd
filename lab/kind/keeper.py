"""Holds an engine of the lab's own in namespaces, and takes all of it away when the lab ends, however it ends.

`sandbox.py` starts it, already in mount and network namespaces of its own, as `python -m lab.kind.keeper OWNER LOCK RUN CGROUP
COMMAND…`. COMMAND is the first process of a further process namespace: with it the kernel ends every process in there, the
node's containers among them, and with the last process go mounts and network. Control groups and the run-time folder belong to no
namespace, so they are removed here.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
IS_TAKEN = 75
CGROUPS_EMPTY_WITHIN = 10.0


def main(arguments: list[str]) -> int:
    """Return when COMMAND has ended, or the process OWNER, or on SIGTERM; nothing of COMMAND is left then."""
    owner, lock, run, cgroup, *command = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # The engine inherits it: should this process be killed, the lock holds as long as any of the engine's.
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return IS_TAKEN
    remove_cgroups(cgroup)
    watched = os.pidfd_open(int(owner))
    # Without this process nobody would tidy up, so the engine goes with it.
    apart = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "--"]
    with subprocess.Popen([*apart, *command], pass_fds=[handle]) as child:
        try:
            select.select([watched, os.pidfd_open(child.pid)], [], [])
        except KeyboardInterrupt:
            pass
        finally:
            child.kill()
    remove(Path(run), cgroup)
    return child.returncode if child.returncode > 0 else 0


def remove(run: Path, cgroup: str) -> None:
    """Remove what an engine leaves in the file system: its run-time folder and its control groups."""
    remove_cgroups(cgroup)
    shutil.rmtree(run, ignore_errors=True)


def remove_cgroups(name: str) -> None:
    """Remove control groups as soon as their last processes are gone; version 1 has them once for each controller."""
    until = time.monotonic() + CGROUPS_EMPTY_WITHIN
    while (tops := [*CGROUPS.glob(f"*/{name}"), *CGROUPS.glob(name)]) and time.monotonic() < until:
        for top in tops:
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    break
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
