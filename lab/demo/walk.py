"""The walk of the demo: install is done by make; from here on a lab, a cache, three builds, a repair, and everything gone again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.client import ApiException
from rich.table import Table

from lab import service
from lab.demo import results, sample
from lab.demo.cluster import NAMESPACE, Cluster
from lab.demo.results import BUILDS, Result
from lab.demo.screen import Screen
from lab.errors import LabError
from lab.files import Folder
from lab.lab import LabInfo
from lab.outside import condition

CACHE = "shop"
READY_TIMEOUT, BUILD_TIMEOUT, COUNT_TIMEOUT, GONE_TIMEOUT, REPAIR_TIMEOUT = 180.0, 900.0, 60.0, 300.0, 60.0
RECONCILE = "buildcache.dev/reconcile-requested-at"


def main(*, kind: bool = False) -> int:
    """The exit code; the last line says how it went."""
    screen, folder = Screen(), Folder.from_environment()
    began = time.monotonic()
    mine, cluster = False, None
    try:
        screen.heading("A Kubernetes API, an AWS and builders on this machine")
        was_up, _ = service.status(folder)
        mine = not was_up
        service.up(folder, "docker", screen.say, kind=kind)
        cluster = Cluster(_info(folder))
        verdict = _walk(cluster, screen)
    except (LabError, ApiException, BotoCoreError, ClientError, OSError) as error:
        _explain(folder, screen, f"{error}" if isinstance(error, LabError) else f"{type(error).__name__}: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("demo: broken off")
        return 130
    finally:
        if mine:
            service.down(folder, screen.say)
        elif cluster is not None:
            _let_go(cluster)
    screen.say(f"the whole demo took {time.monotonic() - began:.0f} s")
    print(verdict, flush=True)
    return 0


def _walk(cluster: Cluster, screen: Screen) -> str:
    if cluster.info["registry"].endswith(":1"):
        raise LabError("the lab that is up plays its tasks and runs no containers; `make down`, then `make demo` again")
    cluster.control("POST", "/ecs/runtime", {"runtime": "docker"})
    _clean(cluster, screen)
    before = cluster.parts()
    _make_cache(cluster, screen)
    ended = [_run(cluster, screen, name) for name in BUILDS]
    _repair(cluster, screen)
    left = _delete(cluster, screen, before)
    screen.table(results.table(ended))
    return results.verdict(ended, left)


def _make_cache(cluster: Cluster, screen: Screen) -> None:
    screen.heading("A BuildCache: repository, file system, security groups, task definition")
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.aws("s3").create_bucket(Bucket=sample.BUCKET)
    for key in ("app-1.tgz", "app-2.tgz"):
        cluster.aws("s3").put_object(Bucket=sample.BUCKET, Key=key, Body=sample.archive(changed=key == "app-2.tgz"))
    screen.say(f"   the sample app lies in s3://{sample.BUCKET}, before and after a change of its source")
    screen.command("kubectl apply -f buildcache.yaml", cluster.kubectl("apply", "-f", "-", stdin=sample.cache(cluster)))

    def ready() -> dict[str, Any] | None:
        body = cluster.get("buildcaches", CACHE) or {}
        if condition(body, "Stalled").get("status") == "True":
            raise LabError(f"the BuildCache is stalled: {_said(body, 'Stalled')}")
        return body if condition(body, "Ready").get("status") == "True" else None

    body = screen.wait(
        "BuildCache Ready", ready, now=lambda: _said(cluster.get("buildcaches", CACHE), "Ready"), timeout=READY_TIMEOUT
    )
    table = Table(
        "part", "kind", "id", "state", title="what the operator made in AWS (status.parts)", title_justify="left"
    )
    for part in body["status"].get("parts", ()):
        table.add_row(part["name"], part["kind"], part.get("id") or "", part.get("state") or "")
    screen.table(table)


def _run(cluster: Cluster, screen: Screen, name: str) -> Result:
    screen.heading(f"A Build, {BUILDS[name]}: a new container with an empty root")
    body = sample.build(cluster, name, "app-2.tgz" if name == "shop-changed" else "app-1.tgz")
    screen.command(f"kubectl apply -f {name}.yaml", cluster.kubectl("apply", "-f", "-", stdin=body))
    seen: dict[str, Any] = {}

    def ended() -> dict[str, Any] | None:
        seen.clear()
        seen.update(cluster.get("builds", name) or {})
        return seen if condition(seen, "Succeeded").get("status") in ("True", "False") else None

    screen.wait(f"Build {name}", ended, now=lambda: _build_now(cluster, seen), timeout=BUILD_TIMEOUT)
    if condition(seen, "Succeeded")["status"] == "False":
        failure = seen["status"].get("failure") or {}
        raise LabError(f"the Build {name} failed: {_said(seen, 'Succeeded')}\n{failure.get('logTail') or ''}".rstrip())
    screen.say(f"   {condition(seen, 'Succeeded').get('message', '')}")
    count = list(BUILDS).index(name) + 1

    def counted() -> bool | None:
        status = (cluster.get("buildcaches", CACHE) or {}).get("status", {})
        return True if status.get("efficiency", {}).get("builds") == count else None

    screen.wait("BuildCache has counted it", counted, now=lambda: "status.efficiency", timeout=COUNT_TIMEOUT)
    screen.command("kubectl get buildcaches,builds", cluster.kubectl("get", "buildcaches,builds"))
    return results.result(name, seen["status"])


def _build_now(cluster: Cluster, body: Mapping[str, Any]) -> str:
    """Reason, and the last line of the newest container's log."""
    reason = str(condition(body, "Succeeded").get("reason", "not seen by the operator yet"))
    logs = body.get("status", {}).get("logs")
    if not logs:
        return reason
    stream = logs["stream"]
    line = cluster.last_log_line(logs["group"], [stream, stream.replace("/build/", "/fetch/", 1)])
    return f"{reason}; {line}" if line else reason


