"""Where the lab's programs come from: this machine, an official archive, or a build. Scripts play programs and compiler."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import toolchain
from lab.errors import LabError
from lab.toolchain import archive, go, machine

GO = """#!/bin/sh
[ "$1" = env ] && { echo "$FAKE_GO_VERSION"; exit 0; }
[ -z "$FAKE_GO_FAILS" ] || { echo "cannot find module" >&2; exit 1; }
[ "$GOTOOLCHAIN" = local ] || exit 3
echo "$@" >> "$FAKE_GO_LOG"
[ -z "$FAKE_GO_WAITS_FOR" ] || for second in 1 2 3 4 5 6 7 8 9 10; do
  [ "$(wc -l < "$FAKE_GO_LOG")" -ge "$FAKE_GO_WAITS_FOR" ] && break
  [ $second = 10 ] && { echo "no other build beside this one" >&2; exit 4; }
  sleep 1
done
sleep 0.1
while [ "$1" != -o ]; do shift; done
folder=$2
shift 2
for package; do echo built > "$folder$(basename "${package%/v[0-9]}")"; done
"""
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no archive, and a compiler that writes what it was asked to build into this file."""
    script(tmp_path / "bin" / "go", GO)
    log = tmp_path / "builds"
    log.touch()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_LOG", str(log))
    monkeypatch.setenv("FAKE_GO_VERSION", "go1.26.8")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(archive, "ARCHIVES", ())
    for memory in ("_answered", "_refused"):
        monkeypatch.setattr(archive, memory, set())
    return log


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def program(folder: Path, name: str, says: str) -> Path:
    """A program that answers the question for its version, and no other."""
    question = " ".join(machine.QUESTION.get(name, ("--version",)))
    return script(folder / name, f'#!/bin/sh\n[ "$*" = "{question}" ] && echo "{says}"\n')


def packages(builds: Path) -> list[str]:
    """The last part of each package that was built, command by command."""
    return [name for command in commands(builds) for name in command]


def commands(builds: Path) -> list[list[str]]:
    built = (line.split(" -o ")[1].split()[1:] for line in builds.read_text().splitlines())
    return [[package.rpartition("/")[2] for package in packages] for packages in built]


def test_a_program_is_built_once(builds: Path) -> None:
    lines: list[str] = []
    path = toolchain.ensure("buildctl", lines.append)
    assert path.read_text() == "built\n"
    assert toolchain.ensure("buildctl", lines.append) == path
    assert packages(builds) == ["buildctl"]
    assert [line for line in lines if line.startswith("building buildctl from Go modules (up to 2 min")]
    assert [line for line in lines if line.startswith("building buildctl from Go modules: done in ")]
    assert toolchain.ensure("buildkitd", lines.append) == path.with_name("buildkitd")
    assert packages(builds) == ["buildctl", "buildkitd"]


def test_programs_of_one_module_are_built_by_one_command(builds: Path) -> None:
    paths = toolchain.ensure_all(CONTROL_PLANE, print)
    assert sorted(paths) == sorted(CONTROL_PLANE)
    assert all(path.read_text() == "built\n" and path.name == name for name, path in paths.items())
    assert sorted(commands(builds)) == [["kube-apiserver", "kube-controller-manager", "kubectl"], ["v3"]]


