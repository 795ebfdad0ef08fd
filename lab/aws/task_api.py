"""The ECS task operations as a WSGI layer in front of moto: everything else passes through. Wired by `lab.aws.cloud`."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lab.aws import answers
from lab.aws.faults import BODY, OPERATION
from lab.aws.operations import Operation
from lab.ecs import description, request
from lab.ecs.agent import Agent
from lab.ecs.refusals import Refused, invalid
from lab.ecs.task import Launch, Task

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

PAGE = 100


class TaskApi:
    """RunTask, DescribeTasks, ListTasks, StopTask, and the tags of tasks."""

    def __init__(self, agent: Agent, application: WSGIApplication) -> None:
        self._agent = agent
        self._account = agent.account
        self._application = application
        self._operations: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "RunTask": self._run,
            "DescribeTasks": self._describe,
            "ListTasks": self._list,
            "StopTask": self._stop,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTagsForResource": self._list_tags,
        }

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a task operation, pass on all others."""
        operation: Operation = environ[OPERATION]
        handler = self._operations.get(operation.name)
        if operation.service != "ecs" or handler is None or operation.region not in (None, self._account.region):
            return self._application(environ, start_response)
        parameters = json.loads(environ[BODY] or b"{}")
        if "resourceArn" in parameters and ":task/" not in parameters["resourceArn"]:
            return self._application(environ, start_response)
        try:
            answer = answers.json_text(handler(parameters))
        except Refused as refused:
            answer = answers.error(operation, refused.code, refused.message, refused.status, **refused.members)
        start_response(answer.status_line, list(answer.headers))
        return [answer.body]

    def _run(self, parameters: Mapping[str, Any]) -> str:
        request.check(parameters)
        cluster_arn = self._account.cluster_arn(parameters.get("cluster"))
        token = parameters.get("clientToken")
        with self._agent.launching:
            if token:
                used = self._agent.tasks.token(cluster_arn, token)
                if used is not None:
                    if used.fingerprint != request.fingerprint(parameters):
                        raise Refused(
                            "ConflictException",
                            "The provided client token is already in use with different parameters.",
                            resourceIds=[task.arn for task in used.tasks],
                        )
                    return _launched([_again(task) for task in used.tasks])
            definition = self._account.task_definition(parameters.get("taskDefinition", ""))
            request.check_fit(parameters, definition)
            self._check_surroundings(parameters)
            tasks = [
                self._agent.launch(self._launch(parameters, cluster_arn, definition))
                for _ in range(parameters.get("count", 1))
            ]
            if token:
                self._agent.tasks.use_token(cluster_arn, token, request.fingerprint(parameters), tasks)
        return _launched([description.describe(task, tags=True) for task in tasks])

    def _check_surroundings(self, parameters: Mapping[str, Any]) -> None:
        associated = self._account.capacity_providers(parameters.get("cluster"))
        for item in parameters.get("capacityProviderStrategy") or ():
            if item["capacityProvider"] not in associated:
                raise invalid(
                    "The specified capacity provider strategy cannot contain a capacity provider that is not associated "
                    "with the cluster. Associate the capacity provider with the cluster and try again."
                )
        network = (parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration")
        if network:
            self._account.check_network(network)

    def _launch(self, parameters: Mapping[str, Any], cluster_arn: str, definition: Mapping[str, Any]) -> Launch:
        task_id = secrets.token_hex(16)
        network = (parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration")
        interface, zone = self._account.attach_interface(network) if network else (None, None)
        strategy = parameters.get("capacityProviderStrategy")
        tags = {tag["key"]: tag.get("value", "") for tag in parameters.get("tags") or ()}
        if parameters.get("propagateTags") == "TASK_DEFINITION":
            tags = {**{tag["key"]: tag.get("value", "") for tag in definition["tags"]}, **tags}
        platform = parameters.get("platformVersion")
        return Launch(
            arn=f"{cluster_arn.replace(':cluster/', ':task/')}/{task_id}",
            id=task_id,
            cluster_arn=cluster_arn,
            definition=definition,
            overrides=parameters.get("overrides") or {},
            started_by=parameters.get("startedBy"),
            client_token=parameters.get("clientToken"),
            group=parameters.get("group") or f"family:{definition['family']}",
            tags=[{"key": key, "value": value} for key, value in tags.items()],
            launch_type=request.launch_type(parameters),
            capacity_provider=request.chosen_provider(strategy) if strategy else None,
            platform_version="1.4.0" if platform in (None, "LATEST") else platform,
            availability_zone=zone,
            interface=interface,
        )

    def _describe(self, parameters: Mapping[str, Any]) -> str:
        wanted = parameters.get("tasks") or ()
        if not wanted:
            raise invalid("Tasks cannot be empty.")
        if len(wanted) > PAGE:
            raise invalid(f"Tasks length must be at most {PAGE}.")
        cluster_arn = self._account.cluster_arn(parameters.get("cluster"))
        tags = "TAGS" in (parameters.get("include") or ())
        found: list[str] = []
        failures: list[dict[str, str]] = []
        for name in wanted:
            task = self._agent.tasks.read(cluster_arn, name)
            if task is not None:
                found.append(description.text(task, tags=tags))
            else:
                arn = name if name.startswith("arn:") else f"{cluster_arn.replace(':cluster/', ':task/')}/{name}"
                failures.append({"arn": arn, "reason": "MISSING"})
        return f'{{"tasks":[{",".join(found)}],"failures":{json.dumps(failures)}}}'

    def _list(self, parameters: Mapping[str, Any]) -> str:
        cluster_arn = self._account.cluster_arn(parameters.get("cluster"))
        others = [name for name in ("family", "serviceName", "containerInstance", "launchType") if parameters.get(name)]
        started_by, family, launch_type = (parameters.get(name) for name in ("startedBy", "family", "launchType"))
        if started_by and others:
            raise invalid(f"startedBy must be the only filter, it came with {', '.join(others)}.")
        limit = parameters.get("maxResults") or PAGE
        if not 1 <= limit <= PAGE:
            raise invalid(f"maxResults must be between 1 and {PAGE}.")
        desired = parameters.get("desiredStatus") or "RUNNING"
        arns: list[str] = []
        last = -1
        for number, task in self._agent.tasks.listed(cluster_arn, _page(parameters.get("nextToken"))):
            if (
                task.desired_status != desired
                or (started_by and task.launch.started_by != started_by)
                or (family and task.definition["family"] != family)
                or (launch_type and task.launch.launch_type != launch_type)
                or parameters.get("serviceName")
                or parameters.get("containerInstance")
            ):
                continue
            if len(arns) == limit:
                return json.dumps({"taskArns": arns, "nextToken": base64.b64encode(str(last).encode()).decode()})
            arns.append(task.arn)
            last = number
        return json.dumps({"taskArns": arns})

    def _stop(self, parameters: Mapping[str, Any]) -> str:
        cluster_arn = self._account.cluster_arn(parameters.get("cluster"))
        task = self._agent.tasks.find(cluster_arn, parameters.get("task", ""))
        if task is None:
            raise invalid("The referenced task was not found.")
        with task.lock:
            if task.stop("UserInitiated", parameters.get("reason") or "Task stopped by user"):
                task.tags = []
            return f'{{"task":{description.text(task, tags=True)}}}'

    def _tag(self, parameters: Mapping[str, Any]) -> str:
        task = self._tagged(parameters)
        request.check_tags(parameters.get("tags") or ())
        with task.lock:
            merged = {tag["key"]: tag for tag in (*task.tags, *(parameters.get("tags") or ()))}
            task.tags = list(merged.values())
            task.version += 1
        return "{}"

    def _untag(self, parameters: Mapping[str, Any]) -> str:
        task = self._tagged(parameters)
        with task.lock:
            task.tags = [tag for tag in task.tags if tag["key"] not in parameters.get("tagKeys", ())]
            task.version += 1
        return "{}"

    def _list_tags(self, parameters: Mapping[str, Any]) -> str:
        return json.dumps({"tags": self._tagged(parameters).tags})

    def _tagged(self, parameters: Mapping[str, Any]) -> Task:
        task = self._agent.tasks.by_arn(parameters["resourceArn"])
        if task is None:
            raise invalid("The specified task was not found.")
        return task


def _launched(tasks: list[dict[str, Any]]) -> str:
    return json.dumps({"tasks": tasks, "failures": []}, separators=(",", ":"))


def _again(task: Task) -> dict[str, Any]:
    if task.last_status == "STOPPED":
        return description.reference(task)
    return description.describe(task, tags=True)


def _page(token: str | None) -> int:
    if token is None:
        return -1
    try:
        return int(base64.b64decode(token, validate=True))
    except ValueError as problem:
        raise invalid("Invalid token") from problem
