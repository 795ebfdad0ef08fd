"""The two CustomResourceDefinitions, made from the models."""

from typing import Any

from .build import Build
from .cache import BuildCache
from .meta import GROUP, VERSION, Kind
from .schema import structural, without_defaults


def _condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    # Columns of priority 1 are shown by `kubectl get -o wide` only.
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if wide else {})}


BUILD_CACHE_COLUMNS = [
    _column("Ready", _condition("Ready", "status")),
    # The operator orders its conditions: Suspended, where there is one, comes before Ready.
    _column("Status", ".status.conditions[0].reason"),
    _column("Hit%", ".status.efficiency.hitPercent", "integer"),
    _column("Running", ".status.queue.running", "integer"),
    _column("Queued", ".status.queue.queued", "integer"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Saved", ".status.efficiency.savedSeconds", "integer", wide=True),
    _column("Region", ".spec.region", wide=True),
    _column("Repository", ".status.registry.repositoryURI", wide=True),
    _column("Drifted", _condition("Drifted", "status"), wide=True),
]
BUILD_COLUMNS = [
    _column("Status", _condition("Succeeded", "reason")),
    _column("Cached%", ".status.cache.hitPercent", "integer"),
    _column("Duration", ".status.timing.totalSeconds", "integer"),
    _column("Digest", ".status.image.digest"),
    _column("Age", ".metadata.creationTimestamp", "date"),
    _column("Service", ".spec.service", wide=True),
    _column("Cache", ".spec.cacheRef.name", wide=True),
    _column("Executor", ".status.executor.name", wide=True),
    _column("Saved", ".status.cache.savedSeconds", "integer", wide=True),
    _column("Message", _condition("Succeeded", "message"), wide=True),
]


def definitions() -> dict[str, dict[str, Any]]:
    """Plural → CustomResourceDefinition (`apiextensions.k8s.io/v1`)."""
    return {
        "buildcaches": _definition(BuildCache, "buildcaches", ["bcache"], BUILD_CACHE_COLUMNS, []),
        "builds": _definition(Build, "builds", ["ebuild"], BUILD_COLUMNS, [".spec.cacheRef.name", ".spec.service"]),
    }


def _definition(
    model: type[Kind], plural: str, short: list[str], columns: list[dict[str, Any]], selectable: list[str]
) -> dict[str, Any]:
    schema = structural(model)
    properties = schema["properties"]
    properties["apiVersion"] = {"type": "string", "description": "The API's group and version."}
    properties["kind"] = {"type": "string", "description": "The kind of this object."}
    # The API server describes this one itself, and refuses a CRD that does.
    properties["metadata"] = {"type": "object"}
    # A new object reads as never observed, so that no tool takes it for settled.
    properties["status"] = {**without_defaults(properties["status"]), "default": {"observedGeneration": -1}}
    kind = model.model_fields["kind"].default
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {**schema, "required": ["spec"]}},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        **({"selectableFields": [{"jsonPath": path} for path in selectable]} if selectable else {}),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": short,
                "categories": ["buildcache"],
            },
            "versions": [version],
        },
    }
