"""The shipped manifests: the least rights, a hardened pod, and IAM policies that hold exactly the calls of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from buildcache import __version__
from buildcache.settings import IMAGE, NAMES, PREFIX, SettingsError, read

ROOT = Path(__file__).parents[2]
BASE = ROOT / "manifests/base"
AWS = ROOT / "manifests/aws"


def documents(folder: Path) -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        path = folder / name
        found += documents(path) if path.is_dir() else [each for each in yaml.safe_load_all(path.read_text()) if each]
    return found


def one(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in documents(BASE) if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


@pytest.fixture
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = one("Deployment", "buildcache-operator")["spec"]["template"]["spec"]
    return spec


def test_the_base_brings_both_kinds() -> None:
    names = {each["spec"]["names"]["kind"] for each in documents(BASE) if each["kind"] == "CustomResourceDefinition"}
    assert names == {"BuildCache", "Build"}


def test_the_operators_rights_are_exactly_those_it_uses__H08() -> None:
    rules = one("ClusterRole", "buildcache-operator")["rules"]
    assert rights(rules) == {
        *((kind, verb) for kind in ("buildcaches", "builds") for verb in ("get", "list", "watch", "patch")),
        *((f"{kind}/status", "patch") for kind in ("buildcaches", "builds")),
        ("builds", "delete"),  # spec.ttlAfterFinished
        *(("events", verb) for verb in ("create", "patch")),
    }
    assert {group for rule in rules for group in rule["apiGroups"]} == {"buildcache.dev", "events.k8s.io"}


def test_p8_the_role_for_one_namespace_has_the_rights_of_the_cluster_role() -> None:
    role, binding = documents(ROOT / "manifests/namespace-access")
    assert role["kind"] == "Role"
    assert rights(role["rules"]) == rights(one("ClusterRole", "buildcache-operator")["rules"])
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert (
        binding["subjects"]
        == next(each for each in documents(BASE) if each["kind"] == "ClusterRoleBinding")["subjects"]
    )


def test_p8_the_namespaced_overlay_grants_what_it_watches_and_nothing_in_the_cluster() -> None:
    folder = ROOT / "manifests/overlays/namespaced"
    overlay = yaml.safe_load((folder / "kustomization.yaml").read_text())
    patches = [yaml.safe_load(each["patch"]) for each in overlay["patches"]]
    removed = {(each["kind"], each["metadata"]["name"]) for each in patches if each.get("$patch") == "delete"}
    assert removed == {(kind, "buildcache-operator") for kind in ("ClusterRole", "ClusterRoleBinding")}
    (deployment,) = (each for each in patches if each["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    settings = read({each["name"]: each["value"] for each in container["env"]}, terminal=False)
    granted = {
        yaml.safe_load((folder / name / "kustomization.yaml").read_text())["namespace"]
        for name in overlay["resources"]
        if (folder / name).is_dir() and not name.startswith("..")
    }
    assert set(settings.namespaces) == granted


def rights(rules: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_role_is_bound_to_the_service_account_of_the_pod_and_to_nobody_else__H08(pod: dict[str, Any]) -> None:
    (binding,) = (each for each in documents(BASE) if each["kind"] == "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == "buildcache-operator"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": "buildcache-system"}
    ]
    assert not [each for each in documents(BASE) if each["kind"] in ("Secret", "Role", "RoleBinding")]


def test_nobody_gets_the_status_by_an_aggregated_role__H18() -> None:
    for role in (each for each in documents(BASE) if each["kind"] == "ClusterRole"):
        resources = [name for rule in role["rules"] for name in rule["resources"]]
        verbs = [name for rule in role["rules"] for name in rule["verbs"]]
        assert "*" not in resources + verbs
        if role["metadata"]["name"] != "buildcache-operator":
            assert not [name for name in resources if "/" in name]


def test_the_pod_is_restricted__H09(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all("hostPath" not in volume for volume in pod["volumes"])
    assert "memory" in container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert (
        one("Namespace", "buildcache-system")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )


def test_one_operator_at_a_time_with_time_to_end(pod: dict[str, Any]) -> None:
    deployment = one("Deployment", "buildcache-operator")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
    assert pod["terminationGracePeriodSeconds"] > 10


def test_probes_ask_what_the_operator_answers(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "probes"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "probes"}
    assert ports == {
        "probes": environment["BUILDCACHE_PROBE_PORT"],
        "metrics": environment["BUILDCACHE_METRICS_PORT"],
    }


def test_the_environment_holds_only_settings_that_exist_and_asks_for_the_cluster_id(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert {name.removeprefix(PREFIX) for name in environment if name.startswith(PREFIX)} <= set(NAMES)
    with pytest.raises(SettingsError, match="CLUSTER_ID is required"):
        read(environment, terminal=False)
    assert read({**environment, "BUILDCACHE_CLUSTER_ID": "prod"}, terminal=False).runner_image == IMAGE


def test_the_image_is_the_released_one_of_this_version(pod: dict[str, Any]) -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    (image,) = kustomization["images"]
    assert image["newTag"] == __version__
    assert f"{image['name']}:{image['newTag']}" == IMAGE
    assert pod["containers"][0]["image"] == image["name"]


# IAM


def statements(name: str) -> list[dict[str, Any]]:
    policy = json.loads((AWS / name).read_text())
    assert policy["Version"] == "2012-10-17"
    found: list[dict[str, Any]] = policy["Statement"]
    return found


def called() -> set[str]:
    """The IAM actions of the calls that `aws/` makes, which names each of them for its error messages."""
    text = "".join(path.read_text() for path in sorted((ROOT / "operator/buildcache/aws").glob("*.py")))
    actions = set(re.findall(r'translated\(\s*f?"([a-z0-9]+:[A-Za-z{}_.()]+)"', text))
    spelled = {re.sub(r"\{.*\}", direction, action) for action in actions for direction in ("Ingress", "Egress")}
    assert len(spelled) > 30
    return spelled


IMPLIED = {
    # needed by EFS for mount targets, on the caller's behalf
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:ModifyNetworkInterfaceAttribute",
    # needed by ECS and EFS for roles
    "iam:PassRole",
    "iam:CreateServiceLinkedRole",
}


OPERATOR = ("operator-policy.json", "operator-tasks-policy.json")


def operators() -> list[dict[str, Any]]:
    """What the operator may do in every account."""
    return [statement for name in OPERATOR for statement in statements(name)]


def test_the_operators_policy_holds_exactly_the_calls_of_the_code__H06() -> None:
    allowed = {action for statement in operators() for action in statement["Action"]}
    assert allowed - IMPLIED == called()
    assert allowed >= IMPLIED


@pytest.mark.parametrize("name", sorted(path.name for path in AWS.glob("*-policy.json")))
def test_every_policy_fits_into_a_managed_policy(name: str) -> None:
    compact = json.dumps(json.loads((AWS / name).read_text()), separators=(",", ":"))
    # 6,144 is the limit: the values that are put in are longer than the words in capitals.
    assert len(compact) < 5000


def test_a6_repositories_are_tagged_and_deleted_by_name_only() -> None:
    """The owner tag allows to delete: a role that may tag any repository may delete any."""
    for statement in operators():
        if any(action.startswith("ecr:") for action in statement["Action"]) and statement["Sid"] != "RepositoryLook":
            names = [resource.partition(":repository/")[2] for resource in statement["Resource"]]
            assert names == ["buildcache/*", "CACHE_REPOSITORY"], statement["Sid"]
    reading = {"ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:ListTagsForResource"}
    (look,) = (each for each in operators() if each["Sid"] == "RepositoryLook")
    assert set(look["Action"]) == reading


def test_a6_a_repository_with_a_key_can_be_deleted() -> None:
    (statement,) = statements("operator-kms-policy.json")
    assert {"kms:CreateGrant", "kms:RetireGrant", "kms:DescribeKey"} <= set(statement["Action"])
    assert "kms:RetireGrant" in (AWS / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(path.name for path in AWS.glob("*-policy.json")))
def test_no_policy_has_a_wildcard_action_and_all_statements_have_names(name: str) -> None:
    found = statements(name)
    for statement in found:
        assert not [action for action in statement["Action"] if "*" in action]
        assert statement["Effect"] == "Allow"
    assert len({statement["Sid"] for statement in found}) == len(found)


def test_changing_calls_are_bound_to_the_owner_tag_or_to_a_name__H06() -> None:
    free = {"Look", "TaskDefinitionLook", "FileSystemInterfaces", "TaskDefinitionOwn"}
    for statement in operators():
        if statement["Resource"] == "*" and statement["Sid"] not in free:
            assert statement.get("Condition"), statement["Sid"]


def test_roles_are_passed_by_name_to_tasks_only__H05() -> None:
    (statement,) = (each for each in operators() if "iam:PassRole" in each["Action"])
    assert all("*" not in resource for resource in statement["Resource"])
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


@pytest.mark.parametrize("name", ["task-role-policy.json", "execution-role-policy.json"])
def test_tasks_reach_named_things_only__H04(name: str) -> None:
    for statement in statements(name):
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        if statement["Action"] != ["ecr:GetAuthorizationToken"]:
            assert "*" not in resources


def test_every_placeholder_is_explained() -> None:
    readme = (AWS / "README.md").read_text()
    text = "".join(path.read_text() for path in AWS.glob("*.json"))
    placeholders = set(re.findall(r"(?<![A-Za-z])[A-Z]{2,}(?:_[A-Z]+)*(?![A-Za-z])", text))
    assert placeholders
    assert not [name for name in placeholders if f"`{name}`" not in readme]
