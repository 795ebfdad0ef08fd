"""The Kubernetes API of the lab: etcd, kube-apiserver and the few controllers that deletion and RBAC need.

Composed by `lab.lab.Lab`. No kubelet and no scheduler: a Deployment stays an object, the operator runs as a process of
the lab under that Deployment's service account.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.command import Progress
from lab.errors import LabError
from lab.files import PROJECT, write_atomically
from lab.process import Child, Processes
from lab.server import answers, start_server
from lab.toolchain import ensure, ensure_all

ISSUER = "https://kubernetes.default.svc"
# Namespaces must go, owners' children must go, `view` and `edit` must gather aggregated roles; nothing else runs here.
CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "serviceaccount-controller",
    "clusterrole-aggregation-controller",
)
AUDIT_POLICY: Mapping[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
TOKEN_DURATION = "8760h"  # the lab does not renew it; longer than any lab lives


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Who the operator's Deployment runs as."""

    namespace: str
    name: str


class Kubernetes:
    """One control plane; `start` leaves it ready and empty, `apply` fills it."""

    def __init__(self, folder: Path, processes: Processes, progress: Progress) -> None:
        self._folder = folder
        self._processes = processes
        self._progress = progress
        self._children: list[Child] = []
        self._token = secrets.token_urlsafe(24)
        self._port = 0

    @property
    def url(self) -> str:
        """The API server itself, past the proxy."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        """The API server signs for itself when it finds no certificate: the certificate is its own authority."""
        return self._folder / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator."""
        return self._folder / "admin.kubeconfig"

    @property
    def audit(self) -> Path:
        """JSON lines, one for each answered request."""
        return self._folder / "audit.log"

    def start(self) -> None:
        """Etcd, then the API server, then the controllers; returns when the API is ready."""
        ensure_all(("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"), self._progress)
        # A control plane begins empty: what an earlier lab left here belongs to processes that are gone.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        etcd = self._start_etcd()
        self._start_apiserver(etcd)
        write_atomically(self.kubeconfig, kubeconfig(self.url, self._token, ca=self.ca))
        self._children.append(
            self._processes.start(
                "kube-controller-manager",
                (
                    ensure("kube-controller-manager", self._progress),
                    f"--kubeconfig={self.kubeconfig}",
                    f"--controllers={','.join(CONTROLLERS)}",
                    "--leader-elect=false",
                    "--secure-port=0",
                ),
            )
        )

    def stop(self) -> None:
        """All of it, at once: nobody needs the data any more, so nobody is waited for politely."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda child: child.stop(1.0), self._children))
        self._children.clear()

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, as the administrator."""
        command = [str(ensure("kubectl", self._progress)), f"--kubeconfig={self.kubeconfig}", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            raise LabError(f"`kubectl {' '.join(arguments)}` failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def apply(self, base: Path = PROJECT / "manifests" / "base") -> ServiceAccount:
        """The operator's manifests, its CRDs among them; answers the account that its Deployment runs as."""
        rendered = self.kubectl("kustomize", str(base))
        account = service_account(rendered)
        self.kubectl("apply", "-f", "-", stdin=rendered)
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        for path in served_paths(rendered):
            self._wait_until_served(path)
        return account

    def _wait_until_served(self, path: str) -> None:
        """An established kind still answers 429 'storage is (re)initializing' for a moment."""
        until = time.monotonic() + 30
        while not answers(f"{self.url}{path}?limit=1", ca=self.ca, token=self._token):
            if time.monotonic() > until:
                raise LabError(f"the API server does not serve {path}, whose CRD it has accepted; see its log")
            time.sleep(0.05)

    def token(self, account: ServiceAccount) -> str:
        """A token of the service account, from the TokenRequest API."""
        return self.kubectl(
            "create", "token", account.name, f"--namespace={account.namespace}", f"--duration={TOKEN_DURATION}"
        ).strip()

    def _start_etcd(self) -> str:
        def command(port: int) -> list[str | Path]:
            url = f"http://127.0.0.1:{port}"
            return [
                ensure("etcd", self._progress),
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                "--listen-peer-urls=http://127.0.0.1:0",  # one member: nobody calls it
                "--unsafe-no-fsync",
                "--log-level=warn",
            ]

        def is_ready(port: int) -> bool:
            return answers(f"http://127.0.0.1:{port}/health")

        child, port = start_server(self._processes, "etcd", command, is_ready=is_ready, timeout=30)
        self._children.append(child)
        return f"http://127.0.0.1:{port}"

    def _start_apiserver(self, etcd: str) -> None:
        key, public = self._folder / "service-account.key", self._folder / "service-account.pub"
        _write_key_pair(key, public)
        tokens, policy = self._folder / "tokens.csv", self._folder / "audit-policy.yaml"
        write_atomically(tokens, f'{self._token},admin,admin,"system:masters"\n')
        write_atomically(policy, json.dumps(AUDIT_POLICY))

        def command(port: int) -> list[str | Path]:
            return [
                ensure("kube-apiserver", self._progress),
                f"--etcd-servers={etcd}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                f"--cert-dir={self.ca.parent}",
                f"--service-account-issuer={ISSUER}",
                f"--service-account-key-file={public}",
                f"--service-account-signing-key-file={key}",
                "--service-cluster-ip-range=10.0.0.0/24",
                f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC",
                # It would want a token mounted in every Pod, and there are no Pods.
                "--disable-admission-plugins=ServiceAccount",
                f"--audit-policy-file={policy}",
                f"--audit-log-path={self.audit}",
                "--audit-log-maxsize=0",  # never rotated: who reads it must find every line
                "--profiling=false",
            ]

        def is_ready(port: int) -> bool:
            return self.ca.exists() and answers(f"https://127.0.0.1:{port}/readyz", ca=self.ca, token=self._token)

        child, self._port = start_server(self._processes, "kube-apiserver", command, is_ready=is_ready, timeout=120)
        self._children.append(child)


def service_account(rendered: str) -> ServiceAccount:
    """The account of the one Deployment in the rendered manifests."""
    found = [
        ServiceAccount(document["metadata"]["namespace"], document["spec"]["template"]["spec"]["serviceAccountName"])
        for document in yaml.safe_load_all(rendered)
        if document and document.get("kind") == "Deployment"
    ]
    if len(found) != 1:
        raise LabError(f"manifests/base holds {len(found)} Deployments; the lab expects the operator's and no other")
    return found[0]


def served_paths(rendered: str) -> list[str]:
    """Where the kinds of the CRDs in the rendered manifests are listed."""
    return [
        f"/apis/{document['spec']['group']}/{version['name']}/{document['spec']['names']['plural']}"
        for document in yaml.safe_load_all(rendered)
        if document and document.get("kind") == "CustomResourceDefinition"
        for version in document["spec"]["versions"]
        if version["served"]
    ]


def kubeconfig(server: str, token: str, *, ca: Path | None = None) -> str:
    """A kubeconfig with one context; JSON is YAML."""
    cluster: dict[str, str] = {"server": server}
    if ca is not None:
        cluster["certificate-authority"] = str(ca)
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "lab", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "current-context": "lab",
        },
        indent=2,
    )


def _write_key_pair(private: Path, public: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    write_atomically(private, key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode())
    write_atomically(
        public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )
