"""The overlay for kind asks for what the lab provides."""

import shutil
from pathlib import Path

import pytest
import yaml

from lab.kind import operator_image
from lab.kind.deployment import OVERLAY, SETTINGS
from lab.toolchain import MODULES, fingerprint, go


def test_the_overlay_takes_the_labs_image_and_settings() -> None:
    kustomization = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert f"{image['newName']}:{image['newTag']}" == operator_image.NAME
    (patch,) = kustomization["patches"]
    (container,) = yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]["containers"]
    sources = [source for entry in container["envFrom"] for source in entry.values()]
    assert {source["name"] for source in sources} == {SETTINGS}


def test_a_program_with_sources_of_ours_is_named_by_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    shutil.copytree(go.TOOLS / "kind", tools / "kind")
    monkeypatch.setattr(go, "TOOLS", tools)
    before = fingerprint(MODULES["kind"])
    with (tools / "kind" / "pause" / "main.go").open("a") as source:
        source.write("// changed\n")
    assert fingerprint(MODULES["kind"]) != before
