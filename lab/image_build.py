"""One image build with the engine's classic builder, which every Docker since 20.10 has. Used by `images.py`."""

from __future__ import annotations

import io
import os
import re
import tarfile
import time
from collections.abc import Iterable, Mapping

import docker
import docker.errors

from lab.command import PROGRESS_EVERY, Progress
from lab.errors import LabError

INPUTS = "buildcache.dev/inputs"
"""Label with the hash of everything an image is made of."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
TAIL = 30


def context(files: Mapping[str, bytes], executable: Iterable[str] = ()) -> bytes:
    """A tar of these files that is the same whenever they are: the builder's cache looks at modes and owners too."""
    buffer = io.BytesIO()
    names = set(executable)
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name in names else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def build(
    client: docker.DockerClient,
    name: str,
    context: bytes,
    inputs: str,
    arguments: Mapping[str, str],
    progress: Progress,
) -> None:
    """Build and tag; LabError with the end of the output when it fails."""
    proxies = {key: os.environ[key] for key in PROXIES if key in os.environ}
    output: list[str] = []
    step, said = "", time.monotonic()
    try:
        events = client.api.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            tag=name,
            labels={INPUTS: inputs},
            buildargs={**proxies, **arguments},
            # The own dockerd has no bridge; and proxies and package mirrors may listen on loopback.
            network_mode="host",
            rm=True,
            forcerm=True,
            decode=True,
        )
        for event in events:
            text = str(event.get("stream") or event.get("error") or "").rstrip()
            output += [text] if text else []
            if "error" in event:
                raise LabError(f"building image {name} failed:\n" + "\n".join(output[-TAIL:]))
            if match := re.match(r"Step (\d+/\d+) : (.{0,60})", text):
                step = f"step {match[1]}, {match[2]}"
            if time.monotonic() - said > PROGRESS_EVERY:
                said = time.monotonic()
                progress(f"image {name}: {step}")
    except docker.errors.DockerException as error:
        raise LabError(f"building image {name} failed: {error}\n" + "\n".join(output[-TAIL:])) from error
