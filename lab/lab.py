"""Composition root of the lab: starts its parts in the order of their needs, and at the same time where they have none.

`lab.service` runs one in a process of its own; tests run one in theirs. What it starts, `stop` ends; what a killed one
left behind, the next `start` on the same state folder (or `down`) ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from lab.command import Progress
from lab.control import Control
from lab.files import Folder, RuntimeName, write_atomically
from lab.kube_proxy import KubeProxy
from lab.kubernetes import Kubernetes, kubeconfig
from lab.leftovers import end_leftovers
from lab.loop import Loop
from lab.operator import COMMAND, Operator, environment
from lab.process import Processes, sweep

if TYPE_CHECKING:
    from lab.cloud import Cloud


class OperatorInfo(TypedDict):
    """The operator's process; no pid while none runs."""

    pid: int | None
    log: str
    metrics: str


class LabInfo(TypedDict):
    """What `lab.json` holds: a contract with what lies outside the lab."""

    kubeconfig: str
    aws: str
    control: str
    registry: str
    audit: str
    operator: OperatorInfo
    region: str
    account: str


class Lab:
    """One lab in one state folder; not to be started again after `stop`."""

    def __init__(
        self,
        state_dir: Path,
        *,
        runtime: RuntimeName,
        progress: Progress,
        operator: bool = True,
        operator_command: Sequence[str] = COMMAND,
        limits: bool = False,
    ) -> None:
        self.folder = Folder(state_dir.absolute())
        self._runtime = runtime
        self._progress = progress
        self._with_operator = operator
        self._operator_command = operator_command
        self._limits = limits
        self._processes = Processes(self.folder.path, self.folder.processes, self.folder.logs)
        self._closers = ExitStack()
        self._cloud: Cloud | None = None
        self._operator: Operator | None = None
        self._info: LabInfo | None = None

    def start(self) -> LabInfo:
        """Everything up and answering, the operator ready; on failure nothing is left running."""
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
        self._info = None
        self._processes.close()
        self._closers.close()
        # A part that was still on its way up has children that its closer did not know yet.
        sweep(self.folder.path, self.folder.processes)

    def registry_down(self) -> AbstractContextManager[None]:
        """The registry answers nobody for as long. Only with containers."""
        assert self._cloud is not None, "the lab was not started"
        return self._cloud.registry_down()

    def _start(self) -> LabInfo:
        # Closers are in place before anything starts; those of parts that never started do nothing.
        loop = Loop("lab")
        self._closers.callback(loop.close)
        kubernetes = Kubernetes(self.folder.kubernetes, self._processes, self._progress)
        self._closers.callback(kubernetes.stop)
        proxy = KubeProxy(loop, on_crash=self._kill_operator)
        self._closers.callback(proxy.stop)
        self._closers.callback(self._stop_cloud)
        pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="lab-start")
        try:
            clouds = pool.submit(self._start_cloud)
            starts: list[Future[Any]] = [clouds, pool.submit(self._start_kubernetes, kubernetes, proxy)]
            done, _ = wait(starts, return_when=FIRST_EXCEPTION)
            for start in done:
                start.result()
            cloud = clouds.result()
        finally:
            # After a failure the other part may have minutes to go; its children are ended by the closers all the same.
            pool.shutdown(wait=False, cancel_futures=True)
        self._operator = Operator(
            self._processes,
            environment(
                kubeconfig=self.folder.operator_kubeconfig,
                aws=cloud.url,
                region=cloud.region,
                runner_image=cloud.runner_image,
            ),
            command=self._operator_command,
            on_change=self._write_info,
        )
        self._closers.callback(self._operator.stop)
        control = Control(cloud.aws, proxy, self._operator)
        port = loop.serve(control.application())
        if self._with_operator:
            began = time.monotonic()
            pid = self._operator.start()
            self._operator.wait_until_ready()
            self._progress(f"operator: ready after {time.monotonic() - began:.1f} s (pid {pid})")
        self._info = LabInfo(
            kubeconfig=str(kubernetes.kubeconfig),
            aws=cloud.url,
            control=f"http://127.0.0.1:{port}",
            registry=cloud.registry,
            audit=str(kubernetes.audit),
            operator=self._operator_info(self._operator),
            region=cloud.region,
            account=cloud.account,
        )
        self._write_info()
        return self._info

    def _start_kubernetes(self, kubernetes: Kubernetes, proxy: KubeProxy) -> None:
        began = time.monotonic()
        self._progress("Kubernetes API: starting etcd and kube-apiserver")
        kubernetes.start()
        account = kubernetes.apply()
        url = proxy.start(kubernetes.url, kubernetes.ca)
        write_atomically(self.folder.operator_kubeconfig, kubeconfig(url, kubernetes.token(account)))
        self._progress(f"Kubernetes API: ready after {time.monotonic() - began:.1f} s")

    def _start_cloud(self) -> Cloud:
        # Here, not at the top: moto takes two seconds to load, in which the API server can start.
        from lab.cloud import Cloud

        self._cloud = Cloud(
            self.folder,
            self._processes,
            self._progress,
            runtime=self._runtime,
            on_crash=self._kill_operator,
            limits=self._limits,
        )
        self._cloud.start()
        return self._cloud

    def _stop_cloud(self) -> None:
        if self._cloud is not None:
            self._cloud.stop()

    def _kill_operator(self) -> None:
        if self._operator is not None:
            self._operator.kill()

    def _operator_info(self, operator: Operator) -> OperatorInfo:
        return OperatorInfo(pid=operator.pid, log=str(operator.log), metrics=operator.metrics)

    def _write_info(self) -> None:
        """Anew with every operator process; not before everything is up."""
        if self._info is not None and self._operator is not None:
            self._info["operator"] = self._operator_info(self._operator)
            write_atomically(self.folder.info, json.dumps(self._info, indent=2) + "\n")
