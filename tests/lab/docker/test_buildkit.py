"""BuildKit in a task, each time in a new container with an empty root, against a real registry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lab.ecs.docker_runtime import OUT_OF_MEMORY
from tests.lab.docker.engine import Engine, Result, after, shell

pytestmark = pytest.mark.docker

DOCKERFILE = """\
ARG BASE_IMAGE
FROM $BASE_IMAGE AS tools
RUN sleep 0.5; echo tools >/tools
FROM $BASE_IMAGE AS app
COPY --from=tools /tools /tools
COPY main.txt /main.txt
RUN cat /tools /main.txt >/app
"""


def build(engine: Engine, image: str, *, main: str = "one", dockerfile: str = DOCKERFILE, **more: Any) -> Result:
    """Build and push `image` with the cache `<registry>/cache:web.buildcache` as the operator would."""
    ref = f"{engine.registry.address}/cache:web.buildcache"
    options = "mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    command = [
        *("build", "--progress", "plain", "--frontend", "dockerfile.v0"),
        *("--local", "context=/workspace/src", "--local", "dockerfile=/workspace/src"),
        *("--opt", f"build-arg:BASE_IMAGE={engine.images.base}"),
        *("--output", f"type=image,name={engine.registry.address}/{image},push=true"),
        *("--export-cache", f"type=registry,ref={ref},{options}", "--import-cache", f"type=registry,ref={ref}"),
        *("--metadata-file", "/workspace/out/metadata.json"),
        *("--debug-json-cache-metrics", "/workspace/out/metrics.json"),
    ]
    source = f"mkdir -p /workspace/src /workspace/out; cat >/workspace/src/Dockerfile <<'E'\n{dockerfile}E\n"
    return engine.run(
        shell("fetch", f"{source}echo {main} >/workspace/src/main.txt", essential=False),
        {
            "name": "build",
            "image": engine.images.buildkit,
            "entryPoint": ["buildctl-daemonless.sh"],
            "command": command,
            "privileged": True,
            "essential": False,
            "linuxParameters": {"initProcessEnabled": True},
            **after("fetch", "SUCCESS"),
            **more,
        },
        shell(
            "report",
            "tail -n1 /workspace/out/metrics.json; echo; tr -d '\\n' </workspace/out/metadata.json",
            **after("build", "COMPLETE"),
        ),
        seconds=120,
    )


def metrics(result: Result) -> dict[str, int]:
    assert result.exit_codes["build"] == 0, "\n".join(result.logs["build"])
    found: dict[str, int] = json.loads(result.logs["report"][0])
    return found


def test_a_second_build_in_a_new_container_comes_whole_from_the_registry(engine: Engine) -> None:
    cold = metrics(build(engine, "web:1"))
    assert cold["user_cached"] == 0
    warm_build = build(engine, "web:2")
    warm = metrics(warm_build)
    assert warm["user_cached"] == warm["user_cacheable"] == cold["user_cacheable"] == 4, "all but the FROM"
    assert "cache.manifest" in json.loads(warm_build.logs["report"][-1])

    changed = metrics(build(engine, "web:3", main="two"))
    assert changed["user_cached"] == 2, "the tools and their copy"


def test_a_dockerfile_that_fails_ends_with_its_own_exit_code(engine: Engine) -> None:
    result = build(engine, "bad:1", dockerfile="ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN echo hopeless; exit 7\n")
    assert result.exit_codes["build"] == 1
    assert any("exit code: 7" in line for line in result.logs["build"])


def test_T55_a_step_of_a_build_counts_for_the_memory_of_its_container(engine: Engine) -> None:
    greedy = "ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x$x; done\n"
    result = build(engine, "greedy:1", dockerfile=greedy, memory=400)
    assert result.exit_codes["build"] not in (0, None)
    assert result.reasons["build"] in (OUT_OF_MEMORY, None)


def test_a_build_that_is_stopped_leaves_nothing(engine: Engine) -> None:
    dockerfile = "ARG BASE_IMAGE\nFROM $BASE_IMAGE\nRUN sleep 600\n"
    task = engine.start_task(
        shell("fetch", "true", essential=False),
        {
            "name": "build",
            "image": engine.images.buildkit,
            "entryPoint": ["sh", "-c"],
            "command": [
                f"mkdir /src; printf '%s' \"$D\" >/src/Dockerfile; exec buildctl-daemonless.sh build --progress plain "
                f"--frontend dockerfile.v0 --local context=/src --local dockerfile=/src "
                f"--opt build-arg:BASE_IMAGE={engine.images.base}"
            ],
            "environment": [{"name": "D", "value": dockerfile}],
            "privileged": True,
            "linuxParameters": {"initProcessEnabled": True},
            "stopTimeout": 5,
        },
    )
    engine.line(task, "build", "RUN sleep 600")
    task.stop("UserInitiated", "cancelled")
    assert engine.ended(task).exit_codes["build"] in (137, 143)
