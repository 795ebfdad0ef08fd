"""The two AWS services the runner uses, and what their errors mean for a build: S3 for sources, ECR for registry logins."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from .failure import NOT_ALLOWED, NOT_FOUND, OTHER, UNSAFE, FetchError

if TYPE_CHECKING:
    from pathlib import Path

    from types_boto3_ecr import ECRClient
    from types_boto3_s3 import S3Client

_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9!_.*()/+=@-]{1,1024})")
_SUFFIXES = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
)
"""DNS suffixes of AWS's partitions."""
_ECR_HOST = re.compile(
    rf"[0-9]{{12}}\.(?:dkr\.ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9-]+)\.(?:{'|'.join(map(re.escape, _SUFFIXES))})"
    r"|dkr-ecr\.(?P<region2>[a-z0-9-]+)\.on\.aws)"
)
_CONFIG = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5})
_FIPS = _CONFIG.merge(Config(use_fips_endpoint=True))

_ABSENT = {"NoSuchKey", "NoSuchBucket", "NoSuchVersion", "404", "MethodNotAllowed"}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "403",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidObjectState",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_CHUNK = 1024 * 1024


def s3_client() -> S3Client:
    """S3 in the task's region, as the task role."""
    return boto3.client("s3", config=_CONFIG)


def ecr_client(region: str | None, fips: bool) -> ECRClient:
    """ECR of one region, as the task role. None: the task's own region."""
    return boto3.client("ecr", region_name=region, config=_FIPS if fips else _CONFIG)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key."""
    match = _URI.fullmatch(uri)
    if match is None:
        raise FetchError(UNSAFE, "the S3 URI must be s3://bucket/key")
    return match[1], match[2]


def download(client: S3Client, uri: str, version_id: str | None, target: Path, *, max_bytes: int) -> None:
    """The object as a file. A missing key looks like a forbidden one to a role without s3:ListBucket: the text says so."""
    bucket, key = split_uri(uri)
    where: dict[str, Any] = {"Bucket": bucket, "Key": key} | ({"VersionId": version_id} if version_id else {})
    named = f"{uri} (version {version_id})" if version_id else uri
    try:
        body = client.get_object(**where)["Body"]
        left = max_bytes
        with target.open("wb") as file:
            for chunk in body.iter_chunks(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise FetchError(UNSAFE, f"{named} is larger than {max_bytes} bytes")
                file.write(chunk)
    except (ClientError, BotoCoreError) as error:
        raise _failure(error, f"read {named}", f"there is no object {named}") from error


def logins(
    hosts: Iterable[str],
    further: Iterable[str],
    client: Callable[[str | None, bool], ECRClient],
    *,
    warn: Callable[[str], None],
) -> Mapping[str, str]:
    """A login for each registry that is ECR; host → base64 of user:password, as Docker's configuration wants it.

    `hosts` are those that the build cannot do without. Its Dockerfile may name others: the account's own registry, and `further` ones.
    Whether it does is not known here, so without a login for one of them the build goes on, and `warn` tells why there is none.

    The token opens every repository the task role may use, so it is written only for hosts that AWS itself runs: those with ECR's
    names, and the endpoint that the token's answer names. Another registry that a user put into an image name gets none.
    """
    found: dict[str, str] = {}
    tokens: dict[_Where, _Token | FetchError] = {}
    for host in hosts:
        match = _ECR_HOST.fullmatch(host)
        token = _token(_where(match), host, client, tokens)
        if isinstance(token, FetchError):
            raise token
        if match or host == token.endpoint:
            found[host] = token.login
    own = _token(_where(None), "of the account", client, tokens)
    if isinstance(own, FetchError):
        warn(str(own))
    elif own.endpoint:
        found[own.endpoint] = own.login
    for host in further:
        match = _ECR_HOST.fullmatch(host)
        if match is None:
            warn(f"the registry {host} is not of ECR: it gets no login")
            continue
        token = _token(_where(match), host, client, tokens)
        if isinstance(token, FetchError):
            warn(str(token))
        else:
            found[host] = token.login
    return found


_Where = tuple[str | None, bool]
"""Region of a registry, None for the task's own, and whether its endpoint is a FIPS one."""


@dataclass(frozen=True, slots=True)
class _Token:
    login: str
    endpoint: str
    """The host that AWS says it is for: the account's registry."""


def _where(match: re.Match[str] | None) -> _Where:
    return (match["region"] or match["region2"], bool(match["fips"])) if match else (None, False)


def _token(
    where: _Where,
    host: str,
    client: Callable[[str | None, bool], ECRClient],
    known: dict[_Where, _Token | FetchError],
) -> _Token | FetchError:
    """Ask each place once, also when it does not answer: that takes its time."""
    if where not in known:
        try:
            data = client(*where).get_authorization_token()["authorizationData"][0]
            known[where] = _Token(data["authorizationToken"], urlsplit(data.get("proxyEndpoint", "")).netloc)
        except (ClientError, BotoCoreError) as error:
            known[where] = _failure(error, f"get a login for the registry {host}", f"there is no registry {host}")
    return known[where]


def _failure(error: ClientError | BotoCoreError, doing: str, absent: str) -> FetchError:
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        if code in _ABSENT:
            return FetchError(NOT_FOUND, absent)
        if code in _DENIED:
            hint = (
                "; S3 answers the same for a missing key when the role may not list the bucket"
                if " s3://" in doing
                else ""
            )
            return FetchError(NOT_ALLOWED, f"the task role may not {doing}: {code}{hint}")
        return FetchError(OTHER, f"cannot {doing}: {code}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return FetchError(NOT_ALLOWED, f"cannot {doing}: the task has no AWS credentials (task role)")
    return FetchError(OTHER, f"cannot {doing}: {type(error).__name__}")
