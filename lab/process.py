"""Child processes of the lab: started apart from the terminal, recorded on disk, stopped only when they are still ours.

Used by every part that starts a program. A pid alone says nothing after a crash of the lab (the kernel gives it to
somebody else), so a record holds the start time too, and `sweep` ends what a killed lab left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.files import write_atomically

# In the environment of every child (and so of its own children): finds those that died unrecorded or lost their parent.
MARK = "LAB_CHILD_OF"


@dataclass(frozen=True, slots=True)
class Record:
    """Enough to know a process again: pids return, (boot, pid, start time) does not."""

    name: str
    pid: int
    started: int
    boot: str
    order: int

    @classmethod
    def of(cls, name: str, pid: int, order: int) -> Record:
        """A process that runs now; one that is gone already gets a record that matches none."""
        started = start_time(pid)
        return cls(name, pid, -1 if started is None else started, boot_id(), order)

    def write(self, path: Path) -> None:
        """Where `read_record` finds it."""
        write_atomically(path, json.dumps(asdict(self)))

    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return self.boot == boot_id() and start_time(self.pid) == self.started


def boot_id() -> str:
    """Changes with every boot; start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process; None when there is none or it is only waiting to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces and parentheses itself; proc(5) counts the state as field 3.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def tail(log: Path, size: int = 2000) -> str:
    """The end of a log, for an error message."""
    try:
        return log.read_bytes()[-size:].decode(errors="replace").strip()
    except FileNotFoundError:
        return ""


class Child:
    """One running program; `stop` and `kill` are safe to call again and from any thread."""

    def __init__(self, popen: subprocess.Popen[bytes], record: Record, log: Path, path: Path) -> None:
        self._popen = popen
        self._path = path
        self.record = record
        self.log = log

    @property
    def pid(self) -> int:
        """The process's id, which is its group's and session's too."""
        return self.record.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal, as in subprocess."""
        return self._popen.poll()

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit code, or None when it still runs after `timeout` seconds."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, deadline: float = 5.0) -> None:
        """SIGTERM, then SIGKILL for the whole process group when it is not gone `deadline` seconds later."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._popen.terminate()
            self.wait(deadline)
        self.kill()

    def kill(self) -> None:
        """SIGKILL for the process and what it left in its group; returns when it is reaped."""
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
        self._path.unlink(missing_ok=True)

    def tail(self) -> str:
        """The end of its log, for an error message."""
        return tail(self.log)


class Processes:
    """The children of one lab; their records lie in `records`, their logs in `logs`."""

    def __init__(self, owner: Path, records: Path, logs: Path) -> None:
        self._owner = owner
        self._records = records
        self._logs = logs
        self._lock = threading.Lock()
        self._order = 0
        self._is_closed = False

    def close(self) -> None:
        """Start nothing more: a part that still starts while the lab goes down must not leave a child behind."""
        with self._lock:
            self._is_closed = True

    def log(self, name: str) -> Path:
        """Where the output of the child of this name goes."""
        return self._logs / f"{name}.log"

    def start(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Start `command` in a session of its own; its output is appended to the log."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self.log(name)
        with self._lock, log.open("ab") as output:
            if self._is_closed:
                raise LabError(f"{name} is not started: the lab is going down")
            self._order += 1
            try:
                popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env={**(os.environ if env is None else env), MARK: str(self._owner)},
                    start_new_session=True,
                )
            except OSError as error:
                raise LabError(f"cannot start {name} ({os.fspath(command[0])}): {error}") from error
            record = Record.of(name, popen.pid, self._order)
            path = self._records / f"{name}.json"
            record.write(path)
        return Child(popen, record, log, path)


def read_record(path: Path) -> Record | None:
    """A record as it lies on disk; None when there is none (or it is not one of ours)."""
    try:
        return Record(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def sweep(owner: Path, records: Path, *, deadline: float = 5.0) -> list[str]:
    """End every process that a killed lab left; the names of those that were still alive.

    The records say which and in what order (the newest first); the mark in the environment finds the rest.
    """
    recorded = [(path, read_record(path)) for path in records.glob("*.json")]
    # `serve` is such a process itself, recorded by the `up` that started it.
    left = [(path, record) for path, record in recorded if record is None or record.pid != os.getpid()]
    ended = []
    for path, record in sorted(left, key=lambda entry: -entry[1].order if entry[1] else 0):
        if record is not None and record.is_alive():
            end(record, deadline)
            ended.append(record.name)
        path.unlink(missing_ok=True)  # only now: a sweep that is interrupted is done again
    for record in _marked(owner):
        end(record, deadline)
        ended.append(record.name)
    return ended


def end(record: Record, deadline: float) -> None:
    """SIGTERM, and SIGKILL for its group after `deadline` seconds; nothing when the process is no longer this one."""
    if not record.is_alive():
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    until = time.monotonic() + deadline
    while record.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    if record.is_alive():
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(record.pid) == record.pid:
                os.killpg(record.pid, signal.SIGKILL)
            else:
                os.kill(record.pid, signal.SIGKILL)
    while record.is_alive() and time.monotonic() < until + 10:
        time.sleep(0.02)


def _marked(owner: Path) -> list[Record]:
    """Processes with this lab's mark in their environment, but for the one that asks."""
    mark = f"{MARK}={owner}".encode()
    boot = boot_id()
    records = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) in (os.getpid(), os.getppid()):
            continue
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue  # ended meanwhile, or somebody else's
        started = start_time(int(folder.name))
        if started is not None and mark in environment.split(b"\0"):
            records.append(Record(f"process {folder.name}", int(folder.name), started, boot, 0))
    return records
