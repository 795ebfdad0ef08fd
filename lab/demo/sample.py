"""The sample of `manifests/samples/` in the lab's terms: the same files that people start from, with the lab's ids in them."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Any

import yaml

from lab.demo.cluster import Cluster
from lab.errors import LabError
from lab.files import PROJECT

SAMPLES = PROJECT / "manifests" / "samples"
BUCKET = "demo-sources"
_VERSION = ("src/shop", "my $VERSION = '1.0.0';", "my $VERSION = '1.0.1';")


def archive(*, changed: bool) -> bytes:
    """The sample app as tgz, the same bytes every time; `changed`: as after a commit that raises the program's version."""
    app = SAMPLES / "app"
    packed = io.BytesIO()
    # Neither gzip's clock nor the files' times: a source archive is named by what is in it.
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for path in sorted(app.rglob("*")):
            name = path.relative_to(app).as_posix()
            if not path.is_file():
                continue
            content = path.read_bytes()
            if changed and name == _VERSION[0]:
                old, new = (text.encode() for text in _VERSION[1:])
                if old not in content:
                    raise LabError(f"{path} holds no line {_VERSION[1]!r} that the demo could change")
                content = content.replace(old, new)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def cache(cluster: Cluster) -> dict[str, Any]:
    """The sample BuildCache with network, cluster and roles of the lab; plus a file system, so that every kind of part is seen."""
    body = _load("buildcache.yaml")
    ec2 = cluster.aws("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
    zones = {subnet["AvailabilityZone"]: subnet["SubnetId"] for subnet in subnets}
    info = cluster.info
    spec = body["spec"]
    spec["region"] = info["region"]
    spec["clusterARN"] = f"arn:aws:ecs:{info['region']}:{info['account']}:cluster/builds"
    spec["network"] = {"vpcID": vpc, "subnetIDs": [zones[zone] for zone in sorted(zones)[:3]]}
    spec["fileSystem"] = {}
    for executor in spec["executors"]:
        for role in ("taskRoleARN", "executionRoleARN"):
            executor[role] = f"arn:aws:iam::{info['account']}:role/{executor[role].rpartition('/')[2]}"
    return body


def build(cluster: Cluster, name: str, key: str) -> dict[str, Any]:
    """The sample Build with an archive as source, the lab's base image and an output in its registry."""
    body = _load("build.yaml")
    registry = cluster.info["registry"]
    body["metadata"]["name"] = name
    spec = body["spec"]
    spec["source"] = {"s3": {"uri": f"s3://{BUCKET}/{key}"}}
    spec["buildArgs"] = [{"name": "BASE_IMAGE", "value": f"{registry}/debian:12"}]
    spec["output"] = {"images": [f"{registry}/acme/shop:{name}"]}
    return body


def _load(name: str) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load((SAMPLES / name).read_text())
    return body
