"""Which files a manifest stands for. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

from api.digest import Digest
from api.errors import InvalidArtifact, UnsupportedSource
from api.tree import TreeFile, safe_path
from cache.archives.packing import Packing
from cache.sources.artifact import Archive, Artifact, Filter, check_files
from cache.sources.oci.image import MAX_LAYERS
from cache.sources.oci.manifest import Descriptor, Manifest
from cache.sources.oci.mediatypes import (
    DOCKER_FILE,
    DOCKER_MODEL_CONFIGS,
    DOCKER_NAMES,
    DOCKER_TARS,
    IMAGE_CONFIGS,
    IMAGE_LAYER_TARGZ,
    IMAGE_LAYERS,
    KIT_CONFIG,
    KIT_LAYER_PREFIX,
    MODEL_CONFIG,
    MODEL_FILEPATH,
    MODEL_LAYER_PREFIX,
    MODEL_MANIFEST,
    OCI_EMPTY,
    ORAS_UNPACK,
    TITLE,
)

_MODEL_LAYER = re.compile(
    re.escape(MODEL_LAYER_PREFIX) + r"(?:weight|weight\.config|doc|code|dataset)\.v1\.(raw|tar(?:\+[a-z0-9]+)?)"
)
_KIT_LAYER = re.compile(
    re.escape(KIT_LAYER_PREFIX) + r"(?:model|modelpart|dataset|code|docs)\.v1\.(raw|tar(?:\+[a-z0-9]+)?)"
)
_Entry = TreeFile | Archive


def read_layers(manifest: Manifest, *, wanted: Filter) -> Artifact:
    """The files and archives of a manifest.

    Raises InvalidArtifact or UnsafePath where it breaks a rule, UnsupportedSource for a layer that cannot be read.
    """
    read = _reader(manifest)
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


def _reader(manifest: Manifest) -> Callable[[Descriptor], _Entry]:
    """What kind of artifact it is says how its layers are read."""
    config = manifest.config.media_type
    if manifest.artifact_type == MODEL_MANIFEST or config == MODEL_CONFIG:
        return partial(_packed_layer, grammar=_MODEL_LAYER)
    if config == KIT_CONFIG:
        return partial(_packed_layer, grammar=_KIT_LAYER)
    if config in DOCKER_MODEL_CONFIGS:
        return partial(_docker_layer, names=_docker_names(manifest.layers))
    is_image = config in IMAGE_CONFIGS and not manifest.artifact_type
    if is_image and all(layer.media_type in IMAGE_LAYERS for layer in manifest.layers):
        if len(manifest.layers) > MAX_LAYERS:
            raise InvalidArtifact(f"the container image has {len(manifest.layers)} layers; at most {MAX_LAYERS}")
        return _image_layer
    return _oras_layer


def _packed_layer(layer: Descriptor, *, grammar: re.Pattern[str]) -> _Entry:
    """ModelPack, KitOps: a raw layer is one file, named by annotation; a tar holds files by their own names."""
    match = grammar.fullmatch(layer.media_type)
    if match is None:
        raise _unreadable(layer)
    if match.group(1) == "raw":
        return _file(layer, layer.annotations.get(MODEL_FILEPATH) or layer.annotations.get(TITLE))
    packing = next((packing for packing in get_args(Packing) if packing == match.group(1)), None)
    if packing is None:
        raise _unreadable(layer)
    return _archive(layer, packing)


def _docker_layer(layer: Descriptor, *, names: Mapping[Digest, str]) -> _Entry:
    if layer.media_type in DOCKER_TARS:
        return _archive(layer, "tar")
    if layer.media_type != DOCKER_FILE and layer.media_type not in DOCKER_NAMES:
        raise _unreadable(layer)
    return _file(layer, layer.annotations.get(MODEL_FILEPATH) or names.get(Digest.parse(layer.digest)))


def _docker_names(layers: Sequence[Descriptor]) -> dict[Digest, str]:
    """Names for layers without one, as Docker's own reader gives them: several weights are the parts of one model."""
    names: dict[Digest, str] = {}
    unnamed = [layer for layer in layers if not layer.annotations.get(MODEL_FILEPATH)]
    for media_type, name in DOCKER_NAMES.items():
        group = list(dict.fromkeys(Digest.parse(layer.digest) for layer in unnamed if layer.media_type == media_type))
        stem, dot, suffix = name.partition(".")
        for number, digest in enumerate(group, start=1):
            part = f"-{number:05d}-of-{len(group):05d}" if len(group) > 1 else ""
            names[digest] = f"{stem}{part}{dot}{suffix}"
    return names


def _image_layer(layer: Descriptor) -> _Entry:
    return _archive(layer, IMAGE_LAYERS[layer.media_type], image=True)


def _oras_layer(layer: Descriptor) -> _Entry:
    """A plain ORAS artifact: a layer is one file, whatever its media type, unless it is marked as a packed folder."""
    title = layer.annotations.get(TITLE)
    if title is None:
        raise UnsupportedSource(
            f"a layer of type {layer.media_type[:120]!r} has no file name: no kind of model artifact is made like this",
            hint="push the model with `warmset push` or `oras push`",
        )
    if layer.annotations.get(ORAS_UNPACK) == "true" or layer.media_type == IMAGE_LAYER_TARGZ:
        safe_path(title)  # its folder; the entries carry it in their names
        return _archive(layer, "tar+gzip")
    return _file(layer, title)


def _file(layer: Descriptor, path: str | None) -> TreeFile:
    if path is None:
        raise InvalidArtifact(f"layer {layer.digest[:80]} has no {MODEL_FILEPATH} annotation")
    return TreeFile(safe_path(path), layer.size, Digest.parse(layer.digest))


def _archive(layer: Descriptor, packing: Packing, *, image: bool = False) -> Archive:
    return Archive(Digest.parse(layer.digest), layer.size, packing, image)


def _unreadable(layer: Descriptor) -> UnsupportedSource:
    return UnsupportedSource(
        f"a layer of type {layer.media_type[:120]!r} cannot be read", hint="push the folder with `warmset push`"
    )
