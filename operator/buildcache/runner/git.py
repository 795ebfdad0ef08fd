"""Source in git: exactly one commit, without history, without submodules, without anything of git left in the tree.

The URL and the revision come from a user. They were checked at admission; they are checked again here because here they meet
a program with options: no value may look like one, only two transports are spoken, nothing in the repository is executed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .failure import NOT_ALLOWED, NOT_FOUND, OTHER, UNSAFE, FetchError, one_line

PROTOCOLS = ("https", "ssh")
_URL = r"({protocols})://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{{1,5}})?)?(/[A-Za-z0-9._~+%-]+)+/?"
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{4,63}")

# What of our own environment git may see: how to reach the network and which certificates to trust, nothing else.
_PASSED = (
    "PATH",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
)
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "fetch.fsckObjects=true",
    "transfer.credentialsInUrl=die",
    "credential.helper=",
    "gc.auto=0",
    "advice.detachedHead=false",
    # A server that stops talking ends the fetch after a minute instead of the build's time limit.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)
_SSH = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o User=git -o ConnectTimeout=20"

_AUTH = (
    "could not read username",
    "could not read password",
    "authentication failed",
    "permission denied",
    "host key verification failed",
    "returned error: 401",
    "returned error: 403",
    "access denied",
)
_ABSENT = (
    "not found",
    "does not exist",
    "does not appear to be a git repository",
    "couldn't find remote ref",
    "not our ref",
    "returned error: 404",
    "returned error: 410",
    "no such remote ref",
    "unadvertised object",
)


class Git:
    """One fetch from one repository. `scratch` takes git's own files, `tree` nothing but the commit's files."""

    def __init__(self, scratch: Path, tree: Path, protocols: Sequence[str] = PROTOCOLS) -> None:
        self._tree = tree
        self._store = scratch / "git"
        self._home = scratch / "home"
        self._protocols = tuple(protocols)

    def fetch(self, url: str, revision: str) -> str:
        """Puts the files of the revision into the tree; returns the full commit."""
        check_url(url, self._protocols)
        check_revision(revision)
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", "--template=", str(self._store))
            commit = self._get(url, self._resolve(url, revision), revision)
            self._git("--work-tree", str(self._tree), "checkout", "--quiet", "--force", "--detach", commit)
            return commit
        finally:
            shutil.rmtree(self._store, ignore_errors=True)

    def _resolve(self, url: str, revision: str) -> str:
        """The name by which the server gives the revision: a full commit, or the full name of a ref. Tags before branches."""
        if _COMMIT.fullmatch(revision):
            return revision
        names = {}
        for line in self._git("ls-remote", "--quiet", "--", url).splitlines():
            commit, _, name = line.partition("\t")
            names[name] = commit
        for name in (revision, f"refs/{revision}", f"refs/tags/{revision}", f"refs/heads/{revision}"):
            if name in names:
                return name
        if _SHORT_COMMIT.fullmatch(revision):
            return self._resolve_short(url, revision, names)
        raise FetchError(NOT_FOUND, f"there is no commit, tag or branch {revision!r} in {url}")

    def _resolve_short(self, url: str, revision: str, names: Mapping[str, str]) -> str:
        """A shortened commit. Servers give objects by their full name only, so it is looked for at the ends, then in the history."""
        ends = {commit for commit in names.values() if commit.startswith(revision)}
        if len(ends) == 1:
            return ends.pop()
        # The history without files and folders is small; a server that cannot filter sends everything, which is slow but right.
        refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
        self._git("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--filter=tree:0", "--", url, *refs)
        try:
            return self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
        except FetchError:
            message = f"the commit {revision!r} is not in the branches and tags of {url}, or it is ambiguous: give all 40 digits"
            raise FetchError(NOT_FOUND, message) from None
        finally:
            shutil.rmtree(self._store)
            self._git("init", "--quiet", "--bare", "--template=", str(self._store))

    def _get(self, url: str, name: str, revision: str) -> str:
        options = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        self._git("fetch", *options, "--", url, f"+{name}:refs/source")
        try:
            return self._git("rev-parse", "--verify", "--quiet", "refs/source^{commit}").strip()
        except FetchError:
            raise FetchError(NOT_FOUND, f"{revision!r} of {url} is not a commit") from None

    def _git(self, *arguments: str) -> str:
        command = ["git", *(word for setting in _SETTINGS for word in ("-c", setting))]
        if arguments[0] != "init":
            command += ["--git-dir", str(self._store)]
        try:
            done = subprocess.run(
                [*command, *arguments],
                env=self._environment(),
                cwd=self._tree,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        except OSError as error:
            raise FetchError(OTHER, f"git cannot be started: {error.strerror}") from error
        if done.returncode:
            raise _failure(done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")

    def _environment(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        return passed | {
            "HOME": str(self._home),
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": ":".join(self._protocols),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_SSH_COMMAND": _SSH,
        }


def check_url(url: str, protocols: Sequence[str] = PROTOCOLS) -> None:
    """The URL is one of an allowed transport, without user information, query, fragment or anything git reads as an option."""
    pattern = _URL.format(protocols="|".join(map(re.escape, protocols)))
    match = re.fullmatch(pattern, url)
    # Only a file URL, which tests allow, has no host.
    if match is None or (match[2] is None and match[1] != "file") or ".." in re.split(r"[/]|%2[fF]", url):
        allowed = " or ".join(f"{protocol}://host/path" for protocol in protocols)
        raise FetchError(UNSAFE, f"the git URL must be {allowed} without user information, query or fragment")


def check_revision(revision: str) -> None:
    """The revision is the name of a commit, tag or branch, and nothing that git would read as an option, range or pattern."""
    parts = revision.split("/")
    if (
        not _REVISION.fullmatch(revision)
        or ".." in revision
        or "@{" in revision
        or any(part.startswith(".") or part.endswith(".lock") or not part for part in parts)
        or revision.endswith(".")
    ):
        raise FetchError(UNSAFE, f"{revision[:80]!r} cannot be the name of a commit, tag or branch")


def _failure(text: str) -> FetchError:
    """What git says, as an error of ours. Its texts are the only way to tell them apart: every one of them ends with code 128."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("hint:", "warning:"))]
    message = "git: " + one_line(" ".join(lines[-4:]) or "failed without a message")
    lower = text.lower()
    if any(phrase in lower for phrase in _AUTH):
        return FetchError(NOT_ALLOWED, f"{message} (the build has no access; private repositories need the S3 source)")
    if any(phrase in lower for phrase in _ABSENT):
        return FetchError(NOT_FOUND, message)
    return FetchError(OTHER, message)