def test_modules_are_built_side_by_side(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each build waits until the other has begun."""
    monkeypatch.setenv("FAKE_GO_WAITS_FOR", "2")
    assert set(toolchain.ensure_all(("etcd", "kube-apiserver"), print)) == {"etcd", "kube-apiserver"}


def test_two_labs_that_start_at_once_build_once(builds: Path) -> None:
    found: list[Path] = []
    lines: list[str] = []
    builders = [threading.Thread(target=lambda: found.append(toolchain.ensure("etcd", lines.append))) for _ in range(3)]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert packages(builds) == ["v3"]


def test_who_waits_for_another_lab_is_told(builds: Path) -> None:
    lines: list[str] = []
    module = toolchain.MODULES["etcd"]
    lock = toolchain.cache_folder() / "tools" / f".{module.name}.lock"
    waiter = threading.Thread(target=lambda: toolchain.ensure("etcd", lines.append))
    with toolchain.locked(lock, "etcd", print):
        waiter.start()
        until = time.monotonic() + 30
        while "etcd: being made already, waiting for it" not in lines:
            assert time.monotonic() < until, lines
            time.sleep(0.01)
    waiter.join()
    assert packages(builds) == ["v3"]


def test_a_failed_build_says_why_and_leaves_nothing_that_looks_built(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GO_FAILS", "yes")
    with pytest.raises(
        LabError, match=r"building etcd from Go modules failed: exit code 1 of .*tools/etcd\ncannot find module"
    ):
        toolchain.ensure("etcd", print)
    assert not [path for path in (toolchain.cache_folder() / "tools").iterdir() if path.is_dir()]
    monkeypatch.delenv("FAKE_GO_FAILS")
    assert toolchain.ensure("etcd", print).exists()


def test_what_a_killed_builder_left_is_removed(builds: Path) -> None:
    left = toolchain.cache_folder() / "tools" / ".etcd-abandoned"
    left.mkdir(parents=True)
    toolchain.ensure("etcd", print)
    assert not left.exists()


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "tools.go"])
def test_a_new_pin_is_another_build(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = toolchain.MODULES["etcd"]
    before = toolchain.fingerprint(module)
    (tmp_path / "etcd").mkdir()
    for file in ("go.mod", "go.sum", "tools.go"):
        content = (go.TOOLS / "etcd" / file).read_bytes()
        (tmp_path / "etcd" / file).write_bytes(content + b"// new" if file == name else content)
    monkeypatch.setattr(go, "TOOLS", tmp_path)
    assert toolchain.fingerprint(module) != before


@pytest.mark.parametrize("version", ["go1.27.1", "go1.25.9", "go1.260"])
def test_another_line_of_go_is_not_used(builds: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """BuildKit panics when it is built with Go 1.27."""
    monkeypatch.setenv("FAKE_GO_VERSION", version)
    # Whatever would install another Go is this same script, whose answer does not change.
    monkeypatch.setattr(go, "_install_commands", lambda _: [])
    with pytest.raises(LabError, match=r"no working go1\.26"):
        toolchain.ensure("etcd", print)
    assert builds.read_text() == ""


def test_every_program_is_named_in_its_modules_pins() -> None:
    """What `ensure` builds must be what tools.go keeps in go.mod."""
    for module in toolchain.MODULES.values():
        pins = (go.TOOLS / module.name / "tools.go").read_text()
        for _, package in module.programs:
            is_ours = (go.TOOLS / package.removeprefix("lab/tools/") / "main.go").is_file()
            assert is_ours or f'"{package}"' in pins


# From this machine


@pytest.mark.parametrize(
    ("module", "package", "program"),
    [("kubernetes", "k8s.io/kubernetes", "kubectl"), ("etcd", "go.etcd.io/etcd/server/v3", "etcd")],
)
def test_what_is_built_is_of_a_minor_version_that_is_taken_from_elsewhere(
    module: str, package: str, program: str
) -> None:
    pins = (go.TOOLS / module / "go.mod").read_text()
    assert machine.minor(pins.partition(f"require {package} ")[2]) in machine.MINORS[program]


def test_kubectl_of_the_right_minor_version_on_path_is_not_built(builds: Path, tmp_path: Path) -> None:
    kubectl = program(tmp_path / "bin", "kubectl", "Client Version: v1.37.9")
    lines: list[str] = []
    assert toolchain.ensure_all(CONTROL_PLANE, lines.append)["kubectl"] == kubectl
    assert sorted(packages(builds)) == ["kube-apiserver", "kube-controller-manager", "v3"]
    assert f"kubectl: v1.37.9 from PATH ({kubectl})" in lines


@pytest.mark.parametrize("says", ["Client Version: v1.36.9", "Client Version: v1.370.1", "no idea", ""])
def test_kubectl_of_another_minor_version_is_not_used(builds: Path, tmp_path: Path, says: str) -> None:
    program(tmp_path / "bin", "kubectl", says)
    lines: list[str] = []
    assert toolchain.ensure("kubectl", lines.append).read_text() == "built\n"
    assert [line for line in lines if "from PATH is not used" in line and "1.37" in line]


def test_a_program_that_does_not_run_here_is_not_used(builds: Path, tmp_path: Path) -> None:
    script(tmp_path / "bin" / "kubectl", "\x7fELF of another architecture")
    assert toolchain.ensure("kubectl", print).read_text() == "built\n"


def test_the_assets_folder_goes_before_what_was_built(
    builds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain.ensure_all(("etcd", "kube-apiserver"), print)
    folder = tmp_path / "assets"
    etcd = program(folder, "etcd", "etcd Version: 3.7.0")
    server = program(folder, "kube-apiserver", "Kubernetes v1.37.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    lines: list[str] = []
    paths = toolchain.ensure_all(CONTROL_PLANE, lines.append)
    assert (paths["etcd"], paths["kube-apiserver"]) == (etcd, server)
    assert f"etcd: 3.7.0 from KUBEBUILDER_ASSETS ({etcd})" in lines
    program(folder, "etcd", "etcd Version: 3.5.9")
    machine.version_of.cache_clear()
    assert toolchain.ensure("etcd", print) != etcd


def test_a_build_of_the_pin_goes_before_what_happens_to_be_on_path(builds: Path, tmp_path: Path) -> None:
    built = toolchain.ensure("kubectl", print)
    program(tmp_path / "bin", "kubectl", "Client Version: v1.37.9")
    assert toolchain.ensure("kubectl", print) == built


@pytest.mark.parametrize("name", ["registry", "buildctl"])
def test_programs_whose_exact_version_matters_are_not_taken_from_path(builds: Path, tmp_path: Path, name: str) -> None:
    program(tmp_path / "bin", name, "v0.1.2")
    assert toolchain.ensure(name, print).read_text() == "built\n"


# From an official archive


def packed(*names: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
        link = tarfile.TarInfo("controller-tools/envtest/kube-scheduler")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return written.getvalue()


WHOLE = packed("etcd", "kube-apiserver", "kubectl")


@contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads, listener.block_on_close = True, False
    threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_address[1]}/envtest.tar.gz"
    finally:
        listener.shutdown()
        listener.server_close()


def gives(body: bytes, length: int | None = None) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        # Who asks only whether the archive is there hangs up.
        try:
            handler.wfile.write(body)
        except OSError:
            handler.close_connection = True

    return answer


def pin(monkeypatch: pytest.MonkeyPatch, url: str, body: bytes = WHOLE) -> None:
    wanted = archive.Archive(
        "envtest-test", url, hashlib.sha512(body).hexdigest(), ("etcd", "kube-apiserver", "kubectl")
    )
    monkeypatch.setattr(archive, "ARCHIVES", (wanted,))


def test_an_archive_within_reach_is_downloaded_once_and_only_the_rest_is_built(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    with server(gives(WHOLE)) as url:
        pin(monkeypatch, url)
        paths = toolchain.ensure_all(CONTROL_PLANE, lines.append)
    assert [paths[name].read_text() for name in ("etcd", "kube-apiserver", "kubectl")] == [
        "etcd",
        "kube-apiserver",
        "kubectl",
    ]
    assert paths["etcd"].stat().st_mode & 0o111
    assert packages(builds) == ["kube-controller-manager"]
    assert len([line for line in lines if "downloading http://127.0.0.1" in line]) == 1
    assert [line for line in lines if line.startswith("etcd, kube-apiserver, kubectl: downloaded and checked in")]
    # The server is gone now.
    assert toolchain.ensure_all(CONTROL_PLANE, lines.append) == paths
    assert sorted(path.name for path in paths["etcd"].parent.iterdir()) == ["etcd", "kube-apiserver", "kubectl"]


def test_the_rest_is_built_while_the_archive_is_downloaded(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server holds its answer back until the compiler runs."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(WHOLE)))
        handler.end_headers()
        until = time.monotonic() + 20
        while not builds.read_text() and time.monotonic() < until:
            time.sleep(0.01)
        try:
            handler.wfile.write(WHOLE if builds.read_text() else b"")
        except OSError:
            handler.close_connection = True

    with server(answer) as url:
        pin(monkeypatch, url)
        paths = toolchain.ensure_all(("etcd", "kube-controller-manager"), print)
    assert paths["etcd"].read_text() == "etcd"
    assert packages(builds) == ["kube-controller-manager"]


def refuses(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


def hangs_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.close()


@pytest.mark.parametrize(
    ("answer", "pinned", "says"),
    [
        pytest.param(refuses, WHOLE, "HTTP Error 404", id="not there"),
        pytest.param(hangs_up, WHOLE, "", id="hangs up"),
        pytest.param(gives(WHOLE), b"another", "its sha512 is", id="another content"),
        pytest.param(gives(WHOLE[:-9], len(WHOLE)), WHOLE, "", id="ends early"),
        pytest.param(gives(b"no archive"), b"no archive", "not a gzip file", id="right checksum of no archive"),
        pytest.param(
            gives(packed("etcd")), packed("etcd"), "there is no kube-apiserver, kubectl", id="programs missing"
        ),
    ],
)
def test_an_archive_that_is_not_what_it_should_be_is_never_used(
    builds: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[http.server.BaseHTTPRequestHandler], None],
    pinned: bytes,
    says: str,
) -> None:
    lines: list[str] = []
    with server(answer) as url:
        pin(monkeypatch, url, pinned)
        paths = toolchain.ensure_all(("etcd", "kubectl"), lines.append)
    assert {path.read_text() for path in paths.values()} == {"built\n"}
    told = [line for line in lines if "the official archive cannot be had" in line]
    assert len(told) == 1
    assert says in told[0]
    assert "building from Go modules instead" in told[0]
    assert not [
        path for path in (toolchain.cache_folder() / "tools").iterdir() if "envtest" in path.name and path.is_dir()
    ]


def test_an_archive_out_of_reach_costs_no_more_than_the_time_limit_and_is_asked_for_once(
    builds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and says nothing: as a name that never resolves, or a firewall that drops."""
    monkeypatch.setattr(archive, "ANSWERS_WITHIN", 0.3)
    release = threading.Event()
    asked: list[str] = []

    def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        release.wait(60)

    lines: list[str] = []
    with server(silent) as url:
        pin(monkeypatch, url)
        paths = toolchain.ensure_all(CONTROL_PLANE, lines.append)
        toolchain.ensure("kubectl", lines.append)
        release.set()
    assert {path.read_text() for path in paths.values()} == {"built\n"}
    assert len(asked) == 1
    assert [line for line in lines if f"{url} did not answer within 0.3 s" in line]


def test_archives_are_asked_at_the_same_time(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answers only when the other was asked as well."""
    asked: set[str] = set()
    both = threading.Event()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.add(handler.path)
        if len(asked) == 2:
            both.set()
        if not both.wait(20):
            handler.send_error(504)
            return
        gives(packed(handler.path.strip("/")))(handler)

    with server(answer) as url:
        base = url.rpartition("/")[0]
        names = ("etcd", "kube-controller-manager")
        monkeypatch.setattr(archive, "ANSWERS_WITHIN", 30)
        monkeypatch.setattr(
            archive,
            "ARCHIVES",
            [
                archive.Archive(name, f"{base}/{name}", hashlib.sha512(packed(name)).hexdigest(), (name,))
                for name in names
            ],
        )
        paths = toolchain.ensure_all(names, print)
    assert {name: path.read_text() for name, path in paths.items()} == {name: name for name in names}


def test_a_download_that_stalls_is_given_up(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SILENT_FOR", 0.3)
    release = threading.Event()

    def stalls(handler: http.server.BaseHTTPRequestHandler) -> None:
        gives(WHOLE[:20], len(WHOLE))(handler)
        handler.wfile.flush()
        release.wait(60)

    with server(stalls) as url:
        pin(monkeypatch, url)
        path = toolchain.ensure("etcd", print)
        release.set()
    assert path.read_text() == "built\n"


def test_a_download_that_crawls_is_given_up(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ENDS_WITHIN", 0.2)

    def crawls(handler: http.server.BaseHTTPRequestHandler) -> None:
        gives(b"", 10_000)(handler)
        try:
            for _ in range(10_000):
                handler.wfile.write(b".")
                time.sleep(0.02)
        except OSError:
            handler.close_connection = True

    lines: list[str] = []
    with server(crawls) as url:
        pin(monkeypatch, url)
        assert toolchain.ensure("etcd", lines.append).read_text() == "built\n"
    assert [line for line in lines if "only 0 MiB in 0 s" in line]


def test_the_pinned_archives_hold_each_program_in_the_minor_version_that_the_lab_takes() -> None:
    official = archive._official("arm64")
    for program, minors in machine.MINORS.items():
        (holder,) = (found for found in official if program in found.programs)
        assert program == "etcd" or machine.minor(holder.name) in minors
    assert all(len(bytes.fromhex(found.sha512)) == 64 for found in (*official, *archive._official("amd64")))
