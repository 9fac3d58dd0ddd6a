"""Media types and annotations that we read and write."""

from __future__ import annotations

from collections.abc import Mapping

from cache.archives.packing import Packing

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

# Container images (OCI image spec 1.1; docker's image manifest v2.2), as KServe's modelcars are.
IMAGE_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
IMAGE_LAYERS: Mapping[str, Packing] = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    IMAGE_LAYER_TARGZ: "tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "tar+zstd",
}

# KitOps ModelKits: kitops-ml/kitops, pkg/lib/constants/mediatype. Names of raw layers are ModelPack's annotation.
KIT_CONFIG = "application/vnd.kitops.modelkit.config.v1+json"
KIT_LAYER_PREFIX = "application/vnd.kitops.modelkit."

# Docker Model Runner: docker/model-runner, pkg/distribution/types/config.go. v0.2 names every layer by ModelPack's
# annotation; v0.1 need not, and its reader gives the names below (internal/bundle/unpack.go).
DOCKER_MODEL_CONFIGS = (
    "application/vnd.docker.ai.model.config.v0.1+json",
    "application/vnd.docker.ai.model.config.v0.2+json",
)
DOCKER_FILE = "application/vnd.docker.ai.model.file"
DOCKER_NAMES = {
    "application/vnd.docker.ai.gguf.v3": "model.gguf",
    "application/vnd.docker.ai.safetensors": "model.safetensors",
    "application/vnd.docker.ai.dduf": "model.dduf",
    "application/vnd.docker.ai.mmproj": "model.mmproj",
    "application/vnd.docker.ai.chat.template.jinja": "template.jinja",
    "application/vnd.docker.ai.license": "LICENSE",
}
DOCKER_TARS = ("application/vnd.docker.ai.vllm.config.tar", "application/vnd.docker.ai.dir.tar")
