"""Drivers: observe what AWS has, apply one write. They decide nothing; the only package (with the runner) that knows boto3."""
