"""What the images' maker does at the same time. Their content is tested on a real engine in `docker/test_images.py`."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from lab import images
from lab.images import BUILDKIT, BUILDKIT_PROGRAMS, Images


@pytest.mark.parametrize(
    ("present", "public", "compiles"),
    [
        pytest.param([], False, True, id="it will be built here"),
        pytest.param([], True, False, id="it can be pulled"),
        pytest.param([BUILDKIT], False, False, id="it is there"),
    ],
)
def test_buildkit_compiles_while_the_base_image_is_made(
    monkeypatch: pytest.MonkeyPatch, present: list[str], public: bool, compiles: bool
) -> None:
    compiling = threading.Event()
    beside: list[bool] = []

    def ensure_all(programs: Any, _: Any) -> dict[str, Any]:
        assert programs == BUILDKIT_PROGRAMS
        compiling.set()
        return {}

    def base(_: Images) -> str:
        beside.append(compiling.wait(20 if compiles else 0.1))
        return "base"

    monkeypatch.setattr(images, "answers_publicly", lambda: public)
    monkeypatch.setattr(images, "ensure_all", ensure_all)
    monkeypatch.setattr(images, "push_once", lambda *_: False)
    monkeypatch.setattr(Images, "_base", base)
    monkeypatch.setattr(Images, "_operator", lambda *_: "operator")
    monkeypatch.setattr(Images, "_buildkit", lambda *_: BUILDKIT)
    client: Any = SimpleNamespace(images=SimpleNamespace(list=lambda name: present))
    Images(client, "127.0.0.1:1", print, archives="").ensure()
    assert beside == [compiles]
