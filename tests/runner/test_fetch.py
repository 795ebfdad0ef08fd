"""The rest of fetch: the inline Dockerfile, registry logins, what it was told wrongly, what it prints."""

from __future__ import annotations

import base64
import json
import stat
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from buildcache.api.ecr import dns_suffix, ecr_host
from buildcache.core.tasks import task_definition
from buildcache.runner import __main__ as entry
from buildcache.runner import aws
from buildcache.runner.failure import MAX_TEXT, NOT_ALLOWED, OTHER, UNSAFE, one_line
from buildcache.runner.workspace import Workspace
from tests.core.specs import IDENTITY, cache_spec, executor

from .conftest import Run

INLINE = {"inline": {"dockerfile": "FROM scratch\nLABEL a=b\n"}}
TOKEN = base64.b64encode(b"AWS:very-secret").decode()


OWN = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
OWN_LOGIN = {OWN: {"auth": TOKEN}}


class Ecr:
    """Gives a token; notes for which region it was made."""

    def __init__(self, endpoint: str = f"https://{OWN}") -> None:
        self.endpoint = endpoint
        self.asked: list[tuple[str | None, bool]] = []

    def __call__(self, region: str | None, fips: bool) -> Any:
        self.asked.append((region, fips))
        return self

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": TOKEN, "proxyEndpoint": self.endpoint}]}


def logins(workspace: Workspace) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(workspace.docker_config.read_text())["auths"]
    return data


def test_an_inline_dockerfile_is_the_whole_context(run: Run, workspace: Workspace) -> None:
    assert run(INLINE).code == 0
    assert [path.name for path in workspace.source.rglob("*")] == ["Dockerfile"]
    assert (workspace.source / "Dockerfile").read_text() == "FROM scratch\nLABEL a=b\n"
    assert logins(workspace) == {}


def test_an_inline_dockerfile_stands_where_the_build_looks_for_it(run: Run, workspace: Workspace) -> None:
    assert run(INLINE, CONTEXT_DIR="a/b", DOCKERFILE="c/My.Dockerfile").code == 0
    assert (workspace.source / "a/b/c/My.Dockerfile").is_file()
    assert run(INLINE, DOCKERFILE="../../owned").code == UNSAFE
    assert run(INLINE, DOCKERFILE=".").code == UNSAFE


@pytest.mark.parametrize(
    ("host", "region", "fips"),
    [
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", False),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1", True),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", False),
        ("111122223333.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", False),
        ("111122223333.dkr-ecr.eu-central-1.on.aws", "eu-central-1", False),
    ],
)
def test_a_login_for_each_ecr_registry(run: Run, workspace: Workspace, host: str, region: str, fips: bool) -> None:
    ecr = Ecr()
    ran = run(INLINE, ecr=ecr, REGISTRIES=host)
    assert ran.code == 0
    assert ecr.asked == [(region, fips), (None, False)]
    assert logins(workspace) == {host: {"auth": TOKEN}} | OWN_LOGIN
    assert TOKEN not in ran.out
    assert "secret" not in ran.out


def test_one_token_serves_all_registries_of_a_region(run: Run, workspace: Workspace) -> None:
    ecr = Ecr()
    hosts = [f"{account}.dkr.ecr.eu-west-1.amazonaws.com" for account in ("111122223333", "444455556666")]
    assert run(INLINE, ecr=ecr, REGISTRIES=",".join(hosts)).code == 0
    assert ecr.asked.count(("eu-west-1", False)) == 1
    assert set(logins(workspace)) == {*hosts, OWN}


def test_only_registries_of_aws_get_the_token(run: Run, workspace: Workspace) -> None:
    """T15: an image name of the user decides which host a login is sent to."""
    evil = [
        "evil.example",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "111122223333.dkr.ecr.eu-west-1.amazonaws.com:8443",
        "111122223333.dkr.ecr.evil.example/amazonaws.com",
        "x.111122223333.dkr.ecr.eu-west-1.amazonaws.com",
        "127.0.0.1:5000",
    ]
    assert run(INLINE, ecr=Ecr(), REGISTRIES=",".join(evil), FURTHER_REGISTRIES=",".join(evil)).code == 0
    assert logins(workspace) == OWN_LOGIN
    assert run(INLINE, ecr=Ecr("http://127.0.0.1:5000"), REGISTRIES=",".join(evil)).code == 0
    assert set(logins(workspace)) == {"127.0.0.1:5000"}, "the endpoint that AWS itself named"


def test_a4_the_accounts_own_registry_always_has_a_login(run: Run, workspace: Workspace) -> None:
    """Its Dockerfile may begin FROM there, also when nothing is pushed and the cache is off."""
    assert run(INLINE, ecr=Ecr()).code == 0
    assert logins(workspace) == OWN_LOGIN


def test_a4_further_registries_have_logins_too(run: Run, workspace: Workspace) -> None:
    ecr = Ecr()
    further = ["444455556666.dkr.ecr.us-west-2.amazonaws.com", "777788889999.dkr.ecr.us-west-2.amazonaws.com"]
    assert run(INLINE, ecr=ecr, FURTHER_REGISTRIES=",".join(further)).code == 0
    assert set(logins(workspace)) == {OWN, *further}
    assert sorted(ecr.asked, key=str) == [("us-west-2", False), (None, False)], "each region is asked once"


