"""The runner is small on purpose: it runs beside code of users."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import buildcache.runner

FILES = sorted(Path(str(buildcache.runner.__file__)).parent.glob("*.py"))
ALLOWED = sys.stdlib_module_names | {"boto3", "botocore", "types_boto3_ecr", "types_boto3_s3"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_only_the_standard_library_and_boto3_are_imported(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= ALLOWED
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.level == 0 and str(node.module).split(".")[0] in ALLOWED)
