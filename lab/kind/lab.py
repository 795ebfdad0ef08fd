"""Composition root of the lab with kind: a real cluster in place of the bare API server, the operator as a Pod in it.

`lab.service` runs one in a process of its own; tests run one in theirs. AWS and what runs its tasks are those of `lab.lab`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.cloud import Cloud
from lab.command import Progress
from lab.control import Control
from lab.files import Folder, RuntimeName, write_atomically
from lab.kind import operator_image
from lab.kind.cluster import KindCluster
from lab.kind.deployment import Deployment
from lab.kind.gate import HERE, Gate
from lab.kube_faults import Rule
from lab.lab import LabInfo, OperatorInfo
from lab.leftovers import end_leftovers
from lab.loop import Loop
from lab.process import Processes, sweep


class KindLab:
    """One lab in one state folder; not to be started again after `stop`."""

    def __init__(self, state_dir: Path, *, runtime: RuntimeName, progress: Progress) -> None:
        self.folder = Folder(state_dir.absolute())
        self._runtime = runtime
        self._progress = progress
        self._processes = Processes(self.folder.path, self.folder.processes, self.folder.logs)
        self._closers = ExitStack()
        self._deployment: Deployment | None = None
        self._cluster: KindCluster | None = None
        self.ready_after = 0.0
        """Seconds from `kubectl apply -k` to a Pod that is Ready."""

    @property
    def cluster(self) -> KindCluster:
        """Only after `start`."""
        assert self._cluster is not None, "the lab was not started"
        return self._cluster

    @property
    def deployment(self) -> Deployment:
        """Only after `start`."""
        assert self._deployment is not None, "the lab was not started"
        return self._deployment

    def start(self) -> LabInfo:
        """The cluster and AWS up and answering, the operator's Pod Ready; on failure nothing is left running."""
        began = time.monotonic()
        self.folder.path.mkdir(parents=True, exist_ok=True)
        end_leftovers(self.folder, self._progress)
        self.folder.info.unlink(missing_ok=True)
        try:
            info = self._start()
        except BaseException:
            self.stop()
            raise
        self._progress(f"the lab is up after {time.monotonic() - began:.1f} s")
        return info

    def stop(self) -> None:
        """Everything down, in the reverse order of the start; logs stay in the state folder."""
        self.folder.info.unlink(missing_ok=True)
        self._processes.close()
        self._closers.close()
        # A part that was still on its way up has children that its closer did not know yet.
        sweep(self.folder.path, self.folder.processes)

    def _kill_operator(self) -> None:
        if self._deployment is not None:
            self._deployment.kill()

    def _start(self) -> LabInfo:
        # Closers are in place before anything starts; those of parts that never started do nothing.
        loop = Loop("lab")
        self._closers.callback(loop.close)
        gate = Gate(loop)
        self._closers.callback(gate.close)
        cluster = KindCluster(self.folder, self._processes, gate, self._progress)
        self._closers.callback(cluster.stop)
        cloud = Cloud(self.folder, self._processes, self._progress, runtime=self._runtime, on_crash=self._kill_operator)
        self._closers.callback(cloud.stop)
        pool = ThreadPoolExecutor(max_workers=3, thread_name_prefix="lab-start")
        try:
            clouds = pool.submit(cloud.start)
            archives = pool.submit(operator_image.archive, self.folder, self._processes, self._progress)
            clusters = pool.submit(cluster.start)
            starts: list[Future[Any]] = [clouds, archives, clusters]
            done, _ = wait(starts, return_when=FIRST_EXCEPTION)
            for start in done:
                start.result()
            cluster.load(archives.result())
        finally:
            # After a failure another part may have minutes to go; its children are ended by the closers all the same.
            pool.shutdown(wait=False, cancel_futures=True)
        self._cluster = cluster
        host, _, port = cloud.url.removeprefix("http://").rpartition(":")
        way = gate.open(cluster.network, (cluster.gateway, 0), HERE, (host, int(port)))
        self._deployment = Deployment(
            cluster.kubectl,
            aws=f"http://{cluster.gateway}:{way}",
            region=cloud.region,
            runner_image=cloud.runner_image,
        )
        self._progress("operator: kubectl apply -k manifests/overlays/kind")
        self.ready_after = self._deployment.install()
        self._progress(f"operator: Ready after {self.ready_after:.1f} s")
        control = loop.serve(Control(cloud.aws, NoFaults(), self._deployment).application())
        info = LabInfo(
            kubeconfig=str(cluster.kubeconfig),
            aws=cloud.url,
            control=f"http://127.0.0.1:{control}",
            registry=cloud.registry,
            audit="",
            operator=OperatorInfo(pid=None, log=str(cluster.pod_logs), metrics=""),
            region=cloud.region,
            account=cloud.account,
        )
        write_atomically(self.folder.info, json.dumps(info, indent=2) + "\n")
        return info


class NoFaults:
    """The operator's Pod talks to the API server itself: no proxy is between them that could spoil a call."""

    def add(self, rules: Sequence[Rule]) -> None:
        """Refuse."""
        if rules:
            raise ValueError("faults of the Kubernetes API need the lab without kind (make up)")

    def clear(self) -> None:
        """There are none."""
