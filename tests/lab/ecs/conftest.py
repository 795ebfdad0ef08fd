"""One AWS for all tests of a module; they use names of their own."""

from collections.abc import Iterator

import pytest

from tests.lab.aws.served import Served, served


@pytest.fixture(scope="module")
def shared_aws() -> Iterator[Served]:
    with served() as world:
        yield world


@pytest.fixture
def aws(shared_aws: Served) -> Iterator[Served]:
    """The module's AWS without faults."""
    shared_aws.aws.clear_faults()
    yield shared_aws
    shared_aws.aws.clear_faults()
