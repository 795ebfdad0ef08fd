"""One AWS for all tests of a module; they use names of their own."""

from tests.lab.aws.served import aws, shared_aws

__all__ = ["aws", "shared_aws"]
