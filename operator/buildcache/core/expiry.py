"""What is still done for a finished Build, which no pass sees: it is deleted in time, and a change of its spec is observed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from buildcache.api.meta import seconds

from .build import moment

_LABELS = (
    "app.kubernetes.io/instance",  # Argo CD's tracking label unless configured otherwise, and Helm charts' own
    "argocd.argoproj.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/name",
)
_ANNOTATIONS = ("argocd.argoproj.io/tracking-id", "meta.helm.sh/release-name")
_MANAGER = "app.kubernetes.io/managed-by"


def is_tracked(body: Mapping[str, Any]) -> bool:
    """Tell whether a GitOps tool keeps the object: it would make it again, and the Build would run again."""
    metadata = body.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return (
        any(name in labels for name in _LABELS)
        or any(name in annotations for name in _ANNOTATIONS)
        or str(labels.get(_MANAGER, "")).lower() == "helm"
    )


def expires_at(body: Mapping[str, Any]) -> datetime | None:
    """When a finished Build goes; None: it stays, or it cannot be read."""
    ttl = (body.get("spec") or {}).get("ttlAfterFinished")
    ended = moment((body.get("status") or {}).get("completionTime"))
    if not isinstance(ttl, str) or ended is None or is_tracked(body):
        return None
    length = seconds(ttl)
    try:
        return ended + timedelta(seconds=length) if length else None
    except OverflowError:
        return None


def keep_finished(cache: Mapping[str, Any] | None) -> int | None:
    """How many finished Builds of a BuildCache stay, by its body; None: all, also when it cannot be read."""
    limits = ((cache or {}).get("spec") or {}).get("limits") or {}
    value = limits.get("keepFinishedBuilds") if isinstance(limits, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def observed(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The status of a finished Build whose spec was changed since: the change is seen, and alters nothing. None: there is nothing new."""
    status, generation = dict(body.get("status") or {}), body["metadata"].get("generation")
    if not isinstance(generation, int) or status.get("observedGeneration") == generation:
        return None
    conditions = [{**each, "observedGeneration": generation} for each in status.get("conditions") or ()]
    return {**status, "observedGeneration": generation, "conditions": conditions}
