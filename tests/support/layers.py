"""Tar layers, and the manifests that name them."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from typing import Any

import zstandard

from cache.archives.packing import Packing
from tests.support.fake_registry import FakeRegistry

PACKERS = {"tar": bytes, "tar+gzip": gzip.compress, "tar+zstd": zstandard.ZstdCompressor(write_checksum=True).compress}


def tar(files: Mapping[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def layer(files: Mapping[str, bytes], *, packing: Packing = "tar") -> bytes:
    return PACKERS[packing](tar(files))


def manifest(registry: FakeRegistry, *layers: bytes, packing: Packing = "tar") -> dict[str, Any]:
    """Of a ModelPack artifact whose layers are all packed alike."""
    document = registry.model({}, archives=layers)
    for described in document["layers"]:
        described["mediaType"] += packing.removeprefix("tar")
    return document
