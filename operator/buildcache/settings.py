"""Environment → one frozen value, once, by `__main__`. AWS settings are the SDK's own and are not here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildcache import __version__

PREFIX = "BUILDCACHE_"
NAMES = ("CLUSTER_ID", "RUNNER_IMAGE", "NAMESPACES", "WORKERS", "LOG_FORMAT", "LOG_LEVEL", "METRICS_PORT", "PROBE_PORT")
IMAGE = f"ghcr.io/buildcache-dev/buildcache-operator:{__version__}"
"""The operator's own released image, which is also what `fetch` and `report` run in."""

LogLevel = Literal["debug", "info", "warning", "error"]

_CLUSTER_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting that the operator cannot run with; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator can be told."""

    cluster_id: str
    """Part of every name, token and owner tag: two clusters in one AWS account must differ in it, and it must not change."""

    runner_image: str = IMAGE
    namespaces: tuple[str, ...] = ()
    """The namespaces that are watched; empty: all."""

    workers: int = 16
    """Passes at a time, and so the limit of AWS calls at a time."""

    log_format: Literal["json", "text"] = "json"
    log_level: LogLevel = "info"
    metrics_port: int = 9090
    probe_port: int = 8080


def read(environment: Mapping[str, str], *, terminal: bool) -> Settings:
    """Read all settings; SettingsError names the first variable that is wrong and what it should be.

    `terminal`: whether people read the log, which decides its form when nothing else does.
    """
    values = {name: environment.get(PREFIX + name, "").strip() for name in NAMES}
    known = {PREFIX + name for name in NAMES}
    if unknown := sorted(name for name in environment if name.startswith(PREFIX) and name not in known):
        raise SettingsError(f"{unknown[0]} is no setting; there are {', '.join(sorted(known))}")
    if not values["CLUSTER_ID"]:
        raise SettingsError(
            f"{PREFIX}CLUSTER_ID is required: a name for this Kubernetes cluster, such as 'prod-eu'. It becomes part of the"
            " names and owner tags of everything the operator makes in AWS, must differ between clusters that share an AWS"
            " account, and must never change afterwards: what was made under another name is not seen as ours."
        )
    if not _CLUSTER_ID.fullmatch(values["CLUSTER_ID"]):
        raise SettingsError(
            f"{PREFIX}CLUSTER_ID must be 1 to 32 lower-case letters, digits and inner hyphens; not {values['CLUSTER_ID']!r}"
        )
    return Settings(
        cluster_id=values["CLUSTER_ID"],
        runner_image=values["RUNNER_IMAGE"] or IMAGE,
        namespaces=_namespaces(values["NAMESPACES"]),
        workers=_number("WORKERS", values["WORKERS"], default=16, least=2, most=64),
        log_format=_log_format(values["LOG_FORMAT"], terminal),
        log_level=_log_level(values["LOG_LEVEL"]),
        metrics_port=_number("METRICS_PORT", values["METRICS_PORT"], default=9090, least=1, most=65535),
        probe_port=_number("PROBE_PORT", values["PROBE_PORT"], default=8080, least=1, most=65535),
    )


def probe_port(environment: Mapping[str, str]) -> int:
    """Return the probe port, also when other settings are wrong; its default when it is wrong itself."""
    try:
        return _number(
            "PROBE_PORT", environment.get(PREFIX + "PROBE_PORT", "").strip(), default=8080, least=1, most=65535
        )
    except SettingsError:
        return 8080


def _namespaces(value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise SettingsError(f"{PREFIX}NAMESPACES must be namespaces with commas between them; {name!r} is none")
    return names


def _number(name: str, value: str, *, default: int, least: int, most: int) -> int:
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise SettingsError(f"{PREFIX}{name} must be a whole number from {least} to {most}; not {value!r}")
    return int(value)


def _log_format(value: str, terminal: bool) -> Literal["json", "text"]:
    match value:
        case "":
            return "text" if terminal else "json"
        case "json" | "text":
            return value
        case _:
            raise SettingsError(f"{PREFIX}LOG_FORMAT must be json or text; not {value!r}")


def _log_level(value: str) -> LogLevel:
    match value.lower():
        case "":
            return "info"
        case "debug" | "info" | "warning" | "error" as level:
            return level
        case _:
            raise SettingsError(f"{PREFIX}LOG_LEVEL must be debug, info, warning or error; not {value!r}")
