"""The cluster and the logs as the commands see them: Builds through a kubeconfig, lines through the caller's own AWS credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import kubernetes
import urllib3

from buildcache.api.meta import GROUP, VERSION
from buildcache.aws import task_logs
from buildcache.aws.clients import Session
from buildcache.core.errors import Denied, Rejected, Unavailable

_TIMEOUT = (5.0, 20.0)


class Trouble(Exception):
    """Something that the person at the terminal must mend; the message says what."""


class Cluster(Protocol):
    """Where Builds are."""

    def build(self, name: str) -> Mapping[str, Any] | None:
        """Read a Build, None when there is none of that name. Raises Trouble."""
        ...

    def cancel(self, name: str) -> None:
        """Set spec.cancel of a Build. Raises Trouble."""
        ...


class Logs(Protocol):
    """Where the lines of its containers are."""

    def page(self, region: str, group: str, stream: str, token: str | None) -> tuple[tuple[str, ...], str | None]:
        """Read what came after the token, and the token after that. A stream that is not there yet has no lines. Raises Trouble."""
        ...

    def last(self, region: str, group: str, stream: str) -> str:
        """Read the last line; empty when there is none, or when it cannot be read: it is only shown beside something else."""
        ...


class KubernetesCluster:
    """A namespace of the cluster that a kubeconfig names."""

    def __init__(self, context: str | None = None, namespace: str | None = None) -> None:
        try:
            client = kubernetes.config.new_client_from_config(context=context)
            contexts, active = kubernetes.config.list_kube_config_contexts()
        except kubernetes.config.ConfigException as error:
            raise Trouble(f"no cluster to talk to: {error}; set KUBECONFIG to a kubeconfig") from error
        chosen = next((each for each in contexts if each["name"] == context), active)
        self.namespace: str = namespace or chosen["context"].get("namespace") or "default"
        client.configuration.retries = 2
        self._api = kubernetes.client.CustomObjectsApi(client)

    def build(self, name: str) -> Mapping[str, Any] | None:
        """GET."""
        return self._call(self._api.get_namespaced_custom_object, name)

    def cancel(self, name: str) -> None:
        """PATCH."""
        found = self._call(
            self._api.patch_namespaced_custom_object,
            name,
            {"spec": {"cancel": True}},
            _content_type="application/merge-patch+json",
        )
        if found is None:
            raise Trouble(f"there is no Build {name} in namespace {self.namespace}")

    def _call(self, call: Any, name: str, *arguments: Any, **options: Any) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = call(
                GROUP, VERSION, self.namespace, "builds", name, *arguments, _request_timeout=_TIMEOUT, **options
            )
        except kubernetes.client.ApiException as error:
            if error.status == 404:
                return None
            raise Trouble(f"the API server answered {error.status} {error.reason}") from error
        except urllib3.exceptions.HTTPError as error:
            raise Trouble(f"no answer from the API server: {type(error).__name__}") from error
        return found


class CloudWatch:
    """Log streams, with the credentials of the environment."""

    def __init__(self) -> None:
        self._session = Session(2)

    def page(self, region: str, group: str, stream: str, token: str | None) -> tuple[tuple[str, ...], str | None]:
        """GetLogEvents."""
        try:
            return task_logs.next_lines(self._session.region(region).logs, group, stream, token)
        except Unavailable:
            return (), token  # throttled, most of the time: the next look brings the lines
        except (Denied, Rejected) as error:
            raise Trouble(f"the log {group} {stream} cannot be read: {error}") from error

    def last(self, region: str, group: str, stream: str) -> str:
        """GetLogEvents."""
        try:
            lines = task_logs.last_lines(self._session.region(region).logs, group, stream, 1)
        except (Unavailable, Denied, Rejected):
            return ""
        return lines[-1] if lines else ""
