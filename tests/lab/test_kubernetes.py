"""The lab's control plane: a real API server that is there, does its work and goes away again."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from lab.errors import LabError
from lab.kube_proxy import KubeProxy
from lab.kubernetes import Kubernetes, ServiceAccount, kubeconfig, served_paths, service_account
from lab.loop import Loop
from lab.process import Processes

DEPLOYMENT = """
kind: Deployment
metadata: {name: operator, namespace: system}
spec: {template: {spec: {serviceAccountName: worker}}}
"""


def test_the_operators_account_is_the_deployments() -> None:
    assert service_account(f"kind: Namespace\n---\n{DEPLOYMENT}\n---\n") == ServiceAccount("system", "worker")


@pytest.mark.parametrize("rendered", ["kind: Namespace", f"{DEPLOYMENT}\n---\n{DEPLOYMENT}"])
def test_manifests_with_no_or_two_deployments_are_refused(rendered: str) -> None:
    with pytest.raises(LabError, match="Deployments"):
        service_account(rendered)


def test_the_paths_of_served_kinds_are_known() -> None:
    crd = {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "buildcache.dev",
            "names": {"plural": "builds"},
            "versions": [{"name": "v1", "served": True}, {"name": "v1alpha1", "served": False}],
        },
    }
    assert served_paths(f"{DEPLOYMENT}\n---\n{json.dumps(crd)}") == ["/apis/buildcache.dev/v1/builds"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubernetes")


@pytest.fixture(scope="module")
def kubernetes(folder: Path) -> Iterator[Kubernetes]:
    processes = Processes(folder, folder / "processes", folder / "logs")
    kubernetes = Kubernetes(folder / "data", processes, print)
    try:
        kubernetes.start()
        yield kubernetes
    finally:
        kubernetes.stop()
    assert not list((folder / "processes").iterdir()), "every child is gone, and with it its record"


def wait_until_gone(kubernetes: Kubernetes, *what: str) -> None:
    until = time.monotonic() + 30
    while kubernetes.kubectl("get", "--ignore-not-found", "--output=name", *what).strip():
        assert time.monotonic() < until, f"still there: {what}"
        time.sleep(0.1)


@pytest.mark.lab
def test_namespaces_and_what_is_owned_go_away(kubernetes: Kubernetes) -> None:
    kubernetes.kubectl("create", "namespace", "short")
    kubernetes.kubectl("create", "configmap", "owner", "--namespace=short")
    uid = kubernetes.kubectl("get", "configmap", "owner", "--namespace=short", "--output=jsonpath={.metadata.uid}")
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    child = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "child", "namespace": "short", "ownerReferences": [owner]},
    }
    kubernetes.kubectl("create", "-f", "-", stdin=json.dumps(child))
    kubernetes.kubectl("delete", "configmap", "owner", "--namespace=short")
    wait_until_gone(kubernetes, "configmap", "child", "--namespace=short")
    kubernetes.kubectl("delete", "namespace", "short", "--wait=false")
    wait_until_gone(kubernetes, "namespace", "short")


@pytest.mark.lab
def test_a_service_account_has_the_rights_of_its_roles_and_no_others(kubernetes: Kubernetes, folder: Path) -> None:
    """Through the proxy, as the operator is; the audit log knows who it was."""
    kubernetes.kubectl("create", "serviceaccount", "worker", "--namespace=default")
    kubernetes.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps", "--namespace=default")
    kubernetes.kubectl(
        "create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:worker", "--namespace=default"
    )
    loop = Loop("proxy")
    proxy = KubeProxy(loop, on_crash=lambda: None)
    try:
        url = proxy.start(kubernetes.url, kubernetes.ca)
        account = folder / "account.kubeconfig"
        account.write_text(kubeconfig(url, kubernetes.token(ServiceAccount("default", "worker"))))
        with config.new_client_from_config(str(account)) as api:
            core = client.CoreV1Api(api)
            core.list_namespaced_config_map("default")
            with pytest.raises(client.ApiException, match="cannot create resource"):
                core.create_namespaced_config_map("default", {"metadata": {"name": "x"}})
    finally:
        proxy.stop()
        loop.close()
    entries = [json.loads(line) for line in kubernetes.audit.read_text().splitlines()]
    mine = [entry for entry in entries if entry["user"]["username"] == "system:serviceaccount:default:worker"]
    assert {(entry["verb"], entry["responseStatus"]["code"]) for entry in mine} >= {("list", 200), ("create", 403)}
    assert {entry["stage"] for entry in entries}.isdisjoint({"RequestReceived"})
    assert {entry["level"] for entry in entries} == {"Metadata"}


@pytest.mark.lab
def test_a_second_control_plane_runs_beside_the_first(kubernetes: Kubernetes, tmp_path: Path) -> None:
    processes = Processes(tmp_path, tmp_path / "processes", tmp_path / "logs")
    other = Kubernetes(tmp_path / "data", processes, print)
    try:
        other.start()
        other.kubectl("create", "namespace", "only-here")
        assert "only-here" not in kubernetes.kubectl("get", "namespaces", "--output=name")
    finally:
        other.stop()
    assert not list((tmp_path / "processes").iterdir())
    assert str(tmp_path) not in running_commands()


def running_commands() -> str:
    """Every command line of this machine."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found.append(file.read().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return "\n".join(found)
