"""Manifests in files: YAML or JSON, several documents, as kubectl takes them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from buildcache.api.build import Build
from buildcache.api.cache import BuildCache
from buildcache.api.meta import API_VERSION, GROUP
from buildcache.api.problems import Problem, problems


class Invalid(Exception):
    """The files cannot be explained; one `path: message` line for each reason."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = tuple(lines)


@dataclass(frozen=True, slots=True)
class Manifests:
    """One cache and its builds, in the order of the files."""

    cache: BuildCache
    builds: tuple[Build, ...]


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a time is a string."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's attribute, copied without timestamps
        first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def load(files: Sequence[Path]) -> Manifests:
    """Reads and validates the files. Raises Invalid with every problem of every object."""
    caches: list[BuildCache] = []
    builds: list[Build] = []
    lines: list[str] = []
    for body in _objects(files):
        try:
            parsed = BuildCache.parse(body) if body.get("kind") == "BuildCache" else Build.parse(body)
        except ValidationError as error:
            lines += (complain(problem, body) for problem in problems(error))
            continue
        known = parsed.model_dump(by_alias=True, mode="json")
        lines += (complain(problem, body) for problem in _unknown(body["spec"], known["spec"], "spec"))
        if isinstance(parsed, BuildCache):
            caches.append(parsed)
        else:
            builds.append(parsed)
    if not lines and len(caches) != 1:
        lines.append(f"kind: one BuildCache is needed, the files hold {len(caches)}")
    if not lines and not builds:
        lines.append("kind: at least one Build is needed, the files hold none")
    if lines:
        raise Invalid(lines)
    return Manifests(caches[0], tuple(builds))


def complain(problem: Problem, body: Mapping[str, Any]) -> str:
    """The problem's line, with the object that has it. One line, whatever the names of fields and objects hold."""
    metadata = body.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    line = f"{problem} ({body['kind']} {name})" if isinstance(name, str) else str(problem)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _unknown(given: Any, known: Any, path: str) -> Iterator[Problem]:
    """Fields that do not exist. kubectl refuses them too; a misspelt option would else be a default in silence."""
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        for name, value in given.items():
            if name in known:
                yield from _unknown(value, known[name], f"{path}.{name}")
            else:
                close = difflib.get_close_matches(str(name), known, 1)
                yield Problem(f"{path}.{name}", "is not a field" + (f": is {close[0]} meant?" if close else ""))
    elif isinstance(given, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(value, other, f"{path}[{index}]")


def _objects(files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    """The objects of our two kinds. Those of other API groups are passed over: samples bring their namespace along."""
    for file in files:
        for document in _documents(file):
            if document is None:
                continue
            if not isinstance(document, Mapping):
                raise Invalid([f"{_name(file)}: holds a document that is not an object"])
            items = document.get("items") if document.get("kind") == "List" else None
            for body in items if isinstance(items, list) else [document]:
                if not isinstance(body, Mapping):
                    raise Invalid([f"{_name(file)}: holds a list with an item that is not an object"])
                version = str(body.get("apiVersion"))
                if version.partition("/")[0] != GROUP:
                    continue
                if version != API_VERSION:
                    raise Invalid([f"apiVersion: must be {API_VERSION}"])
                if body.get("kind") not in ("BuildCache", "Build"):
                    raise Invalid(["kind: must be BuildCache or Build"])
                yield body


def _name(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)


def _documents(file: Path) -> list[Any]:
    name = _name(file)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return list(yaml.load_all(text, Loader=_Loader))
    except OSError as error:
        raise Invalid([f"{name}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise Invalid([f"{name}: is not UTF-8 text"]) from None
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise Invalid([f"{name}: is not YAML{line}: {error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Invalid([f"{name}: is not YAML"]) from None
