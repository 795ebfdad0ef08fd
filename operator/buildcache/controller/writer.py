"""Every request that the operator makes to the API server besides kopf's watches; the only user of `kubernetes` here.

Called by `passes.py` in worker threads. A refusal is a value, not an exception: a pass that cannot write has not failed,
it is made again on what is true by then.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import kubernetes
import urllib3

from buildcache.api.meta import FINISHED_LABEL, GROUP, VERSION

from .objects import PLURALS, Body, Key, KindName, key_of, uid_of, version_of
from .patches import hold_patch, merge_patch, release_patch, status_patch, without_nulls

UNFINISHED = f"!{FINISHED_LABEL}"
"""Label selector of the Builds that anything is still to be done for."""

EVENTS = ("events.k8s.io", "v1")

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

TIMEOUT = (3.0, 8.0)
"""Seconds to connect and to answer. Below the ten seconds in which the process must be able to end."""

PAGE = 100
"""Objects of a list that are in memory at once, twice: as text and as what it says."""


@dataclass(frozen=True, slots=True)
class Written:
    """Done, or nothing to do: the newest body, and whether a request was made for it."""

    body: Body
    sent: bool = True
    pruned: tuple[str, ...] = ()
    """Status fields that the API server dropped because its CRD does not know them."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The object has changed since it was read: read again, and make the pass again."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The object does not exist any more."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The API server could not or would not: try again later. The effect may have happened all the same (F10)."""

    message: str
    retry_after: float = 0.0


Result = Written | Conflict | Gone | Refused


class NoCluster(Exception):
    """There is no cluster to talk to; the message says where one was looked for."""


def connect(connections: int) -> kubernetes.client.ApiClient:
    """Return a client for the cluster we run in or the one that KUBECONFIG names, with a connection for each thread."""
    configuration = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_incluster_config(client_configuration=configuration)
    except kubernetes.config.ConfigException:
        try:
            kubernetes.config.load_kube_config(client_configuration=configuration)
        except kubernetes.config.ConfigException as error:
            raise NoCluster(
                f"neither a service account of a Pod nor a kubeconfig (set KUBECONFIG to one): {error}"
            ) from error
    configuration.connection_pool_maxsize = connections
    # Retries are the queue's business: urllib3's own would wait inside a worker thread.
    configuration.retries = 0
    return kubernetes.client.ApiClient(configuration)


