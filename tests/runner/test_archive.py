"""fetch from S3 (moto), and archives that want out of the tree."""

from __future__ import annotations

import gzip
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.stub import Stubber
from moto import mock_aws

from buildcache.runner import archive
from buildcache.runner.failure import NOT_ALLOWED, NOT_FOUND, OTHER, UNSAFE, FetchError
from buildcache.runner.fetch import Limits
from buildcache.runner.workspace import Workspace

from .conftest import Run

Entry = tuple[str, str | bytes] | tarfile.TarInfo


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="sources")
        yield client


def tar(*entries: Entry, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as opened:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                opened.addfile(entry)
            else:
                name, content = entry
                data = content.encode() if isinstance(content, str) else content
                info = tarfile.TarInfo(name)
                info.size = len(data)
                opened.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def zipped(*entries: tuple[str, str, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content, mode in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name  # as it stands: ZipInfo would tidy it up
            info.external_attr = mode << 16
            opened.writestr(info, content)
    return buffer.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
DOCKERFILE = ("Dockerfile", "FROM scratch\n")


@pytest.mark.parametrize(
    ("key", "content"),
    [
        pytest.param("a/shop.tgz", tar(DOCKERFILE, ("bin/run", "x")), id="tgz"),
        pytest.param("shop.tar.gz", tar(DOCKERFILE, ("bin/run", "x")), id="tar.gz"),
        pytest.param("shop.tar", tar(DOCKERFILE, ("bin/run", "x"), mode="w:"), id="tar"),
        pytest.param("shop.zip", zipped(("Dockerfile", "FROM scratch\n", FILE), ("bin/run", "x", FILE)), id="zip"),
        pytest.param(
            "shop.tgz", tar(("./Dockerfile", "FROM scratch\n"), ("./bin/run", "x")), id="names begin with a dot"
        ),
    ],
)
def test_an_archive_becomes_the_tree(run: Run, workspace: Workspace, bucket: Any, key: str, content: bytes) -> None:
    bucket.put_object(Bucket="sources", Key=key, Body=content)
    ran = run({"s3": {"uri": f"s3://sources/{key}"}}, s3=lambda: bucket)
    assert ran.code == 0, ran.error
    assert (workspace.source / "Dockerfile").read_text() == "FROM scratch\n"
    assert (workspace.source / "bin" / "run").read_text() == "x"
    assert json.loads((workspace.out / "source.json").read_text())["commit"] is None


def test_a_version_of_an_object(run: Run, workspace: Workspace, bucket: Any) -> None:
    bucket.put_bucket_versioning(Bucket="sources", VersioningConfiguration={"Status": "Enabled"})
    old = bucket.put_object(Bucket="sources", Key="a.tgz", Body=tar(DOCKERFILE, ("version", "old")))["VersionId"]
    bucket.put_object(Bucket="sources", Key="a.tgz", Body=tar(DOCKERFILE, ("version", "new")))
    assert run({"s3": {"uri": "s3://sources/a.tgz", "versionID": old}}, s3=lambda: bucket).code == 0
    assert (workspace.source / "version").read_text() == "old"
    assert run({"s3": {"uri": "s3://sources/a.tgz", "versionID": None}}, s3=lambda: bucket).code == 0
    assert (workspace.source / "version").read_text() == "new"


def test_modes_and_links_survive(run: Run, workspace: Workspace, bucket: Any) -> None:
    content = tar(
        DOCKERFILE,
        member("bin", tarfile.DIRTYPE, mode=0o700),
        member("bin/run", tarfile.REGTYPE, mode=0o6755),
        member("bin/data", tarfile.REGTYPE, mode=0o600),
        member("go", tarfile.SYMTYPE, "bin/run"),
        member("bin/up", tarfile.SYMTYPE, "../Dockerfile"),
        member("again", tarfile.LNKTYPE, "Dockerfile"),
    )
    bucket.put_object(Bucket="sources", Key="a.tgz", Body=content)
    assert run({"s3": {"uri": "s3://sources/a.tgz"}}, s3=lambda: bucket).code == 0
    assert (workspace.source / "bin" / "run").stat().st_mode & 0o7777 == 0o755, "executable, without set-user bits"
    assert (workspace.source / "bin" / "data").stat().st_mode & 0o7777 == 0o644
    assert (workspace.source / "go").readlink() == Path("bin/run")
    assert (workspace.source / "bin" / "up").read_text() == "FROM scratch\n"
    assert (workspace.source / "again").read_text() == "FROM scratch\n"


def denied(code: str) -> Callable[[], Any]:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    stub = Stubber(client)
    stub.add_client_error("get_object", code)
    stub.activate()
    return lambda: client


class NoLogin:
    def get_object(self, **where: str) -> None:
        raise NoCredentialsError


@pytest.mark.parametrize(
    ("client", "code"),
    [
        pytest.param(denied("NoSuchKey"), NOT_FOUND, id="no such key"),
        pytest.param(denied("NoSuchBucket"), NOT_FOUND, id="no such bucket"),
        pytest.param(denied("NoSuchVersion"), NOT_FOUND, id="no such version"),
        pytest.param(denied("MethodNotAllowed"), NOT_FOUND, id="the version is a delete marker"),
        pytest.param(denied("AccessDenied"), NOT_ALLOWED, id="access denied"),
        pytest.param(denied("ExpiredToken"), NOT_ALLOWED, id="expired login"),
        pytest.param(denied("InvalidObjectState"), NOT_ALLOWED, id="archived to Glacier"),
        pytest.param(denied("SlowDown"), OTHER, id="throttled"),
        pytest.param(NoLogin, NOT_ALLOWED, id="no login at all"),
    ],
)
def test_why_an_object_cannot_be_read(run: Run, client: Any, code: int) -> None:
    ran = run({"s3": {"uri": "s3://sources/a.tgz"}}, s3=client)
    assert ran.code == code
    assert "s3://sources/a.tgz" in ran.error


def test_a_missing_key_and_bucket_in_a_real_answer(run: Run, bucket: Any) -> None:
    assert run({"s3": {"uri": "s3://sources/absent.tgz"}}, s3=lambda: bucket).code == NOT_FOUND
    assert run({"s3": {"uri": "s3://no-such-bucket/a.tgz"}}, s3=lambda: bucket).code == NOT_FOUND


@pytest.mark.parametrize(
    "uri",
    [
        "https://sources/a.tgz",
        "s3://a.tgz",
        "s3:///a.tgz",
        "s3://sources/",
        "s3://SOURCES/a.tgz",
        "s3://sources/a\n.tgz",
        "s3://sources/a.exe",
        "s3://sources/a.tar.xz",
        "s3://sources/a",
        "file:///etc/passwd.tgz",
        "",
    ],
)
def test_a_bad_uri_is_refused_before_any_call(run: Run, uri: str) -> None:
    assert run({"s3": {"uri": uri}}).code == UNSAFE


OUTSIDE = {
    "parent": tar(("../owned", "x")),
    "parent inside": tar(("a/../../owned", "x")),
    "parent that comes back": tar(("a/../b", "x")),
    "link to the root": tar(member("link", tarfile.SYMTYPE, "/etc")),
    "link to a parent": tar(member("link", tarfile.SYMTYPE, "../..")),
    "link deep in a folder": tar(member("a/b/link", tarfile.SYMTYPE, "../../../etc")),
    "link through a link": tar(member("d", tarfile.SYMTYPE, "."), member("link", tarfile.SYMTYPE, "d/d/../..")),
    "link to nothing": tar(member("link", tarfile.SYMTYPE, "")),
    "link that is the tree": tar(member("link/", tarfile.SYMTYPE, "..")),
    "file through a link": tar(member("link", tarfile.SYMTYPE, "."), ("link/owned", "x")),
    "file through a link two levels up": tar(member("a/link", tarfile.SYMTYPE, ".."), ("a/link/b/owned", "x")),
    "folder over a link": tar(member("d", tarfile.SYMTYPE, "."), member("d", tarfile.DIRTYPE)),
    "hard link to the root": tar(member("link", tarfile.LNKTYPE, "/etc/passwd")),
    "hard link to a parent": tar(member("link", tarfile.LNKTYPE, "../owned")),
    "hard link to a link": tar(member("s", tarfile.SYMTYPE, "x"), member("link", tarfile.LNKTYPE, "s")),
    "hard link to nothing": tar(member("link", tarfile.LNKTYPE, "absent")),
    "device": tar(member("null", tarfile.CHRTYPE)),
    "block device": tar(member("disk", tarfile.BLKTYPE)),
    "pipe": tar(member("pipe", tarfile.FIFOTYPE)),
    "backslash": tar(("a\\..\\..\\owned", "x")),
    "file where a folder must be": tar(("a", "x"), ("a/b", "x")),
    "not an archive": b"hello",
    "empty": b"",
    "cut": tar(("a", "x" * 100_000))[:60],
    "damaged inside": gzip.compress(b"\x01" * 2048),
}


@pytest.mark.parametrize("content", OUTSIDE.values(), ids=OUTSIDE)
def test_an_unsafe_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    check_refused(tmp_path, content, "a.tgz")


ZIPS = {
    "parent": zipped(("../owned", "x", FILE)),
    "absolute": zipped(("/tmp/owned", "x", FILE)),
    "backslash": zipped(("..\\owned", "x", FILE)),
    "link to the root": zipped(("link", "/etc", LINK)),
    "link to a parent": zipped(("a/link", "../..", LINK)),
    "file through a link": zipped(("link", ".", LINK), ("link/owned", "x", FILE)),
    "long link": zipped(("link", "a/" * 4000, LINK)),
    "link that is no text": zipped(("link", "a\0b", LINK)),
    "device": zipped(("null", "", stat.S_IFCHR | 0o666)),
    "pipe": zipped(("pipe", "", stat.S_IFIFO | 0o666)),
    "not an archive": b"PK\x03\x04 hello",
    "empty": b"",
}


@pytest.mark.parametrize("content", ZIPS.values(), ids=ZIPS)
def test_an_unsafe_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    check_refused(tmp_path, content, "a.zip")


def check_refused(folder: Path, content: bytes, name: str) -> None:
    packed, tree = folder / "packed", folder / "in" / "tree"
    tree.mkdir(parents=True)
    packed.write_bytes(content)
    with pytest.raises(FetchError) as caught:
        archive.extract(packed, name, tree)
    assert caught.value.code == UNSAFE
    assert {path.name for path in folder.rglob("owned")} == set()
    assert set(folder.iterdir()) == {packed, folder / "in"}
    assert set((folder / "in").iterdir()) == {tree}


def test_an_absolute_name_becomes_a_relative_one(tmp_path: Path) -> None:
    """The rule of tarfile's data filter."""
    packed, tree = tmp_path / "packed", tmp_path / "tree"
    tree.mkdir()
    packed.write_bytes(tar(("/owned", "x")))
    archive.extract(packed, "a.tgz", tree)
    assert (tree / "owned").read_text() == "x"


def test_a_link_that_is_replaced_by_a_file_is_not_followed(tmp_path: Path) -> None:
    packed, tree = tmp_path / "packed", tmp_path / "tree"
    tree.mkdir()
    packed.write_bytes(
        tar(("target", "mine"), member("link", tarfile.SYMTYPE, "target"), ("link", "new"), ("link2", "x"))
    )
    archive.extract(packed, "a.tgz", tree)
    assert (tree / "target").read_text() == "mine"
    assert (tree / "link").read_text() == "new"
    assert not (tree / "link").is_symlink()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("a.tgz", tar(("zeros", b"\0" * 2_000_000)), id="tgz"),
        pytest.param("a.tgz", tar(("one", b"\0" * 600_000), ("two", b"\0" * 600_000)), id="several files"),
        pytest.param("a.zip", zipped(("zeros", "0" * 2_000_000, FILE)), id="zip"),
    ],
)
def test_a_bomb_stops_at_the_limit(tmp_path: Path, name: str, content: bytes) -> None:
    packed, tree = tmp_path / "packed", tmp_path / "tree"
    tree.mkdir()
    packed.write_bytes(content)
    with pytest.raises(FetchError, match="too large"):
        archive.extract(packed, name, tree, max_bytes=1_000_000)
    assert sum(path.stat().st_size for path in tree.rglob("*")) <= 1_000_000


def test_too_many_entries(tmp_path: Path) -> None:
    packed, tree = tmp_path / "packed", tmp_path / "tree"
    tree.mkdir()
    packed.write_bytes(tar(*((f"f{number}", "") for number in range(20))))
    with pytest.raises(FetchError, match="too many"):
        archive.extract(packed, "a.tgz", tree, max_entries=10)


def test_an_object_over_the_limit_is_not_kept(run: Run, workspace: Workspace, bucket: Any) -> None:
    bucket.put_object(Bucket="sources", Key="a.tgz", Body=b"x" * 3000)
    assert run({"s3": {"uri": "s3://sources/a.tgz"}}, s3=lambda: bucket, limits=Limits(max_bytes=1000)).code == UNSAFE


def test_a_full_disk_is_not_the_users_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, executable: bool) -> None:
        raise OSError(28, "No space left on device")

    packed = tmp_path / "packed"
    packed.write_bytes(tar(("a", "x")))
    monkeypatch.setattr(archive._Target, "make_file", full)
    with pytest.raises(FetchError) as caught:
        archive.extract(packed, "a.tgz", tmp_path)
    assert caught.value.code == OTHER


def test_errors_of_aws_never_show_the_credentials(run: Run) -> None:
    class Client:
        def get_object(self, **where: str) -> None:
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "AKIAIOSFODNN7EXAMPLE may not"}}, "GetObject"
            )

    assert "AKIA" not in run({"s3": {"uri": "s3://sources/a.tgz"}}, s3=Client).error
