"""How long AWS takes for what it does not do at once; real times are minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    file_system_creating: float = 0.5
    file_system_updating: float = 0.3
    file_system_deleting: float = 0.3
    mount_target_creating: float = 1.0
    mount_target_deleting: float = 0.5
    access_point_creating: float = 0.2
    access_point_deleting: float = 0.2
    access_points_of_a_file_system: int = 10_000
    backup_policy_changing: float = 0.3
    throughput_rest: float = 24 * 3600.0
    """How long after a change of mode or a decrease the throughput can not be changed so again."""
