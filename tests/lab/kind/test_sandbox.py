"""Nothing of the engine that runs a kind node outlives its lab, whoever is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from lab import packages
from lab.dockerd import run_folder
from lab.files import PROJECT, Folder
from lab.kind import sandbox
from lab.kind.keeper import CGROUPS
from lab.kind.warden import CLUSTER_LABEL
from lab.leftovers import end_leftovers
from lab.process import start_time
from tests.lab.world import wait_for

pytestmark = [pytest.mark.docker, pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an engine")]

OWNER = """
import sys, time
from pathlib import Path
from lab.files import Folder
from lab.kind.sandbox import Sandbox
from lab.process import Processes
folder = Folder(Path(sys.argv[1]))
folder.kind.mkdir(parents=True)
engine = Sandbox("node", folder, Processes(folder.path, folder.processes, folder.logs), print, own_network=True)
client = engine.start()
client.api.import_image_from_data(open(sys.argv[2], "rb"), repository="idle", tag="1")
client.networks.create("kind")
container = client.containers.run("idle:1", ["/sleep", "1000"], network="kind", detach=True)
print("up", engine.keeper, flush=True)
time.sleep(1000)
"""


@dataclass(frozen=True)
class Owner:
    """A process that has a sandbox with a container in it."""

    process: subprocess.Popen[str]
    folder: Folder
    keeper: int

    def cgroups(self) -> list[Path]:
        return [*CGROUPS.glob(f"*/{sandbox.cgroup_of(self.folder, 'node')}")]

    def tree(self) -> list[int]:
        """Everything below the keeper."""
        found, more = [], [self.keeper]
        while more:
            found += more
            more = [
                int(child)
                for pid in more
                for listing in Path(f"/proc/{pid}/task").glob("*/children")
                for child in listing.read_text().split()
            ]
        return found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with one program and what it loads."""
    root = tmp_path_factory.mktemp("root")
    program = packages.find("sleep", ["coreutils"], print)
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    files = [str(program), *(word for word in libraries if word.startswith("/"))]
    tar = [
        "tar",
        "--dereference",
        "--absolute-names",
        "--transform",
        f"s,^{program}$,/sleep,",
        "-cf",
        str(root / "idle.tar"),
    ]
    subprocess.run([*tar, *files], check=True)
    return root / "idle.tar"


@pytest.fixture
def owner(tmp_path: Path, image: Path) -> Iterator[Owner]:
    folder = Folder(tmp_path / "lab")
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, folder.path, image], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("up ")), None)
        assert line, "the sandbox did not start"
        yield Owner(process, folder, int(line.split()[1]))
    finally:
        process.kill()
        process.communicate()
        end_leftovers(folder, print)


def test_with_its_owner_everything_goes(owner: Owner) -> None:
    tree, engine = owner.tree(), run_folder(owner.folder, "node-engine")
    assert len(tree) > 4  # keeper, unshare, shell, dockerd, containerd, shim, sleep
    assert owner.cgroups()
    assert engine.exists()
    owner.process.send_signal(signal.SIGKILL)
    wait_for("every process has ended", lambda: all(start_time(pid) is None for pid in tree), timeout=20)
    wait_for("no control group is left", lambda: not owner.cgroups(), timeout=20)
    wait_for("the run-time folder is gone", lambda: not engine.exists(), timeout=20)
    assert str(owner.folder.path) not in Path("/proc/self/mountinfo").read_text()


def test_without_its_keeper_nothing_goes_on_and_the_next_clean_up_takes_the_rest(owner: Owner) -> None:
    tree = owner.tree()
    os.kill(owner.keeper, signal.SIGKILL)
    wait_for("every process has ended", lambda: all(start_time(pid) is None for pid in tree), timeout=20)
    assert owner.cgroups(), "who removed them?"
    owner.process.send_signal(signal.SIGKILL)
    end_leftovers(owner.folder, print)
    assert not owner.cgroups()
    assert not run_folder(owner.folder, "node-engine").exists()


def test_two_run_side_by_side(owner: Owner, tmp_path: Path, image: Path) -> None:
    other = Folder(tmp_path / "other")
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, other.path, image], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("up ") for line in process.stdout)
        for folder in (owner.folder, other):
            client = docker.DockerClient(f"unix://{run_folder(folder, 'node-engine')}/docker.sock")
            assert [each.status for each in client.containers.list()] == ["running"]
            client.close()
    finally:
        process.kill()
        process.communicate()
        end_leftovers(other, print)


def test_a_node_in_the_users_docker_goes_with_the_lab_that_made_it(owner: Owner) -> None:
    """The owner's engine plays the user's."""
    host = f"unix://{run_folder(owner.folder, 'node-engine')}/docker.sock"
    client = docker.DockerClient(host)
    for name in ("ours", "theirs"):
        client.containers.run("idle:1", ["/sleep", "1000"], labels={CLUSTER_LABEL: name}, network="kind", detach=True)
    lab = subprocess.Popen(["sleep", "1000"])
    warden = subprocess.Popen([sys.executable, "-m", "lab.kind.warden", str(lab.pid), host, "ours"], cwd=PROJECT)
    try:
        assert client.containers.list(filters={"label": f"{CLUSTER_LABEL}=ours"})
        lab.send_signal(signal.SIGKILL)
        lab.wait()
        assert warden.wait(timeout=30) == 0
    finally:
        warden.kill()
        lab.kill()
    assert not client.containers.list(all=True, filters={"label": f"{CLUSTER_LABEL}=ours"})
    assert client.containers.list(filters={"label": f"{CLUSTER_LABEL}=theirs"})
    client.close()