def _repair(cluster: Cluster, screen: Screen) -> None:
    screen.heading("Drift: somebody deletes the repository's lifecycle policy in AWS")
    ecr = cluster.aws("ecr")
    body = cluster.get("buildcaches", CACHE) or {}
    repository = body["status"]["registry"]["repositoryURI"].partition("/")[2]
    policy = json.loads(ecr.get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    ecr.delete_lifecycle_policy(repositoryName=repository)
    screen.say(f"   the policy of {repository} is gone; the next drift check is due within spec.reconcileInterval,")
    screen.say("   but a person may ask for it now:")
    stamp = f"demo-{time.time_ns()}"
    annotate = ("annotate", "--overwrite", "buildcaches", CACHE, f"{RECONCILE}={stamp}")
    screen.command(f"kubectl {' '.join(annotate)}", cluster.kubectl(*annotate))

    def corrected() -> dict[str, Any] | None:
        seen = cluster.get("buildcaches", CACHE) or {}
        return seen if seen.get("status", {}).get("lastHandledReconcileAt") == stamp else None

    after = screen.wait("drift check", corrected, now=lambda: "asked for", timeout=REPAIR_TIMEOUT)
    try:
        again = json.loads(ecr.get_lifecycle_policy(repositoryName=repository)["lifecyclePolicyText"])
    except ecr.exceptions.LifecyclePolicyNotFoundException:
        raise LabError(f"the operator did not put the lifecycle policy of {repository} back") from None
    if again != policy:
        raise LabError(f"the operator put another lifecycle policy back: {again} instead of {policy}")
    screen.say(f"   the policy is back as it was; Drifted: {_said(after, 'Drifted')}")


def _delete(cluster: Cluster, screen: Screen, before: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Deletes what the demo made; answers what is left in AWS that was not there before."""
    screen.heading("Deletion: Builds, BuildCache, and with it everything in AWS")
    _clean(cluster, screen)
    after = cluster.parts()
    left = {kind: found - before[kind] for kind, found in after.items()}
    table = Table("in AWS", "left", title="what is left", title_justify="left")
    for kind, found in left.items():
        table.add_row(kind, ", ".join(sorted(found)) or "none")
    screen.table(table)
    return left


def _clean(cluster: Cluster, screen: Screen) -> None:
    """The demo's objects, namespace and bucket are gone, also those of a demo that was broken off."""
    if NAMESPACE in cluster.kubectl("get", "namespaces", "-o", "name").replace("namespace/", "").split():
        cluster.kubectl("delete", "builds,buildcaches", "--all", "--wait=false")

        def gone() -> bool | None:
            return True if not cluster.names("builds") and not cluster.names("buildcaches") else None

        screen.wait("Builds and BuildCache gone", gone, now=lambda: _deleting(cluster), timeout=GONE_TIMEOUT)
        cluster.kubectl("delete", "namespace", NAMESPACE)
    s3 = cluster.aws("s3")
    if sample.BUCKET in (bucket["Name"] for bucket in s3.list_buckets()["Buckets"]):
        for found in s3.list_objects_v2(Bucket=sample.BUCKET).get("Contents", ()):
            s3.delete_object(Bucket=sample.BUCKET, Key=found["Key"])
        s3.delete_bucket(Bucket=sample.BUCKET)


def _let_go(cluster: Cluster) -> None:
    """In a lab that stays: what a failed demo left is deleted without waiting for it; the next demo waits."""
    with suppress(LabError, OSError):
        cluster.kubectl("delete", "builds,buildcaches", "--all", "--wait=false")


def _deleting(cluster: Cluster) -> str:
    body = cluster.get("buildcaches", CACHE)
    if body is None:
        return "the BuildCache is gone"
    blocked = condition(body, "DeletionBlocked")
    return _said(body, "DeletionBlocked") if blocked.get("status") == "True" else _said(body, "Ready")


def _said(body: Mapping[str, Any] | None, kind: str) -> str:
    found = condition(body or {}, kind)
    return f"{found['reason']}: {found.get('message', '')}".rstrip(": ") if found else f"no condition {kind} yet"


def _info(folder: Folder) -> LabInfo:
    info: LabInfo = json.loads(folder.info.read_text())
    return info


def _explain(folder: Folder, screen: Screen, reason: str) -> None:
    """The reason, after the end of the operator's log: the lab goes, and its logs with it."""
    try:
        log = Path(_info(folder)["operator"]["log"])
        if log.is_dir():  # of Pods
            log = max(log.glob("*buildcache-operator*/*/*.log"), key=lambda path: path.stat().st_mtime)
        lines = log.read_text(errors="replace").splitlines()[-15:]
    except (OSError, ValueError, KeyError):
        lines = []
    if lines:
        screen.say("\nthe end of the operator's log:")
        for line in lines:
            screen.say(f"   {line[:400]}")
    print(f"demo: failed: {reason}", file=sys.stderr, flush=True)
