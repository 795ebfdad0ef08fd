"""What `privileged` means on this machine. Pure, but for `missing_capabilities`, which reads it from the kernel.

Some machines withhold a capability (CAP_SYS_RESOURCE is one). There Docker refuses `--privileged` with "unable to apply
caps", and the runtime grants what the machine has instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
LAST = Path("/proc/sys/kernel/cap_last_cap")

# capability.h, in the order of the bits.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)


def missing_capabilities(status: Path = STATUS, last: Path = LAST) -> tuple[str, ...]:
    """What the kernel knows and this process (so its Docker engine too) can never have."""
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        bounding, known = int(lines["CapBnd"], 16), int(last.read_text()) + 1
    except (OSError, KeyError, ValueError):
        return ()
    return tuple(name for bit, name in enumerate(CAPABILITIES[:known]) if not bounding >> bit & 1)


def host_settings(missing: Sequence[str]) -> dict[str, Any]:
    """The part of a container's HostConfig that stands for `privileged`."""
    if not missing:
        return {"Privileged": True}
    return {
        "CapAdd": ["ALL"],
        "CapDrop": list(missing),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
        # What the command line calls systempaths=unconfined.
        "MaskedPaths": [],
        "ReadonlyPaths": [],
    }


def binds(missing: Sequence[str]) -> list[str]:
    """Mounts that a privileged container has by itself: control groups that it may write."""
    return ["/sys/fs/cgroup:/sys/fs/cgroup"] if missing else []
