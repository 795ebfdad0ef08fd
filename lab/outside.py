"""A running lab seen from outside: its control surface, its AWS, and what an object says of itself. For demo, benches, chaos and tests."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Any

import boto3


def control(info: Mapping[str, Any], method: str, route: str, body: Any = None) -> Any:
    """Ask the control surface; its JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{info['control']}{route}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def aws(info: Mapping[str, Any], service: str, region: str | None = None) -> Any:
    """A new client of the lab's AWS, in its own region or another one."""
    client_of: Any = boto3.client  # its types know services by literal name only
    return client_of(
        service,
        endpoint_url=info["aws"],
        region_name=region or info["region"],
        aws_access_key_id="lab",
        aws_secret_access_key="lab",
    )


def condition(body: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of a type; an empty one when it is not there."""
    return next((each for each in body.get("status", {}).get("conditions", ()) if each["type"] == kind), {})