def test_a4_a_build_goes_on_without_the_logins_that_it_may_not_need(run: Run, workspace: Workspace) -> None:
    class Far(Ecr):
        def __call__(self, region: str | None, fips: bool) -> Any:
            super().__call__(region, fips)
            if region != "eu-west-1":
                raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetAuthorizationToken")
            return self

    ecr, further = Far(), [f"{account}.dkr.ecr.us-west-2.amazonaws.com" for account in ("444455556666", "777788889999")]
    needed = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
    ran = run(INLINE, ecr=ecr, REGISTRIES=needed, FURTHER_REGISTRIES=",".join(further))
    assert ran.code == 0
    assert set(logins(workspace)) == {needed}
    assert ran.out.count("AccessDeniedException") == 3, "each registry without a login is named in the log"
    assert len(ecr.asked) == 3, "a region that refuses is not asked again"


def test_a8_boto3_works_in_the_region_of_the_task_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    spec = cache_spec(executor("BuildKit"))
    (fetch, _, _) = task_definition(IDENTITY, spec, spec.executors[0], runner_image="i").request["containerDefinitions"]
    for pair in fetch["environment"]:
        monkeypatch.setenv(pair["name"], pair["value"])
    assert aws.s3_client().meta.region_name == spec.region
    assert aws.ecr_client(None, False).meta.region_name == spec.region
    assert {"name": "AWS_REGION", "value": spec.region} in fetch["environment"]


def test_a10_the_suffixes_are_those_of_botocore() -> None:
    """A partition that is added to boto3 is one that logins, references and `explain` must know too."""
    partitions = botocore.session.get_session().get_component("data_loader").load_data("partitions")["partitions"]
    for partition in partitions:
        suffix = partition["outputs"]["dnsSuffix"]
        assert suffix in aws._SUFFIXES
        for region in (name for name in partition["regions"] if not name.endswith("-global")):
            host = f"111122223333.dkr.ecr.{region}.{suffix}"
            assert (dns_suffix(region), ecr_host(f"{host}/a")) == (suffix, host)


def test_logins_are_for_us_and_root_only(run: Run, workspace: Workspace) -> None:
    workspace.docker_config.parent.mkdir(parents=True)
    workspace.docker_config.write_text("{}")
    assert run(INLINE, ecr=Ecr(), REGISTRIES="111122223333.dkr.ecr.eu-west-1.amazonaws.com").code == 0
    assert stat.S_IMODE(workspace.docker_config.stat().st_mode) == 0o600
    assert stat.S_IMODE(workspace.docker_config.parent.stat().st_mode) == 0o700


def test_a_forbidden_login_says_so(run: Run) -> None:
    class Denied(Ecr):
        def get_authorization_token(self) -> dict[str, Any]:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetAuthorizationToken")

    ran = run(INLINE, ecr=Denied(), REGISTRIES="111122223333.dkr.ecr.eu-west-1.amazonaws.com")
    assert ran.code == NOT_ALLOWED
    assert "111122223333.dkr.ecr.eu-west-1.amazonaws.com" in ran.error


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"git": null}',
        '{"git": {}, "s3": {}}',
        '{"ftp": {}}',
        '{"git": {"url": 1, "revision": "a"}}',
        '{"inline": {"dockerfile": null}}',
        '{"s3": {}}',
        "[" * 100_000,
    ],
)
def test_a_source_that_the_operator_would_never_send(run: Run, text: str) -> None:
    assert run(text).code == OTHER


@pytest.mark.parametrize(
    "source", ["no JSON", {"git": {"url": "file:///etc", "revision": "main"}}], ids=["not read", "not fetched"]
)
def test_a_fetch_that_fails_has_told_when_it_began(run: Run, workspace: Workspace, source: object) -> None:
    assert run(source).code != 0
    assert json.loads((workspace.out / "source.json").read_text()) == {"startedAt": "2027-01-15T08:00:00.000Z"}


def test_the_engine_can_write_what_the_report_must_read(run: Run, workspace: Workspace) -> None:
    """buildctl makes metrics and trace with mode 0600 as root, but keeps the mode of files that exist."""
    assert run(INLINE).code == 0
    assert stat.S_IMODE(workspace.out.stat().st_mode) == 0o777
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in workspace.out.glob("*s.json")} == {
        "metrics.json": 0o666
    }
    assert stat.S_IMODE((workspace.out / "trace.json").stat().st_mode) == 0o666


def test_a_workspace_that_cannot_be_written(run: Run, workspace: Workspace) -> None:
    workspace.root.write_text("a file where the volume should be")
    assert run(INLINE).code == OTHER


def test_the_command_line_knows_two_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["build"]) == 64
    assert entry.main([]) == 64
    assert "usage" in capsys.readouterr().err


@given(st.text(max_size=2000))
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= MAX_TEXT
    assert one_line(line) == line


@given(st.text(min_size=1, max_size=20, alphabet=st.characters(blacklist_characters="/@ \n")))
def test_one_line_takes_logins_out_of_urls(password: str) -> None:
    assert password.strip() == "" or f":{password}@" not in one_line(
        f"fatal: https://user:{password}@example.com/a failed"
    )
