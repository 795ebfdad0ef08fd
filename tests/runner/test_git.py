"""fetch from git, against a real server over HTTPS (H11 and H12)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from buildcache.runner.failure import NOT_ALLOWED, NOT_FOUND, OTHER, UNSAFE
from buildcache.runner.fetch import Limits
from buildcache.runner.git import Git
from buildcache.runner.workspace import Workspace

from .conftest import Repository, Run
from .git_server import GitServer


def source(url: str, revision: str = "main") -> dict[str, dict[str, str]]:
    return {"git": {"url": url, "revision": revision}}


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("revision", "commit"),
    [
        pytest.param("main", "main", id="a branch"),
        pytest.param("v1", "v1", id="an annotated tag is the commit it names"),
        pytest.param("both", "second", id="a tag wins over a branch of the same name, as in git"),
        pytest.param("refs/heads/both", "side", id="a full name of a ref"),
        pytest.param("heads/side", "side", id="a shortened name of a ref"),
        pytest.param("HEAD", "main", id="the default branch"),
    ],
)
def test_a_revision_by_name(run: Run, workspace: Workspace, repository: Repository, revision: str, commit: str) -> None:
    assert run(source(repository.url, revision)).code == 0
    facts = json.loads((workspace.out / "source.json").read_text())
    assert facts["commit"] == repository.commits[commit]
    assert facts["startedAt"] == "2027-01-15T08:00:00.000Z"
    assert facts["finishedAt"] == "2027-01-15T08:00:01.000Z"


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("digits", [40, 12, 7], ids=["all digits", "twelve digits", "seven digits"])
@pytest.mark.parametrize(
    "commit", ["main", "second", "v1", "side"], ids=["an end", "in the history", "the root", "another branch"]
)
def test_a_revision_by_commit(run: Run, workspace: Workspace, repository: Repository, commit: str, digits: int) -> None:
    full = repository.commits[commit]
    ran = run(source(repository.url, full[:digits]))
    assert ran.code == 0, ran.error
    assert json.loads((workspace.out / "source.json").read_text())["commit"] == full
    assert (workspace.source / "version.txt").read_text() == {
        "main": "three",
        "second": "two",
        "v1": "one",
        "side": "side",
    }[commit]


@pytest.mark.usefixtures("trusted")
def test_the_tree_holds_the_files_and_nothing_of_git(run: Run, workspace: Workspace, repository: Repository) -> None:
    """A .git folder differs from clone to clone: with it in the context, `COPY . .` would never be cached."""
    assert run(source(repository.url)).code == 0
    names = {path.name for path in workspace.source.rglob("*")}
    assert ".git" not in names
    assert list((workspace.source / "sub").iterdir()) == [], "submodules stay empty"
    assert not (workspace.root / ".fetch").exists()


@pytest.mark.usefixtures("trusted")
def test_a_second_attempt_in_the_same_workspace_starts_clean(
    run: Run, workspace: Workspace, repository: Repository
) -> None:
    workspace.source.mkdir(parents=True)
    (workspace.source / "left-over").write_text("x")
    assert run(source(repository.url)).code == 0
    assert not (workspace.source / "left-over").exists()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("path", "revision", "code"),
    [
        pytest.param("/absent.git", "main", NOT_FOUND, id="no such repository"),
        pytest.param("/shop.git", "absent", NOT_FOUND, id="no such branch"),
        pytest.param("/shop.git", "0" * 39 + "1", NOT_FOUND, id="no such commit"),
        pytest.param("/shop.git", "0000001", NOT_FOUND, id="no such short commit"),
        pytest.param("/private/shop.git", "main", NOT_ALLOWED, id="a login is asked for"),
        pytest.param("/forbidden/shop.git", "main", NOT_ALLOWED, id="the server forbids it"),
    ],
)
def test_not_found_differs_from_not_allowed(
    run: Run, git_server: GitServer, repository: Repository, path: str, revision: str, code: int
) -> None:
    ran = run(source(git_server.url + path, revision))
    assert ran.code == code, ran.error
    assert ran.error.startswith("fetch: ")


@pytest.mark.usefixtures("trusted")
def test_a_redirect_to_plain_http_is_not_followed(run: Run, git_server: GitServer) -> None:
    ran = run(source(git_server.url + "/moved/shop.git"))
    assert ran.code == OTHER
    assert "http" in ran.error


def test_an_unknown_certificate_is_refused(run: Run, repository: Repository) -> None:
    ran = run(source(repository.url))
    assert ran.code == OTHER
    assert "certificate" in ran.error


def test_nobody_listens(run: Run) -> None:
    assert run(source("https://127.0.0.1:9/shop.git")).code == OTHER


def test_ssh_without_access_is_one_of_the_known_ends(run: Run) -> None:
    assert run(source("ssh://127.0.0.1:9/shop.git")).code in (OTHER, NOT_ALLOWED)


BAD_URLS = {
    "http": "http://example.com/a.git",
    "git protocol": "git://example.com/a.git",
    "file": "file:///etc",
    "ftp": "ftp://example.com/a.git",
    "transport helper": "ext::sh -c 'touch /tmp/owned'",
    "transport helper in https": "https::https://example.com/a.git",
    "descriptor": "fd::17/a",
    "option": "--upload-pack=touch /tmp/owned",
    "short option": "-u/bin/sh",
    "absolute path": "/etc",
    "relative path": "../a",
    "scp-like": "git@example.com:a/b.git",
    "option as ssh host": "ssh://-oProxyCommand=touch/a",
    "host begins with a dash": "https://-example.com/a",
    "user": "https://user@example.com/a.git",
    "user and password": "https://user:secret@example.com/a.git",
    "token": "https://ghp_0123456789@github.com/acme/shop.git",
    "ssh user": "ssh://root@example.com/a.git",
    "percent-coded user": "https://user%40example.com/a.git",
    "query": "https://example.com/a.git?ref=x",
    "fragment": "https://example.com/a.git#main:../..",
    "parent folder": "https://example.com/a/../b.git",
    "coded parent folder": "https://example.com/a%2f..%2fb.git",
    "line break": "https://example.com/a.git\n--upload-pack=x",
    "trailing line break": "https://example.com/a.git\n",
    "carriage return": "https://example.com/a\r.git",
    "escape sign": "https://example.com/\x1b[2Ja.git",
    "nul": "https://example.com/a\0.git",
    "space": "https://example.com/a b.git",
    "shell": "https://example.com/$(id).git",
    "backtick": "https://example.com/`id`.git",
    "semicolon": "https://example.com/a;id",
    "backslash": "https://example.com\\@evil.example/a",
    "ipv6 zone": "https://[fe80::1%25eth0]/a.git",
    "unicode host": "https://exämple.com/a.git",
    "bad port": "https://example.com:999999/a.git",
    "empty": "",
    "only scheme": "https://",
    "no host": "https:///a.git",
    "no path": "https://example.com",
    "upper-case scheme": "HTTPS://example.com/a.git",
}

BAD_REVISIONS = {
    "option": "--upload-pack=touch /tmp/owned",
    "short option": "-x",
    "dash": "-",
    "empty": "",
    "range": "main..side",
    "reflog": "main@{1}",
    "parent": "main^",
    "ancestor": "main~3",
    "path": "main:Dockerfile",
    "refspec": "+main:refs/heads/owned",
    "pattern": "refs/heads/*",
    "question mark": "v?",
    "bracket": "v[12]",
    "space": "main side",
    "line break": "main\nside",
    "trailing line break": "main\n",
    "nul": "main\0",
    "escape sign": "\x1b[2J",
    "backslash": "main\\side",
    "shell": "$(id)",
    "backtick": "`id`",
    "double slash": "a//b",
    "leading slash": "/main",
    "trailing slash": "main/",
    "lock": "main.lock",
    "lock inside": "a.lock/b",
    "hidden part": "a/.b",
    "trailing dot": "main.",
    "only at": "@",
    "too long": "a" * 256,
    "not ASCII": "größe",
}


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git must not even be started."""

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("git was started")

    monkeypatch.setattr("buildcache.runner.git.subprocess.run", refuse)


