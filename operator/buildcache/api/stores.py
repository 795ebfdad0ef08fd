"""What keeps a cache: the layer cache in ECR and the file system of cache mounts."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .meta import (
    Api,
    KeyARN,
    Pattern,
    RepositoryName,
    refuse,
)
from .rules import immutable, rule, rules

Management = Literal["Managed", "Observed"]

COMPRESSION_LEVELS: Mapping[str, int] = {"gzip": 9, "estargz": 9, "zstd": 22}
"""Compression → its highest level; what is missing here has no level (BuildKit, util/compression)."""


class Export(Api):
    """Options of the registry cache export of the BuildKit engines."""

    model_config = rules(
        rule(
            "self.ociMediaTypes || !(self.imageManifest || self.compression in ['estargz', 'zstd'])",
            "ociMediaTypes must be true with imageManifest, and with compression estargz or zstd",
            fieldPath=".ociMediaTypes",
        ),
        rule(
            "!has(self.compressionLevel) || (self.compression == 'zstd' && self.compressionLevel <= 22) || "
            "(self.compression in ['gzip', 'estargz'] && self.compressionLevel <= 9)",
            "compressionLevel must be 0..9 for gzip and estargz, 0..22 for zstd, absent for uncompressed",
            fieldPath=".compressionLevel",
        ),
    )

    mode: Annotated[
        Literal["max", "min"],
        Field(description="max keeps every stage, min only the layers of the result. Multi-stage builds need max."),
    ] = "max"
    compression: Annotated[
        Literal["estargz", "gzip", "zstd", "uncompressed"],
        Field(
            description="Compression of new layers. gzip, the image's own, is usually the better choice: cache and image then share layers."
        ),
    ] = "estargz"
    compression_level: Annotated[
        int | None, Field(ge=0, le=22, description="0..9 for gzip and estargz, 0..22 for zstd.")
    ] = None
    force_compression: Annotated[
        bool, Field(description="Compress layers again that exist in another form, the base image's too.")
    ] = False
    image_manifest: Annotated[
        bool,
        Field(
            description="Write the cache as an image manifest. ECR takes nothing else, nor do many other registries."
        ),
    ] = True
    oci_media_types: Annotated[bool, Field(description="Use OCI media types.")] = True
    ignore_error: Annotated[
        bool, Field(description="A failed export does not fail the build; CacheUsed says that it failed.")
    ] = True
    tag_suffix: Annotated[
        str,
        Field(max_length=64, description="The cache of a service has the tag {service}.{tagSuffix}."),
        Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", "must be letters, digits, _ . and -, and not begin with . or -"),
    ] = "buildcache"
    per_platform: Annotated[
        bool, Field(description="A tag for each platform: for builders of several architectures.")
    ] = False

    @model_validator(mode="after")
    def _media_types_and_level(self) -> Self:
        if not self.oci_media_types and (self.image_manifest or self.compression in ("estargz", "zstd")):
            raise refuse("ociMediaTypes", "must be true with imageManifest, and with compression estargz or zstd")
        if self.compression_level is not None and self.compression_level > COMPRESSION_LEVELS.get(self.compression, -1):
            raise refuse(
                "compressionLevel", "must be 0..9 for gzip and estargz, 0..22 for zstd, absent for uncompressed"
            )
        return self


class Registry(Api):
    """The layer cache in ECR."""

    model_config = rules(*immutable("repositoryName", "kmsKeyARN"))

    management: Annotated[
        Management,
        Field(description="Observed: the repository must exist; neither its policy nor its tags are touched."),
    ] = "Managed"
    repository_name: Annotated[
        RepositoryName | None, Field(description="Default buildcache/<namespace>/<name>. Immutable once set.")
    ] = None
    kms_key_arn: Annotated[
        KeyARN | None, Field(description="Key of the repository; none: AES-256 of ECR. Immutable once set.")
    ] = None
    retention_days: Annotated[
        int | None,
        Field(
            ge=1, le=365, description="Images are expired this many days after their push. None: no lifecycle policy."
        ),
    ] = None
    export: Export = Export()


class FileSystem(Api):
    """EFS that keeps `RUN --mount=type=cache` directories of Kaniko builds."""

    model_config = rules(
        rule(
            "(self.management == 'Observed') == has(self.id)",
            "id is required with management Observed and refused without",
            fieldPath=".id",
        ),
        rule(
            "(self.throughputMode == 'provisioned') == has(self.provisionedMiBps)",
            "provisionedMiBps is required with throughputMode provisioned and refused without",
            fieldPath=".provisionedMiBps",
        ),
        *immutable("id", "kmsKeyARN"),
    )

    management: Annotated[
        Management, Field(description="Observed: an existing file system that is never changed nor deleted.")
    ] = "Managed"
    id: Annotated[
        str | None,
        Field(max_length=48, description="File system to use, with management Observed. Immutable once set."),
        Pattern(r"fs-[0-9a-f]{8,40}", "must be a file system id such as fs-0123456789abcdef0"),
    ] = None
    kms_key_arn: Annotated[
        KeyARN | None,
        Field(
            description="Key of the file system, which is always encrypted; none: the AWS-managed key. Immutable once set."
        ),
    ] = None
    throughput_mode: Annotated[
        Literal["elastic", "bursting", "provisioned"],
        Field(description="AWS allows a change of mode once in 24 hours."),
    ] = "elastic"
    provisioned_mibps: Annotated[
        int | None, Field(ge=1, le=3414, description="MiB/s, with throughputMode provisioned.")
    ] = None
    transition_to_ia: Annotated[
        Literal["AFTER_1_DAY", "AFTER_7_DAYS", "AFTER_14_DAYS", "AFTER_30_DAYS", "AFTER_60_DAYS", "AFTER_90_DAYS"]
        | None,
        Field(
            description="When unread files move to infrequent access. null: never.",
            json_schema_extra={"nullable": True},
        ),
    ] = "AFTER_14_DAYS"
    backup: Annotated[bool, Field(description="Automatic backups by AWS Backup.")] = False

    @model_validator(mode="after")
    def _id_and_throughput(self) -> Self:
        if (self.management == "Observed") != (self.id is not None):
            raise refuse("id", "is required with management Observed and refused without")
        if (self.throughput_mode == "provisioned") != (self.provisioned_mibps is not None):
            raise refuse("provisionedMiBps", "is required with throughputMode provisioned and refused without")
        return self
