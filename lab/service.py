"""The lab as a service of this machine: `up` starts a process that stays, `down` ends it and everything it started.

`lab.__main__` calls it. Only `serve` runs the lab itself; the others find it by the records in the state folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator

from lab.command import Progress
from lab.errors import LabError
from lab.files import PROJECT, Folder, RuntimeName
from lab.leftovers import end_leftovers
from lab.process import Child, Processes, Record, end, read_record, tail

SERVE = "serve"
STOP_DEADLINE = 60.0  # containers and dockerd want their time


def up(folder: Folder, runtime: RuntimeName, progress: Progress, *, kind: bool = False) -> None:
    """Return when the lab is up; LabError when it could not start."""
    folder.path.mkdir(parents=True, exist_ok=True)
    child: Child | None = None
    with _alone(folder):
        record = read_record(folder.processes / f"{SERVE}.json")
        if record is not None and record.is_alive():
            if folder.info.exists():
                progress(f"the lab is already up: {folder.info}")
                return
            progress("the lab is starting already; waiting for it")
        else:
            _clean(folder, progress)
            folder.path.mkdir(parents=True)
            folder.progress.touch()
            processes = Processes(folder.path, folder.processes, folder.logs)
            command = [sys.executable, "-m", "lab", SERVE, "--runtime", runtime, *(["--kind"] if kind else [])]
            environment = {**os.environ, "BUILDCACHE_LAB_DIR": str(folder.path)}
            child = processes.start(SERVE, command, env=environment, cwd=PROJECT)
            record = child.record
    try:
        _follow(folder, record, child, progress)
    except KeyboardInterrupt:
        if child is not None:
            progress("interrupted: taking the lab down again")
            down(folder, progress)
        raise


def down(folder: Folder, progress: Progress) -> None:
    """Nothing of the lab is left, whether it runs, starts, or was killed."""
    if not folder.path.exists():
        progress(f"no lab in {folder.path}")
        return
    with _alone(folder):
        record = read_record(folder.processes / f"{SERVE}.json")
        if record is not None and record.is_alive():
            progress("stopping the lab")
            end(record, STOP_DEADLINE)
        _clean(folder, progress)
    progress("the lab is down")


def status(folder: Folder) -> tuple[bool, str]:
    """Whether the lab is up, and a text for people."""
    record = read_record(folder.processes / f"{SERVE}.json")
    if record is None or not record.is_alive():
        return False, f"no lab runs in {folder.path}"
    try:
        info = json.loads(folder.info.read_text())
    except FileNotFoundError:
        return False, f"the lab in {folder.path} is starting or stopping (pid {record.pid})"
    lines = [f"the lab is up (pid {record.pid})"]
    lines += [f"  {key:11} {value}" for key, value in info.items() if key != "operator"]
    lines += [f"  operator.{key:9} {value}" for key, value in info["operator"].items()]
    return True, "\n".join(lines)


def serve(folder: Folder, runtime: RuntimeName, progress: Progress, *, kind: bool = False) -> int:
    """Run the lab in this process until SIGTERM or SIGINT; answers the exit code."""
    # Here, not at the top: `down` and `status` answer at once without loading moto.
    from lab.kind.lab import KindLab
    from lab.lab import Lab

    path = folder.processes / f"{SERVE}.json"
    record = read_record(path)
    if record is not None and record.is_alive() and record.pid != os.getpid():
        progress(f"failed: another lab runs in {folder.path} (pid {record.pid})")
        return 1
    folder.processes.mkdir(parents=True, exist_ok=True)
    Record.of(SERVE, os.getpid(), 0).write(path)
    ended = threading.Event()
    is_starting = True

    def on_signal(_number: int, _frame: object) -> None:
        if not ended.is_set():
            ended.set()
            if is_starting:
                raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    lab: Lab | KindLab = (KindLab if kind else Lab)(folder.path, runtime=runtime, progress=progress)
    try:
        lab.start()
    except KeyboardInterrupt:
        progress("stopped while it was starting")
        return 130
    except LabError as error:
        progress(f"failed: {error}")
        return 1
    except Exception as error:
        progress(f"failed: {error!r}")
        traceback.print_exc()
        return 1
    is_starting = False
    ended.wait()
    progress("stopping")
    lab.stop()
    return 0


def _follow(folder: Folder, record: Record, child: Child | None, progress: Progress) -> None:
    """Show what `serve` says until it is up; LabError when it ends first."""
    shown = 0
    while True:
        is_up, is_alive = folder.info.exists(), record.is_alive() and (child is None or child.exit_code is None)
        with contextlib.suppress(FileNotFoundError):
            lines = folder.progress.read_text().splitlines()
            for line in lines[shown:]:
                progress(line)
            shown = len(lines)
        if is_up:
            return
        if not is_alive:
            log = folder.logs / f"{SERVE}.log"
            raise LabError(f"the lab did not start; its logs are in {log.parent}. The end of {log}:\n{tail(log)}")
        time.sleep(0.1)


def _clean(folder: Folder, progress: Progress) -> None:
    """End what runs without its lab, and remove the state folder."""
    end_leftovers(folder, progress)
    shutil.rmtree(folder.path)


@contextlib.contextmanager
def _alone(folder: Folder) -> Iterator[None]:
    """One `up` or `down` at a time for neighbours of one parent folder; a lock on that folder leaves no file behind."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def progress_to(folder: Folder) -> Progress:
    """For `serve`: a line on standard output (its log) and one for the `up` that waits."""
    began = time.monotonic()

    def progress(text: str) -> None:
        line = f"[{time.monotonic() - began:6.1f} s] {text}"
        print(line, flush=True)
        with contextlib.suppress(FileNotFoundError), folder.progress.open("a") as file:
            file.write(line + "\n")

    return progress
