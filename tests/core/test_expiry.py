"""When a finished Build goes, and which never does."""

from datetime import timedelta
from typing import Any

import pytest

from buildcache.core.expiry import expires_at
from buildcache.core.status import timestamp
from tests.fakes.builds import START


def finished(ttl: str | None, **metadata: Any) -> dict[str, Any]:
    spec = {} if ttl is None else {"ttlAfterFinished": ttl}
    return {"metadata": metadata, "spec": spec, "status": {"completionTime": timestamp(START)}}


def test_after_its_time() -> None:
    assert expires_at(finished("90m")) == START + timedelta(minutes=90)
    assert expires_at(finished("14d")) == START + timedelta(days=14)


@pytest.mark.parametrize(
    "body",
    [
        finished(None),
        finished("soon"),
        finished("999999999d"),
        {"metadata": {}, "spec": {"ttlAfterFinished": "1s"}},
        {"metadata": {}, "spec": {"ttlAfterFinished": "1s"}, "status": {"completionTime": "never"}},
    ],
    ids=["no ttl", "no duration", "longer than time", "not finished", "no time"],
)
def test_without_a_readable_time_it_stays(body: dict[str, Any]) -> None:
    assert expires_at(body) is None


@pytest.mark.parametrize(
    "mark",
    [
        {"annotations": {"argocd.argoproj.io/tracking-id": "app:group/Build:ns/web"}},
        {"labels": {"argocd.argoproj.io/instance": "app"}},
        {"labels": {"app.kubernetes.io/instance": "app"}},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}},
        {"labels": {"helm.toolkit.fluxcd.io/name": "apps"}},
        {"labels": {"app.kubernetes.io/managed-by": "Helm"}},
        {"annotations": {"meta.helm.sh/release-name": "shop"}},
    ],
    ids=lambda mark: next(iter(next(iter(mark.values())))),
)
def test_what_a_gitops_tool_tracks_stays(mark: dict[str, Any]) -> None:
    assert expires_at(finished("1s", **mark)) is None


def test_other_marks_do_not_keep_it() -> None:
    labels = {"app.kubernetes.io/managed-by": "pipeline", "team": "a"}
    assert expires_at(finished("1s", labels=labels)) is not None
