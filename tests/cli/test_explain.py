"""`buildcache explain` as people and scripts meet it: standard output, standard error, exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from buildcache.cli.app import app
from buildcache.cli.text import command_lines
from tests.api.examples import BUILD, CACHE, REFUSED, Refused, changed

COMPOSED = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/buildcache/default/shop"


def explain(*bodies: Any, options: tuple[str, ...] = ("-o", "json")) -> Result:
    text = bodies[0] if isinstance(bodies[0], str) else yaml.safe_dump_all(map(dict, bodies))
    return CliRunner().invoke(app, ["explain", "-f", "-", *options], input=text)


def explained(*bodies: Any, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    result = explain(*bodies, options=("-o", "json", *options))
    assert (result.exit_code, result.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_json_has_the_form_of_the_contract() -> None:
    (found,) = explained(CACHE, BUILD)
    assert list(found) == [
        "build", "executor", "engine", "launchType", "cacheArgs", "command", "environment", "mounts", "volumes",
        "platformVersion", "warnings",
    ]  # fmt: skip
    assert (found["build"], found["executor"], found["engine"], found["launchType"]) == (
        "default/web-1",
        "ec2",
        "BuildKit",
        "EC2",
    )
    assert found["command"][: 2 + len(found["cacheArgs"])] == ["buildctl", "build", *found["cacheArgs"]]
    assert found["warnings"][0].keys() == {"path", "message"}


def test_builds_are_listed_in_the_order_of_the_files(tmp_path: Path) -> None:
    files = []
    for number, body in enumerate(
        [changed("Build", "metadata.name", "b"), CACHE, changed("Build", "metadata.name", "a")]
    ):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(yaml.safe_dump(dict(body)))
    result = CliRunner().invoke(app, ["explain", "-f", str(files[0]), str(files[1]), "-f", str(files[2]), "-o", "json"])
    assert [each["build"] for each in json.loads(result.stdout)] == ["default/b", "default/a"] or result.stderr


@pytest.mark.parametrize(
    ("options", "status", "uri"),
    [
        ((), None, COMPOSED),
        (("--account", "999988887777"), None, COMPOSED.replace("111122223333", "999988887777")),
        (("--account", "999988887777"), {"account": "123456789012"}, COMPOSED.replace("111122223333", "123456789012")),
        ((), {"registry": {"repositoryURI": "127.0.0.1:5000/shop"}}, "127.0.0.1:5000/shop"),
    ],
    ids=["placeholder", "option", "the status knows the account", "the status knows the repository"],
)
def test_what_only_aws_knows(options: tuple[str, ...], status: dict[str, Any] | None, uri: str) -> None:
    (found,) = explained({**CACHE, **({"status": status} if status else {})}, BUILD, options=options)
    assert found["environment"]["BUILD_CACHE_REPO"] == uri


def test_a_repository_name_and_china_have_their_own_address() -> None:
    body = changed("BuildCache", "spec.region", "cn-north-1")
    body["spec"]["clusterARN"] = "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/builds"
    body["spec"]["registry"] = {"repositoryName": "acme/shop"}
    (found,) = explained(body, BUILD)
    assert found["environment"]["BUILD_CACHE_REPO"] == "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/acme/shop"


@pytest.mark.parametrize(
    ("spec", "status", "file_system"),
    [
        ({}, None, "fs-00000000000000000"),
        ({"management": "Observed", "id": "fs-0123456789abcdef0"}, None, "fs-0123456789abcdef0"),
        ({}, {"fileSystem": {"id": "fs-0fedcba9876543210"}}, "fs-0fedcba9876543210"),
    ],
    ids=["placeholder", "observed", "known"],
)
def test_a_kaniko_build_shows_its_mount(spec: dict[str, Any], status: dict[str, Any] | None, file_system: str) -> None:
    body = changed("BuildCache", "spec.fileSystem", spec) | ({"status": status} if status else {})
    (found,) = explained(body, changed("Build", "spec.executor", "kaniko"))
    assert found["mounts"] == [{"volume": "kaniko-caches", "path": "/kaniko/caches", "readOnly": False}]
    assert found["volumes"][0]["efsVolumeConfiguration"]["fileSystemId"] == file_system
    assert found["platformVersion"] == "1.4.0"


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_store_that_is_said_not_to_be_ready_is_not_used(status: str) -> None:
    condition = {
        "type": "RegistryReady",
        "status": status,
        "reason": "Creating",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    (found,) = explained({**CACHE, "status": {"conditions": [condition]}}, BUILD)
    assert (found["cacheArgs"], found["environment"]) == ([], {})


def test_a_time_without_quotes_is_a_string_as_for_kubectl() -> None:
    text = yaml.safe_dump_all([{**CACHE, "status": {"lastHandledReconcileAt": "WHEN"}}, dict(BUILD)])
    assert explain(text.replace("WHEN", "2026-01-01T00:00:00Z")).exit_code == 0


def test_a_list_as_kubectl_prints_it_and_other_objects_beside_it() -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    items = {"apiVersion": "v1", "kind": "List", "items": [dict(CACHE), dict(BUILD)]}
    assert len(explained(namespace, items)) == 1
    assert explain(yaml.safe_dump(namespace) + "---\n---\n" + yaml.safe_dump(items)).exit_code == 0


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_the_models_refuse_is_one_line_for_each_problem(case: Refused) -> None:
    body = changed(case.kind, case.path, case.value)
    result = explain(*((body, BUILD) if case.kind == "BuildCache" else (CACHE, body)))
    assert (result.exit_code, result.stdout) == (1, "")
    paths = [line.split(": ")[0] for line in result.stderr.splitlines()]
    assert any(path.startswith(case.at) for path in paths), result.stderr


@pytest.mark.parametrize(
    ("bodies", "path"),
    [
        ([CACHE, changed("Build", "spec.executor", "nope")], "spec.executor"),
        ([CACHE, changed("Build", "spec.cacheRef", {"name": "other"})], "spec.cacheRef.name"),
        ([CACHE, changed("Build", "metadata.namespace", "other")], "metadata.namespace"),
        (
            [changed("BuildCache", "spec.registry.export.imageManifest", False), BUILD],
            "spec.registry.export.imageManifest",
        ),
        ([BUILD], "kind"),
        ([CACHE], "kind"),
        ([CACHE, CACHE, BUILD], "kind"),
        ([CACHE, changed("Build", "kind", "Bild")], "kind"),
        ([CACHE, changed("Build", "apiVersion", "buildcache.dev/v2")], "apiVersion"),
        ([CACHE, changed("Build", "metadata", "web")], "metadata"),
        ([CACHE, changed("Build", "spec", [])], "spec"),
        ([CACHE, changed("Build", "metadata.name", None)], "metadata.name"),
        (["- a\n- b\n"], "standard input"),
        (["kind: List\nitems: [a]\n"], "standard input"),
        (["a: [\n"], "standard input"),
        (["a: !!python/object:os.system x\n"], "standard input"),
        (["[" * 3000], "standard input"),
        (["\x00"], "standard input"),
        ([""], "kind"),
    ],
)
def test_what_cannot_be_explained_says_where(bodies: list[Any], path: str) -> None:
    result = explain(*bodies)
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [path]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("bodies", "line"),
    [
        (
            [changed("BuildCache", "spec.registry.export.compresion", "gzip"), BUILD],
            "spec.registry.export.compresion: is not a field: is compression meant? (BuildCache shop)",
        ),
        (
            [changed("BuildCache", "spec.executors.1.kaniko", {"cache-ttl": "6h"}), BUILD],
            "spec.executors[1].kaniko.cache-ttl: is not a field (BuildCache shop)",
        ),
        (
            [CACHE, changed("Build", "spec.output.labels", {"a\nb": ""}) | {"metadata": {"name": "a\rb"}}],
            "spec.output.labels: label names must be letters, digits and . _ / - (Build a\N{REPLACEMENT CHARACTER}b)",
        ),
        (
            [CACHE, changed("Build", "spec.x\x1b[2J", 1)],
            "spec.x\N{REPLACEMENT CHARACTER}[2J: is not a field (Build web-1)",
        ),
        ([CACHE, changed("Build", "spec.4", "x")], "spec.4: is not a field (Build web-1)"),
    ],
)
def test_a_misspelt_option_is_no_silent_default(bodies: list[Any], line: str) -> None:
    result = explain(*bodies)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{line}\n")


def test_names_that_users_choose_are_not_fields() -> None:
    build = changed("Build", "spec.output.labels", {"org.example/any": "x"})
    assert len(explained(changed("BuildCache", "spec.tags", {"any": "x"}), build)) == 1


def test_all_builds_are_judged_and_the_lines_name_them() -> None:
    wrong = [changed("Build", "spec.executor", "nope") | {"metadata": {"name": name}} for name in "ab"]
    lines = explain(CACHE, *wrong).stderr.splitlines()
    assert [line.rpartition(" (")[2] for line in lines] == ["Build a)", "Build b)"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    for name, says in (("none", "cannot be read"), ("latin", "is not UTF-8 text"), (".", "cannot be read")):
        result = CliRunner().invoke(app, ["explain", "-f", str(tmp_path / name)])
        assert (result.exit_code, result.stdout) == (1, "")
        assert says in result.stderr


def test_the_output_for_people() -> None:
    body = changed("BuildCache", "spec.fileSystem", {})
    result = explain(body, BUILD, changed("Build", "spec.executor", "kaniko"), options=())
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "default/web-1  executor ec2, BuildKit on EC2"
    assert "  buildctl build \\" in lines
    assert "environment" in lines
    assert "  BUILD_CACHE=true" in lines
    assert "warnings" in lines
    assert "  kaniko-caches at /kaniko/caches: fs-00000000000000000 through fsap-00000000000000000" in lines


def test_the_command_can_be_pasted_into_a_shell() -> None:
    command = ["printf", "%s|", "--x", "a b", "--y", "$(id)", "--z=it's \u2028 here"]
    shell = subprocess.run(["sh", "-c", "\n".join(command_lines(command))], capture_output=True, text=True, check=True)
    assert shell.stdout == "".join(f"{item}|" for item in command[2:])


WITHOUT = """
import sys
for name in ("boto3", "kubernetes", "kopf"):
    sys.modules[name] = None
import buildcache.cli
buildcache.cli.main()
"""


def test_neither_cluster_nor_aws_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all([dict(CACHE), dict(BUILD)]))
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, "explain", "-f", str(file), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(run.stdout)[0]["build"] == "default/web-1"
    assert run.stderr == ""


def test_without_the_command_line_packages_the_message_says_what_to_install() -> None:
    script = "import sys\nsys.modules['typer'] = None\nimport buildcache.cli\nbuildcache.cli.main()"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "pip install 'buildcache-operator[cli]'" in run.stderr
    assert "Traceback" not in run.stderr
