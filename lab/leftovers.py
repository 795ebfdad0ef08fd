"""What a killed lab left in its state folder is ended here, before the folder is used again or removed.

Called by `lab.lab` (start) and `lab.service` (up, down).
"""

from __future__ import annotations

from lab.command import Progress
from lab.errors import LabError
from lab.files import Folder
from lab.process import sweep


def end_leftovers(folder: Folder, progress: Progress) -> None:
    """Containers, then processes; LabError when the folder is none of a lab's."""
    if not folder.path.is_dir() or not any(folder.path.iterdir()):
        return
    if not folder.processes.is_dir():
        raise LabError(f"{folder.path} holds files that are no lab's; set BUILDCACHE_LAB_DIR to an empty or new folder")
    if folder.docker.exists():
        # Only now: the docker SDK takes a moment to load, and most labs never had an engine.
        from lab import dockerd

        dockerd.clean(folder, progress)
    with_kind = folder.kind.exists()
    if with_kind:
        from lab.kind import cluster

        cluster.clean(folder)
    if ended := sweep(folder.path, folder.processes):
        progress(f"ended what a killed lab left running: {', '.join(ended)}")
    if with_kind:
        from lab.kind import sandbox

        sandbox.clean(folder)
