"""Registry hosts of ECR: where a login for AWS may go, and what an admin may name."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from .meta import REGION, Pattern

_OTHER_SUFFIXES: Mapping[str, str] = {
    "cn": "amazonaws.com.cn",
    "eusc": "amazonaws.eu",
    "us-iso": "c2s.ic.gov",
    "us-isob": "sc2s.sgov.gov",
    "us-isof": "csp.hci.ic.gov",
    "eu-isoe": "cloud.adc-e.uk",
}
"""How the name of a region begins → the DNS suffix of its partition. All others have that of AWS itself."""

_SUFFIX = "amazonaws.com"
_SUFFIXES = "|".join(re.escape(suffix) for suffix in (_SUFFIX, *_OTHER_SUFFIXES.values()))
_HOST = rf"[0-9]{{12}}\.(dkr\.ecr(-fips)?\.{REGION}\.({_SUFFIXES})|dkr-ecr\.{REGION}\.on\.aws)"
_IS_HOST = re.compile(_HOST, re.ASCII)

ECRHost = Annotated[
    str,
    Field(max_length=128),
    Pattern(_HOST, "must be the host of an ECR registry such as 111122223333.dkr.ecr.eu-west-1.amazonaws.com"),
]


def dns_suffix(region: str) -> str:
    """What the names of AWS's services end with in this region."""
    return next((suffix for begins, suffix in _OTHER_SUFFIXES.items() if region.startswith(f"{begins}-")), _SUFFIX)


def ecr_host(reference: str) -> str | None:
    """The registry host of an image reference or repository URI when that is ECR, else None."""
    host = reference.partition("/")[0]
    return host if _IS_HOST.fullmatch(host) else None
