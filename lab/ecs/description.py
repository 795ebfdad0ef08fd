"""A task as DescribeTasks shows it. called by `lab.aws.task_api`; a text once made is kept until the task changes."""

from __future__ import annotations

import json
from typing import Any

from lab.ecs.containers import Progress
from lab.ecs.task import Task

CONTAINER_STATUS = {"waiting": "PENDING", "starting": "PENDING", "running": "RUNNING", "stopped": "STOPPED"}


def text(task: Task, *, tags: bool) -> str:
    """Return the description as JSON text."""
    with task.lock:
        kept = task.renderings.get(tags)
        if kept is None or kept[0] != task.version:
            kept = (task.version, json.dumps(describe(task, tags=tags), separators=(",", ":")))
            task.renderings[tags] = kept
        return kept[1]


def reference(task: Task) -> dict[str, Any]:
    """Return the little that a repeated RunTask answers for a task that has stopped."""
    with task.lock:
        return {"taskArn": task.arn, "lastStatus": task.last_status, "desiredStatus": task.desired_status}


def describe(task: Task, *, tags: bool) -> dict[str, Any]:
    """Return the description: of RunTask's own answer too."""
    with task.lock:
        launch = task.launch
        definition = task.definition
        fargate = launch.launch_type == "FARGATE"
        shown: dict[str, Any] = {
            "taskArn": task.arn,
            "taskDefinitionArn": definition["taskDefinitionArn"],
            "clusterArn": launch.cluster_arn,
            "group": launch.group,
            "lastStatus": task.last_status,
            "desiredStatus": task.desired_status,
            "version": task.version,
            "connectivity": "CONNECTED",
            "healthStatus": "UNKNOWN",
            "enableExecuteCommand": False,
            "overrides": _overrides(task),
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "attachments": _attachments(task),
            "containers": _containers(task) if task.shows_containers else [],
            "tags": task.tags if tags else [],
            **task.times,
        }
        optional = {
            "startedBy": launch.started_by,
            "launchType": None if launch.capacity_provider and not fargate else launch.launch_type,
            "capacityProviderName": launch.capacity_provider,
            "availabilityZone": launch.availability_zone,
            "cpu": task.overrides.get("cpu") or definition.get("cpu"),
            "memory": task.overrides.get("memory") or definition.get("memory"),
            "stopCode": task.stop_code,
            "stoppedReason": task.stopped_reason,
            "platformVersion": launch.platform_version if fargate else None,
            "platformFamily": "Linux" if fargate else None,
            "ephemeralStorage": _storage(task) if fargate else None,
            "connectivityAt": task.times.get("pullStartedAt"),
        }
        shown.update((key, value) for key, value in optional.items() if value is not None)
        return shown


def _overrides(task: Task) -> dict[str, Any]:
    given = {entry.get("name"): entry for entry in task.overrides.get("containerOverrides") or ()}
    names = [container["name"] for container in task.definition["containerDefinitions"]]
    return {
        **task.overrides,
        "containerOverrides": [given.get(name, {"name": name}) for name in names],
        "inferenceAcceleratorOverrides": task.overrides.get("inferenceAcceleratorOverrides", []),
    }


def _attachments(task: Task) -> list[dict[str, Any]]:
    interface = task.launch.interface
    if interface is None:
        return []
    details = [{"name": "subnetId", "value": interface["subnetId"]}]
    if task.last_status == "PROVISIONING":
        status = "PRECREATED"
    else:
        status = "DELETED" if task.last_status in ("DEPROVISIONING", "STOPPED") else "ATTACHED"
        details += [
            {"name": name, "value": value} for name, value in interface.items() if name not in ("subnetId", "id")
        ]
    return [{"id": interface["id"], "type": "ElasticNetworkInterface", "status": status, "details": details}]


def _containers(task: Task) -> list[dict[str, Any]]:
    return [_container(task, name, progress, reason) for name, progress, reason in task.container_states()]


def _container(task: Task, name: str, progress: Progress, reason: str | None) -> dict[str, Any]:
    definition = task.container_definition(name)
    shown: dict[str, Any] = {
        "containerArn": f"{task.arn.replace(':task/', ':container/')}/{name}",
        "taskArn": task.arn,
        "name": name,
        "image": definition["image"],
        "lastStatus": "STOPPED" if task.last_status == "STOPPED" else CONTAINER_STATUS[progress.phase],
        "networkBindings": [],
        "networkInterfaces": [],
        "healthStatus": ("HEALTHY" if progress.healthy else "UNHEALTHY")
        if definition.get("healthCheck")
        else "UNKNOWN",
        "cpu": str(definition.get("cpu", 0)),
    }
    interface = task.launch.interface
    if interface is not None and task.last_status != "PROVISIONING":
        shown["networkInterfaces"] = [
            {"attachmentId": interface["id"], "privateIpv4Address": interface["privateIPv4Address"]}
        ]
    if definition.get("memory"):
        shown["memory"] = str(definition["memory"])
    if progress.started:
        shown["runtimeId"] = f"{task.id}-{name}"
    if progress.exit_code is not None:
        shown["exitCode"] = progress.exit_code
    if reason is not None:
        shown["reason"] = reason
    return shown


def _storage(task: Task) -> dict[str, Any]:
    given: dict[str, Any] = (
        task.overrides.get("ephemeralStorage") or task.definition.get("ephemeralStorage") or {"sizeInGiB": 20}
    )
    return given
