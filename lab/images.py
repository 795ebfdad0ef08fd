"""The images that tasks of the lab run: the operator's own, BuildKit's, the base image of the sample, and Docker's client when asked.

Called by `lab.cloud` when registry and engine are up. Each image is pulled where a public registry answers, else built here
under the same name, and left alone as long as what it is made of stays the same (a label holds the hash of that). What was
done is said through `progress`, so that nobody takes a stand-in for the real thing.
"""

from __future__ import annotations

import hashlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from lab import debian, image_archive, image_build, loaded_images, toolchain
from lab.command import Progress
from lab.errors import LabError
from lab.files import PROJECT
from lab.registry_push import push_once
from lab.toolchain import cache_folder, ensure, ensure_all, locked, source_folder

BASE = "debian:12"
BUILDKIT = "moby/buildkit:v0.32.2"
BUILDKIT_PROGRAMS = ("buildctl", "buildkitd")
DOCKER = "docker:29.1.3-cli"
PYTHON = "buildcache-lab/python"
OPERATOR = "buildcache-operator"

PUBLIC_REGISTRY = "https://registry-1.docker.io/v2/"
PUBLIC_ANSWERS_WITHIN = 4.0
DOCKERFILES = Path(__file__).parent / "dockerfiles"
KEPT = 3
"""Older operator images of other source trees that stay, for labs that run beside this one."""


@dataclass(frozen=True, slots=True)
class ImageNames:
    """What to write into task definitions and build arguments."""

    operator: str
    buildkit: str
    base: str
    """With the registry's address: a build pulls it by this name."""


