"""Writes the CRDs and the field reference from the models; `--check` compares instead and exits 1 when a file is behind.

Run by `make crds` and `make check`.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from buildcache.api.crds import definitions

ROOT = Path(__file__).resolve().parent.parent
HEADER = "# Generated from operator/buildcache/api by `make crds`. Do not edit.\n"


class _Plain(yaml.SafeDumper):
    """Values that stand in several places are written out each time, without YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never an alias."""
        return True


def files() -> Iterator[tuple[Path, str]]:
    """Each generated file with its content."""
    crds = definitions()
    for plural, crd in crds.items():
        text = yaml.dump(crd, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        yield ROOT / "crds" / f"{plural}.yaml", HEADER + text
    yield ROOT / "docs" / "reference.md", reference(crds)


def reference(crds: Mapping[str, Any]) -> str:
    """The field reference as Markdown: a table for each kind's spec and status."""
    lines = [
        "# Field reference",
        "",
        "Generated from the CRDs by `make crds`. What the reasons mean: [reasons.md](reasons.md).",
        "",
    ]
    for crd in crds.values():
        kind, schema = crd["spec"]["names"]["kind"], crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        lines += [f"## {kind}", "", schema.get("description", ""), ""]
        for part in ("spec", "status"):
            lines += [f"### {kind} {part}", "", "| field | type | default | what |", "|---|---|---|---|"]
            lines += [_row(*row) for row in _fields(schema["properties"][part], "")]
            lines.append("")
    return "\n".join(lines)


def _fields(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = node.get("required", ())
    for name, child in node.get("properties", {}).items():
        yield f"{prefix}{name}", child, name in required
        inner, mark = (child["items"], "[].") if child["type"] == "array" else (child, ".")
        yield from _fields(inner, f"{prefix}{name}{mark}")


def _row(path: str, node: Mapping[str, Any], required: bool) -> str:
    kind = node["type"]
    if "enum" in node:
        kind = " \\| ".join(str(value) for value in node["enum"])
    elif kind == "array":
        kind = f"list of {node['items']['type']}, {node.get('minItems', 0)}..{node.get('maxItems', '')}"
    default = "required" if required else _default(node)
    rules = "; ".join(rule["message"] for rule in node.get("x-kubernetes-validations", ()))
    what = " ".join(
        text.replace("|", "\\|").replace("\n", " ")
        for text in (node.get("description", ""), f"({rules})" if rules else "")
        if text
    )
    return f"| `{path}` | {kind} | {default} | {what} |"


def _default(node: Mapping[str, Any]) -> str:
    if "default" not in node or node["default"] in ({}, [], None) or node["type"] == "object":
        return ""
    return f"`{str(node['default']).lower() if isinstance(node['default'], bool) else node['default']}`"


def main() -> int:
    """Writes or compares; the exit code."""
    behind = [path for path, text in files() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in behind:
            print(f"{path.relative_to(ROOT)} is behind the models: run `make crds` and commit")
        return 1 if behind else 0
    for path, text in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