@pytest.mark.usefixtures("no_git")
@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_a_bad_url_is_refused_before_git_is_started(run: Run, url: str) -> None:
    ran = run(source(url))
    assert ran.code == UNSAFE
    assert "secret" not in ran.error
    assert "ghp_" not in ran.error + ran.out
    assert ran.error.strip().isprintable()
    assert ran.out.strip().isprintable()


@pytest.mark.usefixtures("no_git")
@pytest.mark.parametrize("revision", BAD_REVISIONS.values(), ids=BAD_REVISIONS)
def test_a_bad_revision_is_refused_before_git_is_started(run: Run, revision: str) -> None:
    ran = run(source("https://example.com/a.git", revision))
    assert ran.code == UNSAFE
    assert ran.error.strip().isprintable()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("context", "dockerfile", "code"),
    [
        pytest.param(".", "Dockerfile", 0, id="the defaults"),
        pytest.param("app", "Dockerfile", 0, id="a folder"),
        pytest.param("./app/", "./Dockerfile", 0, id="spelt loosely"),
        pytest.param(".", "app/Dockerfile", 0, id="a Dockerfile in a folder"),
        pytest.param(".", "Dockerfile.linked", 0, id="a link that stays inside"),
        pytest.param("absent", "Dockerfile", 4, id="no such folder"),
        pytest.param("Dockerfile", "Dockerfile", 4, id="the folder is a file"),
        pytest.param(".", "Absent", 4, id="no such Dockerfile"),
        pytest.param(".", "app", 4, id="the Dockerfile is a folder"),
        pytest.param("..", "Dockerfile", 5, id="a parent folder"),
        pytest.param("app/../..", "Dockerfile", 5, id="a parent folder on the way"),
        pytest.param("/etc", "passwd", 5, id="an absolute folder"),
        pytest.param(".", "/etc/passwd", 5, id="an absolute Dockerfile"),
        pytest.param(".", "../../etc/passwd", 5, id="a Dockerfile outside"),
        pytest.param("escape", "passwd", 5, id="a folder that is a link to outside"),
        pytest.param(".", "escape/passwd", 5, id="through a link to outside"),
        pytest.param(".", "Dockerfile.escape", 5, id="a Dockerfile that is a link to outside"),
        pytest.param(".", "loop", 5, id="a link to itself"),
        pytest.param(".", "a" * 300, 5, id="a name that no file system takes"),
    ],
)
def test_context_and_dockerfile_are_inside_the_source(
    run: Run, repository: Repository, context: str, dockerfile: str, code: int
) -> None:
    ran = run(source(repository.url, "v1"), CONTEXT_DIR=context, DOCKERFILE=dockerfile)
    assert ran.code == code, ran.error


def test_nothing_of_the_users_configuration_is_used(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a configuration file nor variables that git reads: they could add transports, hooks and credentials."""
    home, hook = tmp_path / "home", tmp_path / "hook-ran"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f'[core]\n\tsshCommand = touch {hook}\n[url "file:///nowhere"]\n\tinsteadOf = file://\n'
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSH_COMMAND", f"touch {hook}")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(tmp_path))
    (tmp_path / "post-checkout").write_text(f"#!/bin/sh\ntouch {hook}\n")
    os.chmod(tmp_path / "post-checkout", 0o755)
    tree = tmp_path / "tree"
    tree.mkdir()
    commit = Git(tmp_path / "scratch", tree, ("file",)).fetch(f"file://{repository.path}", "main")
    assert commit == repository.commits["main"]
    assert (tree / "version.txt").read_text() == "three"
    assert not hook.exists()


def test_other_protocols_are_open_to_function_arguments_only(run: Run, repository: Repository) -> None:
    assert run(source(f"file://{repository.path}"), GIT_ALLOW_PROTOCOL="file").code == UNSAFE
    assert run(source(f"file://{repository.path}"), limits=Limits(git_protocols=("file",))).code == 0
