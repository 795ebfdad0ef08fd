"""The proxy's fault rules name requests as RBAC does."""

from __future__ import annotations

import pytest

from lab.kube_path import operation, parse

BUILDS = "/apis/buildcache.dev/v1alpha1"


@pytest.mark.parametrize(
    ("method", "path", "query", "text"),
    [
        pytest.param("GET", f"{BUILDS}/builds", {}, "list builds", id="list over all namespaces"),
        pytest.param("GET", f"{BUILDS}/builds", {"watch": "true"}, "watch builds", id="watch, as Python says it"),
        pytest.param("GET", f"{BUILDS}/builds", {"watch": "1"}, "watch builds", id="watch, as client-go says it"),
        pytest.param("GET", f"{BUILDS}/namespaces/a/builds", {}, "list builds", id="list in one namespace"),
        pytest.param("GET", f"{BUILDS}/namespaces/a/builds/b", {}, "get builds", id="one object"),
        pytest.param("PATCH", f"{BUILDS}/namespaces/a/builds/b", {}, "patch builds", id="metadata patch"),
        pytest.param("PATCH", f"{BUILDS}/namespaces/a/builds/b/status", {}, "patch builds/status", id="status patch"),
        pytest.param("PUT", f"{BUILDS}/namespaces/a/builds/b/status", {}, "update builds/status", id="status update"),
        pytest.param("POST", f"{BUILDS}/namespaces/a/builds", {}, "create builds", id="create"),
        pytest.param("DELETE", f"{BUILDS}/namespaces/a/builds/b", {}, "delete builds", id="delete one"),
        pytest.param("DELETE", f"{BUILDS}/namespaces/a/builds", {}, "deletecollection builds", id="delete all"),
        pytest.param("POST", "/api/v1/namespaces/a/events", {}, "create events", id="core group"),
        pytest.param("GET", "/api/v1/namespaces", {}, "list namespaces", id="namespaces as resources"),
        pytest.param("GET", "/api/v1/namespaces/a", {}, "get namespaces", id="one namespace"),
        pytest.param("PUT", "/api/v1/namespaces/a/finalize", {}, "update namespaces/finalize", id="its subresource"),
        pytest.param("GET", "/api/v1/nodes/status", {}, "get nodes", id="an object that is called status"),
        pytest.param("GET", "/api/v1/namespaces/a/pods/p/log", {}, "get pods/log", id="read a subresource"),
        pytest.param(
            "POST",
            "/api/v1/namespaces/a/serviceaccounts/s/token",
            {},
            "create serviceaccounts/token",
            id="create a subresource",
        ),
        pytest.param(
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/l",
            {},
            "update leases",
            id="a group with dots",
        ),
    ],
)
def test_a_request_is_named_as_rbac_names_it(method: str, path: str, query: dict[str, str], text: str) -> None:
    found = operation(method, path, query)
    assert found is not None
    assert found.text == text
    assert parse(text) == found


@pytest.mark.parametrize(
    "path", ["/", "/version", "/readyz", "/api", "/api/v1", "/apis", "/apis/buildcache.dev/v1alpha1"]
)
def test_discovery_and_health_are_no_operations(path: str) -> None:
    assert operation("GET", path, {}) is None


@pytest.mark.parametrize("text", ["", "patch", "patch ", "PATCH builds", "scale builds", "patch builds status"])
def test_a_rule_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse(text)
