"""The lab's registry: a real one, which begins with what an earlier lab kept for it."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from lab.process import Processes
from lab.registry import Registry, copy_storage

BLOB = "docker/registry/v2/blobs/sha256/aa/aabb/data"
LINK = "docker/registry/v2/repositories/debian/_manifests/tags/12/current/link"
UPLOAD = "docker/registry/v2/repositories/debian/_uploads/1/data"


def write(storage: Path, name: str, text: str) -> None:
    (storage / name).parent.mkdir(parents=True, exist_ok=True)
    (storage / name).write_text(text)


def test_a_copied_storage_shares_blobs_but_not_the_names_that_may_move(tmp_path: Path) -> None:
    source, copied = tmp_path / "source", tmp_path / "copy"
    for name, text in ((BLOB, "layer"), (LINK, "sha256:aabb"), (UPLOAD, "half a layer")):
        write(source, name, text)
    copy_storage(source, copied)
    assert (copied / BLOB).samefile(source / BLOB)
    write(copied, LINK, "sha256:ccdd")
    assert (source / LINK).read_text() == "sha256:aabb"
    assert not (copied / UPLOAD).exists()


@pytest.mark.lab
def test_what_was_kept_is_there_in_the_next_lab(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    for number in (1, 2):
        folder = tmp_path / f"lab-{number}"
        processes = Processes(folder, folder / "processes", folder / "logs")
        registry = Registry(folder / "registry", processes, print, seed=seed)
        address = registry.start()
        try:
            if number == 1:
                started = urllib.request.Request(f"http://{address}/v2/debian/blobs/uploads/", b"", method="POST")
                with urllib.request.urlopen(started, timeout=10) as answer:
                    place = answer.headers["Location"]
                digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
                put = urllib.request.Request(f"{place}&digest={digest}", b"hello", method="PUT")
                put.add_header("Content-Type", "application/octet-stream")
                with urllib.request.urlopen(put, timeout=10) as answer:
                    assert answer.status == 201
                registry.keep_as_seed()
            with urllib.request.urlopen(f"http://{address}/v2/debian/blobs/{digest}", timeout=10) as answer:
                assert answer.read() == b"hello"
        finally:
            registry.stop()
        assert not list((folder / "processes").iterdir())


@pytest.mark.lab
def test_a_registry_that_was_down_is_there_again_with_all_it_held(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry", Processes(tmp_path, tmp_path / "processes", tmp_path / "logs"), print)
    url = f"http://{registry.start()}/v2/_catalog"
    write(registry.storage, LINK, "sha256:aabb")
    try:
        with registry.down(), pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(url, timeout=5)
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert b"debian" in answer.read()
    finally:
        registry.stop()
