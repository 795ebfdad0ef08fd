"""The images of the lab in a real engine and a real registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import image_archive, loaded_images
from lab.errors import LabError
from lab.images import BASE, BUILDKIT, DOCKER, Images
from lab.registry_push import ids_in_registry
from tests.lab.docker.engine import Engine

pytestmark = pytest.mark.docker


def test_images_that_are_there_are_left_alone(engine: Engine) -> None:
    said: list[str] = []
    pushed: list[bool] = []
    before = {name: engine.client.images.get(name).id for name in (BASE, BUILDKIT, engine.images.operator)}
    images = Images(
        engine.client, engine.registry.address, said.append, on_push=lambda: pushed.append(True), archives=""
    )
    assert images.ensure() == engine.images
    assert {name: engine.client.images.get(name).id for name in before} == before
    assert pushed == []
    assert len(said) == 3
    assert all(line.endswith((": cached", ": the engine has it already")) for line in said), said


def test_the_base_of_the_registry_is_the_base_of_the_engine(engine: Engine) -> None:
    assert engine.client.images.get(BASE).id in ids_in_registry(engine.images.base)
    assert ids_in_registry(f"{engine.registry.address}/no/such:image") == set()


def test_archives_of_LAB_IMAGES_are_loaded(engine: Engine, tmp_path: Path) -> None:
    name = "lab-test/loaded:1"
    engine.client.images.get(BASE).tag(name)
    archive = tmp_path / "image.tar"
    with archive.open("wb") as file:
        for chunk in engine.client.images.get(name).save(named=name):
            file.write(chunk)
    engine.client.images.remove(name)
    said: list[str] = []
    try:
        Images(engine.client, engine.registry.address, said.append, archives=str(archive)).ensure()
        assert engine.client.images.get(name).id == engine.client.images.get(BASE).id
        assert name in said[0]
        assert said[0].endswith(f": loaded from {archive}")
    finally:
        loaded_images.remove(engine.client, "lab")


def test_k10_what_LAB_IMAGES_brought_goes_with_its_lab(engine: Engine, tmp_path: Path) -> None:
    names = ["lab-test/loaded:2", "lab-test/there-before:1"]
    for number, name in enumerate(names):
        engine.client.images.get(BASE).tag(name)
        with (tmp_path / f"{number}.tar").open("wb") as file:
            for chunk in engine.client.images.get(name).save(named=name):
                file.write(chunk)
    archives = f"{tmp_path}/0.tar:{tmp_path}/1.tar"
    engine.client.images.remove(names[0])
    try:
        for label in ("one", "other"):
            Images(engine.client, engine.registry.address, print, archives=archives, label=label).ensure()
        loaded_images.remove(engine.client, "other")
        assert tags(engine) == {*names}, "it was there when the other lab loaded it"
        loaded_images.remove(engine.client, "one")
        assert tags(engine) == {names[1]}, "what the engine had stays, and so does the base of the same content"
        assert engine.client.images.get(BASE)
        assert engine.client.images.list(name=loaded_images.MARKS) == []
    finally:
        for name in tags(engine):
            engine.client.images.remove(name)


def tags(engine: Engine) -> set[str]:
    return {tag for image in engine.client.images.list() for tag in image.tags if tag.startswith("lab-test/")}


def test_an_archive_that_is_none_is_named_in_the_error(engine: Engine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(b"no image")
    for path in (broken, tmp_path / "missing.tar"):
        with pytest.raises(LabError, match=rf"cannot load {path} \(LAB_IMAGES names it\)"):
            Images(engine.client, engine.registry.address, print, archives=str(path)).ensure()


def test_an_image_made_here_is_kept_for_the_next_engine(engine: Engine, cache: Path) -> None:
    before = engine.client.images.get(BASE)
    assert not image_archive.load(engine.client, BASE, "inputs")
    image_archive.keep(engine.client, BASE, "older")
    image_archive.keep(engine.client, BASE, "inputs")
    assert [path.name for path in (cache / "images").iterdir()] == ["debian@inputs.tar"]
    assert image_archive.load(engine.client, BASE, "inputs")
    assert engine.client.images.get(BASE).id == before.id


def test_the_operator_image_runs_both_programs_and_not_as_root(engine: Engine) -> None:
    image = engine.client.images.get(engine.images.operator)
    configuration = image.attrs["Config"]
    assert configuration["User"] == "65532:65532"
    assert configuration["Cmd"] == ["python", "-m", "buildcache"]
    assert "/workspace" in configuration["Volumes"]


def test_the_client_of_Docker_is_made_when_a_task_asks_and_nothing_else_is(engine: Engine) -> None:
    assert engine.maker.provide(DOCKER)
    assert not engine.maker.provide("nobody/has:this")
    output = engine.client.containers.run(DOCKER, ["buildx", "version"], entrypoint="docker", remove=True)
    assert b"github.com/docker/buildx" in output