class Images:
    """The images of one engine. `on_push` is called when the registry got the base image for the first time.

    `label`: whose the images of LAB_IMAGES are, as `Dockerd.label`.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        registry: str,
        progress: Progress,
        *,
        on_push: Callable[[], None] = lambda: None,
        archives: str | None = None,
        label: str = "lab",
    ) -> None:
        self._client = client
        self._registry = registry
        self._progress = progress
        self._on_push = on_push
        self._archives = os.environ.get("LAB_IMAGES", "") if archives is None else archives
        self._label = label
        self._public: bool | None = None

    def ensure(self) -> ImageNames:
        """Everything is there, by these names."""
        self._load()
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lab-images")
        try:
            if not self._client.images.list(name=BUILDKIT) and not self._is_public():
                # It will be built here: compiling it takes as long as making the base image, and does not need it.
                pool.submit(ensure_all, BUILDKIT_PROGRAMS, self._progress)
            base = self._base()
            name = f"{self._registry}/{BASE}"
            if push_once(self._client, BASE, name):
                self._on_push()
            return ImageNames(operator=self._operator(base), buildkit=self._buildkit(base), base=name)
        finally:
            # What failed is not to wait for a compiler. What is still needed, `_buildkit` asks for again.
            pool.shutdown(wait=False)

    def operator(self) -> str:
        """The name of the operator's image, which is there; without the others that tasks need."""
        return self._operator(self._base())

    def provide(self, name: str) -> bool:
        """Have an image that a task names and the engine lacks; False when it is none of those that the lab can make."""
        if name != DOCKER:
            return False
        self._docker(self._base())
        return True

    def _load(self) -> None:
        """Load the archives of `docker save` that LAB_IMAGES names; what they bring goes with the lab."""
        for name in filter(None, self._archives.split(":")):
            try:
                with open(name, "rb") as file:
                    tags = loaded_images.load(self._client, file, self._label)
            except (OSError, docker.errors.DockerException) as error:
                raise LabError(f"cannot load {name} (LAB_IMAGES names it): {error}") from error
            self._progress(f"image {', '.join(tags) or name}: loaded from {name}")

    def _base(self) -> str:
        """What the base image is made of; its id, where it was not made here."""
        bundle = debian.host_bundle()
        inputs = fingerprint(debian.RECIPE, bundle)
        if found := self._usable(BASE, inputs):
            return found
        with self._alone():
            if found := self._usable(BASE, inputs) or self._pull(BASE):
                return found
            if self._load_kept(BASE, inputs):
                return inputs
            began = time.monotonic()
            changes = ['CMD ["bash"]', f"LABEL {image_build.INPUTS}={inputs}"]
            with debian.root_archive(cache_folder() / "images", bundle, self._progress) as archive:
                self._client.api.import_image_from_data(archive, repository="debian", tag="12", changes=changes)
            image_archive.keep(self._client, BASE, inputs)
            self._progress(f"image {BASE}: built here with debootstrap in {time.monotonic() - began:.0f} s")
            return inputs

    def _buildkit(self, base: str) -> str:
        bundle, dockerfile = debian.host_bundle(), (DOCKERFILES / "buildkit.Dockerfile").read_bytes()
        inputs = fingerprint(base, dockerfile, bundle, toolchain.fingerprint(toolchain.MODULES["buildkit"]))
        if self._usable(BUILDKIT, inputs):
            return BUILDKIT
        with self._alone():
            if self._usable(BUILDKIT, inputs) or self._pull(BUILDKIT) or self._load_kept(BUILDKIT, inputs):
                return BUILDKIT
            module = source_folder("buildkit", "github.com/moby/buildkit", self._progress)
            programs = list(ensure_all(BUILDKIT_PROGRAMS, self._progress).values())
            programs.append(module / "examples" / "buildctl-daemonless" / "buildctl-daemonless.sh")
            files = {"Dockerfile": dockerfile, "ca-certificates.crt": bundle}
            files |= {program.name: program.read_bytes() for program in programs}
            self._build(BUILDKIT, files, inputs, BASE, executable=[program.name for program in programs])
            image_archive.keep(self._client, BUILDKIT, inputs)
            return BUILDKIT

    def _docker(self, base: str) -> None:
        bundle, dockerfile = debian.host_bundle(), (DOCKERFILES / "docker.Dockerfile").read_bytes()
        inputs = fingerprint(base, dockerfile, bundle, toolchain.fingerprint(toolchain.MODULES["buildx"]))
        with self._alone():
            if self._usable(DOCKER, inputs) or self._pull(DOCKER) or self._load_kept(DOCKER, inputs):
                return
            plugin = ensure("docker-buildx", self._progress)
            files = {"Dockerfile": dockerfile, "ca-certificates.crt": bundle, plugin.name: plugin.read_bytes()}
            self._build(DOCKER, files, inputs, BASE, executable=[plugin.name])
            image_archive.keep(self._client, DOCKER, inputs)

    def _operator(self, base: str) -> str:
        python_files = {
            "Dockerfile": (DOCKERFILES / "python.Dockerfile").read_bytes(),
            "ca-certificates.crt": debian.host_bundle(),
        }
        inputs = fingerprint(base, *python_files.values())
        python = f"{PYTHON}:{inputs}"
        files = operator_files(PROJECT)
        # Named by content, so that labs of two source trees in one engine do not take each other's image.
        content = fingerprint(python, *(part for name, data in files.items() for part in (name, data)))
        name = f"{OPERATOR}:{content}"
        if self._usable(name, content):
            return name
        with self._alone():
            if self._usable(name, content):
                return name
            if not self._usable(python, inputs) and not self._load_kept(python, inputs):
                self._build(python, python_files, inputs, BASE)
                image_archive.keep(self._client, python, inputs)
            self._build(name, files, content, python)
            self._forget_old(OPERATOR, name)
            self._forget_old(PYTHON, python)
            return name

    def _alone(self) -> AbstractContextManager[None]:
        """Two labs in the user's Docker, or on one cache folder, must not make the same thing at the same time.

        Whoever gets in looks again: the other lab may have made it.
        """
        return locked(cache_folder() / "images" / ".lock", "images", self._progress)

    def _usable(self, name: str, inputs: str) -> str | None:
        """An image that is there and still right: these inputs, of which it is made, or the id of one not made here."""
        try:
            image = self._client.images.get(name)
        except docker.errors.ImageNotFound:
            return None
        made_of = image.labels.get(image_build.INPUTS)
        if made_of not in (None, inputs):
            return None
        self._progress(f"image {name}: cached" if made_of else f"image {name}: the engine has it already")
        return inputs if made_of else str(image.id)

    def _load_kept(self, name: str, inputs: str) -> bool:
        began = time.monotonic()
        if not image_archive.load(self._client, name, inputs):
            return False
        self._progress(f"image {name}: built here before, loaded in {time.monotonic() - began:.1f} s")
        return True

    def _pull(self, name: str) -> str | None:
        """The id of the image pulled from its public registry; None when that cannot be."""
        if not self._is_public():
            return None
        began = time.monotonic()
        try:
            image = self._client.images.pull(name)
        except docker.errors.DockerException as error:
            self._progress(f"image {name}: cannot be pulled ({error}): building it here")
            return None
        self._progress(f"image {name}: pulled in {time.monotonic() - began:.1f} s")
        return str(image.id)

    def _is_public(self) -> bool:
        if self._public is None:
            self._public = answers_publicly()
            if not self._public:
                self._progress(f"no public registry answers ({PUBLIC_REGISTRY}): images are built here")
        return self._public

    def _build(
        self,
        name: str,
        files: Mapping[str, bytes],
        inputs: str,
        base: str,
        executable: list[str] | None = None,
    ) -> None:
        began = time.monotonic()
        self._progress(f"image {name}: building it here")
        context = image_build.context(files, executable or ())
        image_build.build(self._client, name, context, inputs, {"BASE_IMAGE": base}, self._progress)
        self._progress(f"image {name}: built here in {time.monotonic() - began:.1f} s")

    def _forget_old(self, repository: str, current: str) -> None:
        """Remove older images of this repository but for a few; one that a container uses stays by itself."""
        images = self._client.images.list(name=repository, filters={"label": image_build.INPUTS})
        images.sort(key=lambda image: str(image.attrs["Created"]), reverse=True)
        for image in [image for image in images if current not in image.tags][KEPT:]:
            for tag in image.tags:
                try:
                    self._client.images.remove(tag)
                except docker.errors.APIError:
                    continue


def operator_files(project: Path) -> dict[str, bytes]:
    """What the project's Dockerfile copies, as its .dockerignore says; in a fixed order."""
    names = ["Dockerfile", "pyproject.toml", "uv.lock"]
    source = project / "operator" / "buildcache"
    names += [str(path.relative_to(project)) for path in sorted(source.rglob("*")) if path.is_file()]
    return {name: (project / name).read_bytes() for name in names if "__pycache__" not in name}


def fingerprint(*parts: str | bytes) -> str:
    """One short name for all of this content."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def answers_publicly(url: str = PUBLIC_REGISTRY, within: float = PUBLIC_ANSWERS_WITHIN) -> bool:
    """Whether the public registry is reachable from here; it answers 401 to those who do not say who they are."""
    try:
        with urllib.request.urlopen(url, timeout=within) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
