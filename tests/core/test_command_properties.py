"""Flags and commands for any valid specs: total, deterministic, and no user value ever becomes an option."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, example, given, reject, settings
from hypothesis import strategies as st

from buildcache.api.build import Build
from buildcache.api.executor import Executor
from buildcache.api.stores import Export
from buildcache.core import engines, flags
from buildcache.core.flags import Flags, Refused, Stores

from . import specs
from .specs import OFF, ON, build, executor, export

OPTIONS: Mapping[str, tuple[set[str], set[str]]] = {
    "BuildKit": (
        {"--no-cache"},
        {"--export-cache", "--import-cache", "--opt", "--progress", "--frontend", "--local", "--output"}
        | {"--metadata-file", "--debug-json-cache-metrics", "--trace"},
    ),
    "Docker": (
        {"--no-cache", "--push", "--provenance=false"},
        {"--cache-to", "--cache-from", "--no-cache-filter", "--platform", "--progress", "--file", "--target"}
        | {"--build-arg", "--label", "--tag", "--metadata-file"},
    ),
}
"""Options without and with a value that the BuildKit engines' commands may hold."""


def parse(engine: str, command: Sequence[str]) -> dict[str, list[str]]:
    """The command as its program reads it: option → values. Fails on anything that is not an option that we mean to send."""
    found: dict[str, list[str]] = defaultdict(list)
    if engine == "Kaniko":
        program, *items = command
        assert program == "/kaniko/executor"
        for item in items:
            name, _, value = item.partition("=")
            assert re.fullmatch("--[a-z-]+", name), item
            found[name].append(value)
        return found
    switches, valued = OPTIONS[engine]
    items = list(command[2 if engine == "BuildKit" else 3 :])
    while items:
        item = items.pop(0)
        if item in switches:
            found[item].append("")
        elif item in valued:
            found[item].append(items.pop(0))
        else:
            found[""].append(item)
    assert found[""] == [] if engine == "BuildKit" else len(found[""]) == 1
    return found


def attributes(value: str) -> dict[str, str]:
    """A value of comma-separated attributes, as BuildKit reads it: one CSV record."""
    (fields,) = csv.reader([value])
    return dict(field.split("=", 1) for field in fields)


def sent(engine: str, parsed: Mapping[str, list[str]], kind: str) -> dict[str, str]:
    """Build arguments or labels that arrive at the engine."""
    if engine == "BuildKit":
        options = (value.split("=", 1) for value in parsed["--opt"])
        prefix = f"{kind}:"
        return {name.removeprefix(prefix): value for name, value in options if name.startswith(prefix)}
    return dict(value.split("=", 1) for value in parsed[f"--{kind}"])


def render(executor: Executor, export: Export, build: Build, stores: Stores) -> Flags:
    found = flags.render(executor, export, build.spec, stores)
    if isinstance(found, Refused):
        reject()
    return found


everything = (specs.executors(), specs.exports(), specs.builds(), specs.stores)


@given(*everything)
def test_total_and_deterministic(executor: Executor, export: Export, build: Build, stores: Stores) -> None:
    found = flags.render(executor, export, build.spec, stores)
    if isinstance(found, Refused):
        assert found.problems
        assert all(problem.path.startswith("spec.") and problem.message for problem in found.problems)
    assert flags.render(executor, export, Build.model_validate(build.to_json()).spec, stores) == found


@given(*everything)
def test_values_arrive_whole_and_add_no_option(
    executor: Executor, export: Export, build: Build, stores: Stores
) -> None:
    found = render(executor, export, build, stores)
    parsed = parse(executor.engine, engines.command(executor, build.spec, found))
    spec, engine = build.spec, executor.engine
    namespace = executor.buildkit.mount_namespace if executor.buildkit else None
    own = {"BUILDKIT_CACHE_MOUNT_NS": namespace} if namespace else {}
    assert sent(engine, parsed, "build-arg") == {each.name: each.value for each in spec.build_args} | own
    assert sent(engine, parsed, "label") == dict(spec.output.labels)
    images = list(spec.output.images) if spec.output.push else []
    if engine == "BuildKit":
        assert [attributes(value) for value in parsed["--output"]] == (
            [{"type": "image", "name": ",".join(images), "push": "true"}] if images else []
        )
    elif engine == "Docker":
        assert (parsed["--tag"], len(parsed["--push"])) == (images, int(bool(images)))
    else:
        assert parsed["--destination"] == (images or ["image.invalid/unpushed:latest"])


