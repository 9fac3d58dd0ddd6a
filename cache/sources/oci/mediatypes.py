"""Media types and annotations that we read and write."""

from __future__ import annotations

# OCI image spec 1.1, Media Types; and docker's older names for the same shapes.
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)

# ModelPack model spec v1: specs-go/v1/mediatype.go, docs/annotations.md.
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER_PREFIX = "application/vnd.cncf.model."
MODEL_FILEPATH = "org.cncf.model.filepath"

# ORAS: a file's name; and the mark of a folder that was packed as tar+gzip.
TITLE = "org.opencontainers.image.title"
ORAS_UNPACK = "io.deis.oras.content.unpack"
IMAGE_LAYER_TARGZ = "application/vnd.oci.image.layer.v1.tar+gzip"
