"""The log: one parseable line for each record, no control characters, no credentials."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildcache.controller.logs import JsonFormatter, TextFormatter, about, configure
from buildcache.core.log_text import redact


def line(formatter: logging.Formatter, message: str, **extra: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("buildcache.test")
    logger.addHandler(handler)
    logger.warning(message, extra=extra)
    return stream.getvalue()


@given(st.text(), st.text())
def test_each_record_is_one_line_of_json_without_control_characters__H17_F62(message: str, value: str) -> None:
    text = line(JsonFormatter(), message.replace("%", "%%"), text=value)
    assert text.count("\n") == 1
    assert text.isascii()
    assert all(character.isprintable() for character in text[:-1])
    assert set(json.loads(text)) == {"time", "level", "logger", "message", "text"}


@given(st.text(), st.text())
def test_no_control_character_reaches_a_terminal__H17(message: str, value: str) -> None:
    text = line(TextFormatter(), message.replace("%", "%%"), text=value)
    assert text.endswith("\n")
    assert text[:-1].isprintable()


SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "https://user:hunter2secret@github.com/acme/shop.git",
    "Authorization: Bearer abcdef0123456789",
    "token=abcdef0123456789",
    "eyJhbGciOiJSUzI1NiIsImtpZCI6.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl",
    "X-Amz-Signature=0123456789abcdef",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_credential_is_replaced__H10(secret: str) -> None:
    text = line(JsonFormatter(), "failed: %s" % secret, deep={"list": [secret]})  # noqa: UP031
    assert text.count("[redacted]") == 2
    for canary in ("AKIAIOSFODNN7EXAMPLE", "hunter2secret", "abcdef0123456789", "eyJhbGciOiJSUzI1NiIsImtpZCI6"):
        assert canary not in text


def test_ordinary_text_stays_as_it_is() -> None:
    text = (
        "ecs:RunTask on arn:aws:ecs:eu-west-1:111122223333:cluster/builds: sha256:77ab https://github.com/acme/shop.git"
    )
    assert redact(text) == text


def test_a_long_value_is_cut() -> None:
    assert len(line(JsonFormatter(), "x", text="y" * 100_000)) < 5_000


def test_a_traceback_is_a_field() -> None:
    stream = io.StringIO()
    logger = logging.Logger("t")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    try:
        raise KeyError("password=abcdef0123456789")
    except KeyError:
        logger.exception("bug")
    record = json.loads(stream.getvalue())
    assert "KeyError" in record["traceback"]
    assert "abcdef0123456789" not in record["traceback"]


IDENTITY = {"kind": "Build", "namespace": "team-a", "name": "web-1", "uid": "7c0f"}


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"object": IDENTITY}, id="named"),
        pytest.param({"k8s_ref": {**IDENTITY, "apiVersion": "x"}}, id="by kopf"),
    ],
)
def test_c18_a_line_about_an_object_has_its_identity_in_four_fields(extra: dict[str, object]) -> None:
    fields = json.loads(line(JsonFormatter(), "x", **extra))
    assert {name: fields.get(name) for name in IDENTITY} == IDENTITY
    assert not {"object", "k8s_ref", "apiVersion"} & set(fields)


def test_c18_all_lines_of_a_pass_are_about_its_object() -> None:
    with about(IDENTITY):
        inside = json.loads(line(JsonFormatter(), "started task", task="arn", kind="Other"))
    assert {name: inside[name] for name in IDENTITY} == IDENTITY
    assert inside["kind_"] == "Other"
    assert "uid" not in json.loads(line(JsonFormatter(), "x"))


def test_c18_the_level_is_a_setting() -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    stream = io.StringIO()
    try:
        configure("json", "warning", stream)
        logging.getLogger("buildcache.x").info("quiet")
        logging.getLogger("buildcache.x").warning("loud")
        configure("json", "debug", stream)
        logging.getLogger("buildcache.x").debug("all")
        logging.getLogger("botocore.endpoint").debug("a body with a secret")
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    assert [json.loads(each)["message"] for each in stream.getvalue().splitlines()] == ["loud", "all"]
