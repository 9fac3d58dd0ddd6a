"""Which files a manifest stands for. Pure."""

from __future__ import annotations

import re

from api.digest import Digest
from api.errors import InvalidArtifact, UnsupportedSource
from api.tree import TreeFile, safe_path
from cache.sources.artifact import Archive, Artifact, Filter, check_files
from cache.sources.oci.manifest import Descriptor, Manifest
from cache.sources.oci.mediatypes import (
    IMAGE_LAYER_TARGZ,
    MODEL_CONFIG,
    MODEL_FILEPATH,
    MODEL_LAYER_PREFIX,
    MODEL_MANIFEST,
    OCI_EMPTY,
    ORAS_UNPACK,
    TITLE,
)

_MODEL_LAYER = re.compile(
    re.escape(MODEL_LAYER_PREFIX) + r"(weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar(\+[a-z0-9]+)?)"
)


def read_layers(manifest: Manifest, *, wanted: Filter) -> Artifact:
    """The files and archives of a manifest.

    Raises InvalidArtifact or UnsafePath where it breaks a rule, UnsupportedSource for a layer that cannot be read.
    """
    is_model = MODEL_MANIFEST in (manifest.artifact_type,) or manifest.config.media_type == MODEL_CONFIG
    read = _model_layer if is_model else _oras_layer
    files: list[TreeFile] = []
    archives: list[Archive] = []
    for layer in manifest.layers:
        if layer.media_type == OCI_EMPTY:
            continue  # image spec 1.1: the placeholder of an artifact without content
        entry = read(layer)
        if isinstance(entry, Archive):
            archives.append(entry)
        else:
            files.append(entry)
    check_files(files)
    kept = tuple(file for file in files if wanted.takes(file.path))
    if not kept and not archives:
        raise InvalidArtifact(
            "no file of the model is left to take",
            hint="see its files with `warmset ls`, and include or exclude fewer" if files else "",
        )
    return Artifact(kept, tuple(archives))


def _model_layer(layer: Descriptor) -> TreeFile | Archive:
    """ModelPack: a raw layer is one file, named by annotation; a tar layer holds files by their own names."""
    match = _MODEL_LAYER.fullmatch(layer.media_type)
    if match is None:
        raise UnsupportedSource(f"a layer of type {layer.media_type[:120]!r} cannot be read")
    packing = match.group(2)
    if packing == "tar":
        return Archive(Digest.parse(layer.digest), layer.size)
    if packing != "raw":
        raise _compressed(layer, packing)
    return _file(layer, layer.annotations.get(MODEL_FILEPATH) or layer.annotations.get(TITLE))


def _oras_layer(layer: Descriptor) -> TreeFile:
    """A plain ORAS artifact: a layer is one file, whatever its media type, unless it is marked as a packed folder."""
    title = layer.annotations.get(TITLE)
    if title is None:
        raise UnsupportedSource(
            f"a layer of type {layer.media_type[:120]!r} has no file name: this looks like a container image",
            hint="push the model with `warmset push` or `oras push`",
        )
    if layer.annotations.get(ORAS_UNPACK) == "true" or layer.media_type == IMAGE_LAYER_TARGZ:
        raise _compressed(layer, "tar+gzip")
    return _file(layer, title)


def _file(layer: Descriptor, path: str | None) -> TreeFile:
    if path is None:
        raise InvalidArtifact(f"layer {layer.digest[:80]} has no {MODEL_FILEPATH} annotation")
    return TreeFile(safe_path(path), layer.size, Digest.parse(layer.digest))


def _compressed(layer: Descriptor, packing: str) -> UnsupportedSource:
    name = layer.annotations.get(MODEL_FILEPATH) or layer.annotations.get(TITLE) or layer.digest
    return UnsupportedSource(
        f"layer {name[:120]!r} is packed as {packing}; this version reads raw files and plain tar",
        hint="push the folder with `warmset push`",
    )
