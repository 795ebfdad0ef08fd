"""ECS clusters and task definitions. Tasks are not moto's at all: `lab.aws.task_api` answers for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

from moto.core.responses import ActionResult
from moto.ecs import urls
from moto.ecs.exceptions import ECSException, TaskDefinitionNotFoundException
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse

from lab.aws.gaps import task_definition
from lab.aws.gaps.pages import page


class Ecs(EC2ContainerServiceBackend):  # type: ignore[misc]  # moto carries no types
    """moto's backend with AWS's rules for clusters and task definitions."""

    task_counts: ClassVar[dict[str, Callable[[str], tuple[int, int]]]] = {}
    """How to count the running and pending tasks of a cluster, by account."""

    @property
    def _url_module(self) -> Any:
        return urls

    def _count(self, cluster_arn: str) -> tuple[int, int]:
        count = self.task_counts.get(self.account_id)
        return count(cluster_arn) if count is not None else (0, 0)

    def create_cluster(self, cluster_name: str, *args: Any, **kwargs: Any) -> Any:
        """Return an existing cluster unchanged."""
        existing = self.clusters.get(cluster_name)
        if existing is not None and existing.status == "ACTIVE":
            return existing
        return super().create_cluster(cluster_name, *args, **kwargs)

    def delete_cluster(self, cluster_str: str) -> Any:
        """Refuse while tasks are there."""
        cluster = self._get_cluster(cluster_str)
        if sum(self._count(cluster.arn)):
            raise ECSException("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
        return super().delete_cluster(cluster_str)

    def describe_clusters(self, cluster_names: list[str]) -> Any:
        """Count the tasks."""
        clusters, failures = super().describe_clusters(cluster_names)
        for cluster in clusters:
            cluster.running_tasks_count, cluster.pending_tasks_count = self._count(cluster.arn)
        return clusters, failures

    def register_task_definition(self, *args: Any, **kwargs: Any) -> Any:
        """Note when."""
        registered = super().register_task_definition(*args, **kwargs)
        registered.registered_at = time.time()
        return registered

    def deregister_task_definition(self, task_definition_str: str) -> Any:
        """Note when."""
        deregistered = super().deregister_task_definition(task_definition_str)
        deregistered.deregistered_at = time.time()
        return deregistered

    def describe_task_definition(self, task_definition_str: str) -> Any:
        """Find by a family its latest ACTIVE revision, not an INACTIVE one."""
        name = task_definition_str.rpartition("/")[2]
        if ":" in name:
            if not name.rpartition(":")[2].isdecimal():
                raise ECSException("ClientException", f"Invalid revision number. Number: {name.rpartition(':')[2]}")
            return super().describe_task_definition(task_definition_str)
        active = [found for found in self.task_definitions.get(name, {}).values() if found.status == "ACTIVE"]
        if not active:
            raise TaskDefinitionNotFoundException
        return max(active, key=lambda found: int(found.revision))


class EcsResponse(EC2ContainerServiceResponse):  # type: ignore[misc]  # moto carries no types
    """moto's answers with the checks and pages that it leaves out."""

    def register_task_definition(self) -> Any:
        """Refuse what AWS refuses."""
        problem = task_definition.problem(self.params)
        if problem is not None:
            raise ECSException("ClientException", problem)
        answer = super().register_task_definition()
        answer.result["tags"] = answer.result["taskDefinition"].tags
        return answer

    def list_task_definitions(self) -> Any:
        """List in pages, in the order asked for."""
        found = self.ecs_backend.list_task_definitions(
            self._get_param("familyPrefix"), self._get_param("status", "ACTIVE")
        )
        found.sort(key=_family_and_revision, reverse=self._get_param("sort") == "DESC")
        part, token = page(found, self._get_param("maxResults") or 100, self._get_param("nextToken"))
        return ActionResult({"taskDefinitionArns": part, **({"nextToken": token} if token else {})})

    def list_task_definition_families(self) -> Any:
        """List the families with an ACTIVE revision, or those without one, or all; in pages."""
        status, prefix = self._get_param("status"), self._get_param("familyPrefix") or ""
        found = []
        for family, revisions in sorted(self.ecs_backend.task_definitions.items()):
            active = any(revision.status == "ACTIVE" for revision in revisions.values())
            if family.startswith(prefix) and status in (None, "ALL", "ACTIVE" if active else "INACTIVE"):
                found.append(family)
        part, token = page(found, self._get_param("maxResults") or 100, self._get_param("nextToken"))
        return ActionResult({"families": part, **({"nextToken": token} if token else {})})


def _family_and_revision(arn: str) -> tuple[str, int]:
    family, _, revision = arn.rpartition("/")[2].rpartition(":")
    return family, int(revision)


def fill(account: str, task_counts: Callable[[str], tuple[int, int]]) -> None:
    """Let moto make this backend and answer with these responses."""
    Ecs.task_counts[account] = task_counts
    ecs_backends.backend = Ecs
    urls.url_paths = dict.fromkeys(urls.url_paths, EcsResponse.dispatch)
