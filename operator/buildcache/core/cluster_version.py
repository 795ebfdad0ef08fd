"""Whether the Kubernetes cluster is one that this operator is made for. Asked at start by the shell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MINIMUM = (1, 31)
"""Since 1.30 an unchanged field that a newer CRD refuses no longer blocks other changes (CRDValidationRatcheting, beta and on);
before, an object that was stored under an older CRD could keep its finalizer for ever. Since 1.31 the API server knows
`selectableFields` (CustomResourceFieldSelectors, beta and on)."""


def complaint(version: Mapping[str, Any]) -> str:
    """What is wrong with a cluster that answers /version like this; empty when nothing is, or when it does not tell."""
    found = [re.match(r"\d+", str(version.get(part, ""))) for part in ("major", "minor")]
    numbers = tuple(int(number[0]) for number in found if number)
    if len(numbers) < 2 or numbers >= MINIMUM:
        return ""
    return (
        f"Kubernetes {numbers[0]}.{numbers[1]} is older than {MINIMUM[0]}.{MINIMUM[1]}: objects that a newer CRD refuses "
        "cannot be changed any more there, so a deleted one may never go. Upgrade the cluster"
    )
