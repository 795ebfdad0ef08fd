"""What of a build's log may be shown: without secrets, however they are written, and with everything else."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.core.log_text import TAIL_BYTES, redact, tail

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalr"),
        ("aws_session_token=IQoJb3JpZ2luX2VjE", "IQoJ"),
        ("Authorization: Bearer abc.def-123", "abc.def"),
        ("> authorization: Basic QVdTOmV5SnBZWGxzYjJGa0lq", "QVdT"),
        ("-H 'Authorization: token 0123456789abcdef'", "0123456789abcdef"),
        ("fatal: could not read https://bob:hunter2@git.example/x.git", "hunter2"),
        ("remote: https://x-access-token:ghp_0123456789abcdefghij@github.com", "ghp_"),
        ("pushing with ghp_0123456789abcdefghij0123456789abcd", "ghp_"),
        ("glpat-0123456789abcdefghij", "glpat"),
        ("//registry.npmjs.org/:_authToken=npm_0123456789abcdefghij", "npm_"),
        ('{"auths":{"r.example":{"auth":"Ym9iOmh1bnRlcjI="}}}', "Ym9i"),
        ('{"password": "hunter2", "user": "bob"}', "hunter2"),
        ("--build-arg DB_PASSWORD=hunter2 .", "hunter2"),
        ("GET https://s3/x?X-Amz-Credential=A%2Fb&X-Amz-Signature=deadbeef&X-Amz-Security-Token=Fwo", "deadbeef"),
        ("GET https://s3/x?X-Amz-Security-Token=FwoGZXIvYXdz", "FwoG"),
        (KEY, "IBAAKC"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "eyJzdWIi"),
    ],
)
def test_secret_is_not_shown(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)
    assert secret not in tail(["before", *text.split("\n"), "after"])
    assert tail(["before", *text.split("\n"), "after"]).startswith("before\n")


@pytest.mark.parametrize(
    "text",
    [
        "error: unexpected token: } in line 7",
        "FROM docker.io/library/alpine@sha256:" + "77ab" * 16,
        'ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2',
        "the secret is missing: pass --secret id=npm",
        "cloning ssh://git@github.com/acme/shop.git",
        "http://127.0.0.1:5000/v2/ refused",
        "basic tests passed",
    ],
)
def test_everything_else_is_shown(text: str) -> None:
    assert redact(text) == text


def test_key_that_began_before_the_tail_is_not_shown() -> None:
    block = ["-----BEGIN PRIVATE KEY-----", *["M" * 64] * 40, "-----END PRIVATE KEY-----", "done"]
    assert tail(["x" * 200] * 20 + block).endswith("done")
    assert "MMMM" not in tail(["x" * 200] * 20 + block)


def test_key_that_has_no_end_is_not_shown() -> None:
    assert tail(["building", "-----BEGIN PRIVATE KEY-----", "MIIEow"]) == "building\n[redacted]"


@pytest.mark.parametrize(
    "text", ["a" * 16384, "token" * 4000, "eyJ" * 6000, "-" * 16384, "://" + "a:" * 8000, "authorization:" * 1200]
)
def test_long_lines_take_no_time(text: str) -> None:
    began = time.process_time()
    tail([text] * 10)
    assert time.process_time() - began < 2


@given(st.lists(st.text(max_size=300), max_size=30))
def test_tail_fits_and_is_stable(lines: list[str]) -> None:
    shown = tail(lines)
    assert len(shown.encode()) <= TAIL_BYTES
    assert redact(shown) == shown or "[redacted]" in shown
