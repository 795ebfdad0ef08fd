"""ECR: repositories live in the lab's registry, and lists come in pages."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from moto.core.responses import ActionResult
from moto.ecr import urls
from moto.ecr.models import ECRBackend, ecr_backends
from moto.ecr.responses import ECRResponse

from lab.aws.gaps.pages import page


class Ecr(ECRBackend):  # type: ignore[misc]  # moto carries no types
    """moto's backend, whose repositories are found at the lab's registry."""

    registries: ClassVar[dict[str, str]] = {}
    """Address of the registry, by account."""

    @property
    def _url_module(self) -> Any:
        return urls

    def create_repository(self, **kwargs: Any) -> Any:
        """Make a repository with the address of the lab's registry."""
        repository = super().create_repository(**kwargs)
        repository.uri = f"{registry_of(self.account_id)}/{repository.name}"
        return repository


class EcrResponse(ECRResponse):  # type: ignore[misc]  # moto carries no types
    """moto's answers with those that the lab must give itself."""

    def describe_repositories(self) -> Any:
        """List in pages, as AWS does when no names are given."""
        names = self._get_param("repositoryNames")
        found = self.ecr_backend.describe_repositories(
            repository_names=names, registry_id=self._get_param("registryId")
        )
        if names:
            return ActionResult({"repositories": found})
        part, token = page(found, self._get_param("maxResults") or 100, self._get_param("nextToken"))
        return ActionResult({"repositories": part, **({"nextToken": token} if token else {})})

    def get_authorization_token(self) -> Any:
        """Give a login for the lab's registry, which takes any."""
        token = b64encode(f"AWS:{self.current_account}-auth-token".encode()).decode()
        return ActionResult(
            {
                "authorizationData": [
                    {
                        "authorizationToken": token,
                        "expiresAt": datetime.now(UTC) + timedelta(hours=12),
                        "proxyEndpoint": f"https://{registry_of(self.current_account)}",
                    }
                ]
            }
        )


def registry_of(account: str) -> str:
    """Return the registry of an account; one reached by AssumeRole shares that of the lab."""
    return Ecr.registries.get(account) or next(iter(Ecr.registries.values()))


def fill(account: str, registry: str) -> None:
    """Let moto make this backend and answer with these responses."""
    Ecr.registries[account] = registry
    ecr_backends.backend = Ecr
    urls.url_paths = dict.fromkeys(urls.url_paths, EcrResponse.dispatch)