@given(*everything)
def test_the_cache_part_says_what_was_meant(executor: Executor, export: Export, build: Build, stores: Stores) -> None:
    found = render(executor, export, build, stores)
    assume(executor.engine != "Kaniko")
    parsed = parse(executor.engine, engines.command(executor, build.spec, found))
    exports = parsed["--export-cache"] + parsed["--cache-to"]
    imports = [attributes(value) for value in parsed["--import-cache"] + parsed["--cache-from"]]
    assert len(exports) == int(found.writes) <= 1
    for value in exports:
        given_ = attributes(value)
        assert set(given_) <= {
            "type", "ref", "mode", "image-manifest", "oci-mediatypes", "ignore-error", "compression",
            "compression-level", "force-compression",
        }  # fmt: skip
        assert (given_["type"], given_["ref"], given_["mode"]) == ("registry", found.ref, export.mode)
    refs = [value["ref"] for value in imports]
    assert refs == ([*dict.fromkeys([found.ref, *build.spec.cache.import_from])] if found.reads else [])
    assert all(set(value) <= {"type", "ref", "ignore-error"} and value["type"] == "registry" for value in imports)


@settings(suppress_health_check=[HealthCheck.filter_too_much])  # ECR, which it needs, refuses half of the exports
@given(*everything)
def test_off_changes_the_cache_part_and_nothing_else(
    executor: Executor, export: Export, build: Build, stores: Stores
) -> None:
    on = render(executor, export, build, replace(stores, repository_uri=specs.URI, registry=True))
    off = render(executor, export, build, replace(stores, repository_uri=specs.URI, registry=False, scope=None))
    commands = [engines.command(executor, build.spec, each) for each in (on, off)]
    rests = []
    for command, each in zip(commands, (on, off), strict=True):
        (start,) = [index for index in range(1, 4) if command[index : index + len(each.args)] == each.args][:1]
        rests.append((*command[:start], *command[start + len(each.args) :]))
    assert rests[0] == rests[1]
    assert (off.mounts, off.volumes, off.ref, off.reads, off.writes) == ((), (), None, False, False)
    assert not {name for name in off.environment if name != "DOCKER_BUILDKIT"}


@pytest.mark.parametrize("engine", ["BuildKit", "Docker", "Kaniko"])
def test_off_leaves_no_word_of_a_cache(engine: str) -> None:
    own = executor(engine)
    found = render(own, export(), build(), OFF)
    command = [item for item in engines.command(own, build().spec, found) if item not in ("--cache=false",)]
    assert [item for item in command if "cache" in item] == (
        ["--debug-json-cache-metrics"] if engine == "BuildKit" else []
    )
    assert "cache" in " ".join(engines.command(own, build().spec, render(own, export(), build(), ON)))


@given(st.lists(specs.services, unique=True, min_size=2, max_size=8), specs.suffixes, st.none() | specs.platforms)
@example(["team/web", "team-web", "team\\web", "team web"], "buildcache", None)
@example(["w" * 200, "w" * 201, "w" * 117], "buildcache", None)
@example(["日本", "日本語", "."], "s" * 64, ["linux/arm/v7"])
def test_tags_are_legal_and_no_two_services_share_one(
    services: list[str], suffix: str, platforms: list[str] | None
) -> None:
    tags = [flags.tag(service, suffix, platforms[0] if platforms else None) for service in services]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", tag) and tag.endswith(f".{suffix}") for tag in tags)
    assert len(set(tags)) == len(services)