class Writer:
    """Makes the writes of one operator. Safe to share between threads, as the client below it is."""

    def __init__(self, client: kubernetes.client.ApiClient, *, user_agent: str) -> None:
        client.set_default_header("User-Agent", user_agent)
        self._api = kubernetes.client.CustomObjectsApi(client)

    def hold(self, kind: KindName, body: Body) -> Result:
        """Put our finalizer on."""
        operations = hold_patch(body)
        return self._patch(kind, body, operations, JSON_PATCH) if operations else Written(body, sent=False)

    def release(self, kind: KindName, body: Body) -> Result:
        """Take our finalizer off and put a Build's finished label on."""
        operations = release_patch(kind, body)
        return self._patch(kind, body, operations, JSON_PATCH) if operations else Written(body, sent=False)

    def write_status(self, kind: KindName, body: Body, status: Mapping[str, Any]) -> Result:
        """Make the status what `status` says, unless it is that already."""
        patch = status_patch(body, status)
        if patch is None:
            return Written(body, sent=False)
        result = self._patch(kind, body, patch, MERGE_PATCH, subresource="status")
        if isinstance(result, Written):
            lost = merge_patch(result.body.get("status") or {}, without_nulls(status))
            return Written(result.body, pruned=tuple(sorted(name for name, value in lost.items() if value is not None)))
        return result

    def delete(self, kind: KindName, body: Body) -> Result:
        """Delete the object if it is still what `body` says it is."""
        _, namespace, name = key_of(kind, body)
        same = {"uid": uid_of(body), "resourceVersion": version_of(body)}
        result = self._call(
            self._api.delete_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            PLURALS[kind],
            name,
            body={"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": same},
            _request_timeout=TIMEOUT,
        )
        return Gone() if isinstance(result, Written) else result

    def read(self, key: Key) -> Result:
        """Read one object as it is now."""
        return self._call(
            self._api.get_namespaced_custom_object,
            GROUP,
            VERSION,
            key.namespace,
            PLURALS[key.kind],
            key.name,
            _request_timeout=TIMEOUT,
        )

    def pages(self, kind: KindName, namespaces: tuple[str, ...], selector: str = "") -> Iterator[list[Body] | Refused]:
        """List a kind in pages, everywhere or in the given namespaces. A refusal is the last thing that comes."""
        for namespace in namespaces or ("",):
            token = ""
            while True:
                result = self._page(kind, namespace, selector, token)
                if not isinstance(result, Written):
                    message = result.message if isinstance(result, Refused) else f"{type(result).__name__} of a list"
                    yield Refused(f"cannot list {PLURALS[kind]}: {message}")
                    return
                yield [{"kind": kind, **item} for item in result.body.get("items") or ()]
                token = (result.body.get("metadata") or {}).get("continue") or ""
                if not token:
                    break

    def post_event(self, body: Mapping[str, Any]) -> Result:
        """Create an Event; a conflict says that it exists."""
        create = self._api.create_namespaced_custom_object
        namespace = body["metadata"]["namespace"]
        return self._call(create, *EVENTS, namespace, "events", body, _request_timeout=TIMEOUT)

    def repeat_event(self, namespace: str, name: str, series: Mapping[str, Any]) -> Result:
        """Count an Event once more."""
        return self._call(
            self._api.patch_namespaced_custom_object,
            *EVENTS,
            namespace,
            "events",
            name,
            {"series": series},
            _content_type=MERGE_PATCH,
            _request_timeout=TIMEOUT,
        )

    def missing_kinds(self) -> tuple[str, ...] | Refused:
        """Return the CRDs that the API server does not serve, in the version that this operator speaks."""
        result = self._call(self._api.get_api_resources, GROUP, VERSION, _request_timeout=TIMEOUT)
        match result:
            case Written(body=resources):
                served = {item.name for item in getattr(resources, "resources", None) or ()}
            case Gone():
                served = set()
            case Refused():
                return result
            case Conflict():
                return Refused("the API server answered a read with a conflict")
        return tuple(f"{plural}.{GROUP}" for plural in PLURALS.values() if plural not in served)

    def cluster_version(self) -> Result:
        """Ask for /version; what it says is the body."""

        def ask() -> Any:
            version = kubernetes.client.VersionApi(self._api.api_client)
            # As it comes: two fields are wanted, and the client's model refuses an answer that lacks any other.
            answer = version.get_code(_preload_content=False, _request_timeout=TIMEOUT)
            return json.loads(answer.data)

        try:
            return self._call(ask)
        except ValueError:
            return Refused("the answer is no JSON: something before the API server answers in its place")

    def _page(self, kind: KindName, namespace: str, selector: str, token: str) -> Result:
        options = {"label_selector": selector, "limit": PAGE, "_continue": token, "_request_timeout": TIMEOUT}
        if namespace:
            list_one = self._api.list_namespaced_custom_object
            return self._call(list_one, GROUP, VERSION, namespace, PLURALS[kind], **options)
        return self._call(self._api.list_cluster_custom_object, GROUP, VERSION, PLURALS[kind], **options)

    def _patch(self, kind: KindName, body: Body, patch: Any, content_type: str, *, subresource: str = "") -> Result:
        api = self._api
        call = api.patch_namespaced_custom_object_status if subresource else api.patch_namespaced_custom_object
        _, namespace, name = key_of(kind, body)
        # The client would send a dict as it likes and a list as a merge patch: the type is always named.
        return self._call(
            call,
            GROUP,
            VERSION,
            namespace,
            PLURALS[kind],
            name,
            patch,
            _content_type=content_type,
            _request_timeout=TIMEOUT,
        )

    def _call(self, call: Any, *arguments: Any, **options: Any) -> Result:
        try:
            answer = call(*arguments, **options)
        except kubernetes.client.ApiException as error:
            return _refusal(error)
        except urllib3.exceptions.HTTPError as error:
            return Refused(f"no answer from the API server: {type(error).__name__}")
        if isinstance(answer, str):
            return Refused("the answer is no JSON: something before the API server answers in its place")
        return Written(answer)


def _refusal(error: kubernetes.client.ApiException) -> Result:
    match error.status:
        case 409:
            return Conflict()
        case 422 if _failed_test(error):
            return Conflict()
        case 404:
            return Gone()
        case _:
            reason, message = _explanation(error)
            wait = (error.headers or {}).get("Retry-After", "")
            return Refused(
                f"the API server answered {error.status} {reason}: {message}",
                retry_after=min(float(wait), 300.0) if wait.isdecimal() else 0.0,
            )


def _failed_test(error: kubernetes.client.ApiException) -> bool:
    """A JSON patch whose test failed, and a status that the schema refuses, are both 422; only the second is for good.

    They are told apart by the causes, which validation errors have and failed tests have not.
    """
    try:
        details = json.loads(error.body or "{}").get("details") or {}
    except (ValueError, AttributeError):
        return True
    return not details.get("causes")


def _explanation(error: kubernetes.client.ApiException) -> tuple[str, str]:
    try:
        status = json.loads(error.body or "{}")
        return str(status.get("reason") or error.reason), str(status.get("message") or "")[:500]
    except (ValueError, AttributeError):
        return str(error.reason), str(error.body or "")[:200]
