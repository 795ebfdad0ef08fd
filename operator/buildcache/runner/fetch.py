"""`fetch`: the first container of a build task. Source into the workspace, registry logins beside it, or an exit code that says why not.

Everything it is told comes as environment variables of the task's override: SOURCE (JSON of the Build's source), CONTEXT_DIR,
DOCKERFILE and REGISTRIES (hosts, joined by commas); FURTHER_REGISTRIES comes with the task definition.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from . import archive, aws
from .failure import OTHER, UNSAFE, FetchError, one_line
from .git import PROTOCOLS, Git
from .workspace import Workspace, check_tree, relative_path

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Limits:
    """What a task may be asked to do. Only tests have others."""

    git_protocols: tuple[str, ...] = PROTOCOLS
    max_bytes: int = archive.MAX_BYTES


def main(
    environment: Mapping[str, str],
    workspace: Workspace,
    *,
    clock: Callable[[], float],
    limits: Limits | None = None,
    s3: Callable[[], S3Client] = aws.s3_client,
    ecr: Callable[[str | None, bool], ECRClient] = aws.ecr_client,
) -> int:
    """Does the whole step; returns the exit code, after one line on standard error when it is not 0."""
    limits = limits or Limits()
    started = clock()
    try:
        workspace.prepare()
        # Now already: the report tells when the task began also when there is no source.
        workspace.write_source({"startedAt": _time(started)})
        context_dir, dockerfile = environment.get("CONTEXT_DIR", "."), environment.get("DOCKERFILE", "Dockerfile")
        kind, source = _source(environment.get("SOURCE", ""))
        archive.empty(workspace.source)
        print(f"fetch: {_described(kind, source)}", flush=True)
        commit = None
        if kind == "git":
            commit = Git(workspace.scratch, workspace.source, limits.git_protocols).fetch(
                _text(source, "url"), _text(source, "revision")
            )
        elif kind == "s3":
            _unpack(source, workspace, s3, limits)
        else:
            _write_inline(source, workspace, context_dir, dockerfile)
        check_tree(workspace.source, context_dir, dockerfile)
        hosts, further = _hosts(environment, "REGISTRIES"), _hosts(environment, "FURTHER_REGISTRIES")
        workspace.write_logins(aws.logins(hosts, further, ecr, warn=_warn))
        finished = clock()
        workspace.write_source({"commit": commit, "startedAt": _time(started), "finishedAt": _time(finished)})
        print(f"fetch: ready after {finished - started:.1f} s" + (f", commit {commit}" if commit else ""), flush=True)
    except FetchError as error:
        return _fail(error.code, str(error))
    except OSError as error:
        return _fail(OTHER, f"{error.strerror or type(error).__name__}: {error.filename or 'workspace'}")
    finally:
        shutil.rmtree(workspace.scratch, ignore_errors=True)
    return 0


def _hosts(environment: Mapping[str, str], name: str) -> list[str]:
    return [host for host in environment.get(name, "").split(",") if host]


def _warn(message: str) -> None:
    print(f"fetch: {one_line(message)}", flush=True)


def _fail(code: int, message: str) -> int:
    print(f"fetch: {one_line(message)}", file=sys.stderr, flush=True)
    return code


def _source(text: str) -> tuple[str, Mapping[str, Any]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FetchError(OTHER, "SOURCE is no JSON: this image and the operator do not fit together") from error
    if isinstance(data, dict) and len(data) == 1:
        kind, value = next(iter(data.items()))
        if kind in ("git", "s3", "inline") and isinstance(value, dict):
            return kind, value
    raise FetchError(OTHER, "SOURCE names none of git, s3, inline: this image and the operator do not fit together")


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    if not isinstance(value, str):
        raise FetchError(OTHER, f"SOURCE has no text {key!r}: this image and the operator do not fit together")
    return value


def _described(kind: str, source: Mapping[str, Any]) -> str:
    if kind == "git":
        return one_line(f"git {source.get('url')} at {source.get('revision')}")
    return one_line(f"archive {source.get('uri')}") if kind == "s3" else "inline Dockerfile"


def _unpack(source: Mapping[str, Any], workspace: Workspace, s3: Callable[[], S3Client], limits: Limits) -> None:
    uri, version = _text(source, "uri"), source.get("versionID")
    _, key = aws.split_uri(uri)
    archive.check_kind(key)
    packed = workspace.scratch / "source"
    aws.download(s3(), uri, version if isinstance(version, str) else None, packed, max_bytes=limits.max_bytes)
    archive.extract(packed, key, workspace.source, max_bytes=limits.max_bytes)


def _write_inline(source: Mapping[str, Any], workspace: Workspace, context_dir: str, dockerfile: str) -> None:
    path = workspace.source / relative_path(context_dir, "contextDir") / relative_path(dockerfile, "dockerfile")
    if path == workspace.source:
        raise FetchError(UNSAFE, "dockerfile must name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(source, "dockerfile"), encoding="utf-8")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
