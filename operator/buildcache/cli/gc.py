"""`buildcache gc`: AWS parts whose BuildCache is gone without them, because somebody took its finalizer off by force.

AWS is looked at before Kubernetes: a BuildCache that is created in between is then known, and has no part in the list yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buildcache.api.meta import GROUP, VERSION
from buildcache.aws import parts
from buildcache.aws.clients import Session
from buildcache.aws.owned import find_owned
from buildcache.core.action import difference
from buildcache.core.errors import Trouble
from buildcache.core.orphan import Orphan, orphans, without_spec
from buildcache.core.plan import Plan
from buildcache.core.teardown import plan_teardown

PAUSE = 5.0
"""Seconds between looks at what AWS is removing."""
DEADLINE = 1800.0
"""Seconds for one orphan: a network interface of a task may hold a security group for twenty minutes."""


class Refused(Exception):
    """It looks as if the wrong cluster was asked; nothing was touched."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found."""

    orphans: tuple[Orphan, ...]
    living: int
    """BuildCaches in the cluster."""


def find(
    session: Session, cluster_id: str, regions: Sequence[str], caches: Callable[[], Sequence[Mapping[str, Any]]]
) -> Found:
    """All orphans of the regions. `caches` lists all BuildCaches of the cluster. Raises Refused, and Trouble of AWS."""
    owned = {region: find_owned(session.region(region), cluster_id) for region in regions}
    bodies = caches()
    living = {str(body["metadata"]["uid"]) for body in bodies}
    with_parts = {
        str(body["metadata"]["uid"])
        for body in bodies
        if body.get("spec", {}).get("region") in regions and (body.get("status") or {}).get("parts")
    }
    owners = {part.owner.uid for found in owned.values() for part in found}
    if owners and with_parts and not owners & with_parts:
        raise Refused(
            f"none of the BuildCaches of this cluster owns anything with cluster id {cluster_id}, though they have parts in "
            "AWS: the kubeconfig leads to another cluster, or the cluster id is another one"
        )
    return Found(
        tuple(orphan for region, found in owned.items() for orphan in orphans(found, living, region)), len(bodies)
    )


def remove(session: Session, orphan: Orphan, say: Callable[[str], None], *, deadline: float = DEADLINE) -> bool:
    """Take one orphan down in the order of a deletion; False when something holds it, which `say` has told."""
    clients, want = session.region(orphan.region), without_spec(orphan)
    until, told = time.monotonic() + deadline, ""
    while True:
        try:
            step = plan_teardown(want, parts.observe_for_teardown(clients, want), running=0)
            if step == Plan():
                return True
            waiting = [conflict.message for conflict in step.conflicts] + list(step.waiting)
            for action in step.actions:
                wait = parts.apply(clients, action)
                if wait is None:
                    say(f"removed {difference(action).part} ({type(action).__name__})")
                else:
                    waiting.append(wait.message)
        except Trouble as trouble:
            step, waiting = Plan(waiting=(str(trouble),)), [str(trouble)]
        if waiting and (text := "; ".join(waiting)) != told:
            say(f"waiting: {text}")
            told = text
        if time.monotonic() > until or (step.conflicts and not step.actions and not step.waiting):
            return False
        time.sleep(PAUSE if waiting else 0)  # noqa: TID251 - a command, not a pass


def list_caches() -> Sequence[Mapping[str, Any]]:
    """All BuildCaches of the cluster of the kubeconfig, or of the one that this runs in."""
    from kubernetes import client, config

    config.load_config()
    listed: Any = client.CustomObjectsApi().list_cluster_custom_object(GROUP, VERSION, "buildcaches")
    items: Sequence[Mapping[str, Any]] = listed["items"]
    return items


def lines(found: Iterable[Orphan]) -> Iterable[str]:
    """A paragraph for each orphan."""
    for orphan in found:
        kept = ", kept by deletionPolicy Retain" if orphan.retained else ""
        yield f"{orphan.owner.namespace}/{orphan.owner.name} (UID {orphan.owner.uid}, {orphan.region}{kept})"
        for part in orphan.parts:
            yield f"  {part.kind}  {part.id}"
