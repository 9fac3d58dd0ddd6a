"""Manifests that a stranger may have made: read without ambiguity, or refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import InvalidArtifact, UnsafePath, UnsupportedSource, WarmsetError
from api.tree import TreeFile
from cache.archives.packing import Packing
from cache.sources.artifact import Archive, Artifact, Filter
from cache.sources.oci.layers import read_layers
from cache.sources.oci.manifest import Index, Manifest, choose, parse_manifest
from cache.sources.oci.mediatypes import (
    DOCKER_MANIFEST,
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
    OCI_INDEX,
    OCI_MANIFEST,
    ORAS_UNPACK,
    TITLE,
)

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
RAW = f"{MODEL_LAYER_PREFIX}weight.v1.raw"


def layer(path: str | None = "a", *, media_type: str = RAW, **changes: Any) -> dict[str, Any]:
    annotations = {} if path is None else {MODEL_FILEPATH: path}
    return {"mediaType": media_type, "digest": ONE, "size": 5, "annotations": annotations, **changes}


def document(*layers: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": MODEL_MANIFEST,
        "config": {"mediaType": MODEL_CONFIG, "digest": TWO, "size": 2},
        "layers": list(layers),
        **changes,
    }


def parse(value: object, *, content_type: str = OCI_MANIFEST) -> Manifest | Index:
    return parse_manifest(value if isinstance(value, bytes) else json.dumps(value).encode(), content_type=content_type)


def read(*layers: dict[str, Any], wanted: Filter | None = None, **changes: Any) -> Artifact:
    manifest = parse(document(*layers, **changes))
    assert isinstance(manifest, Manifest)
    return read_layers(manifest, wanted=wanted or Filter())


def test_a_raw_layer_is_a_file() -> None:
    assert read(layer("sub/model.safetensors")).files == (TreeFile("sub/model.safetensors", 5, Digest("1" * 64)),)


def test_a_tar_layer_is_an_archive() -> None:
    assert read(layer(media_type=f"{MODEL_LAYER_PREFIX}doc.v1.tar")).archives == (Archive(Digest("1" * 64), 5),)


def test_the_tree_is_known_beforehand_without_archives_only() -> None:
    assert read(layer()).tree is not None
    assert read(layer(), layer("b", media_type=f"{MODEL_LAYER_PREFIX}weight.v1.tar")).tree is None


@pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
def test_a_packed_layer_is_an_archive_of_its_kind(packing: Packing) -> None:
    found = read(layer(media_type=f"{MODEL_LAYER_PREFIX}weight.v1.{packing}"))
    assert found.archives == (Archive(Digest("1" * 64), 5, packing),)


@pytest.mark.parametrize("packing", ["tar+lz4", "tar+xz", "raw+gzip"])
def test_another_packing_is_refused_with_its_kind(packing: str) -> None:
    with pytest.raises(UnsupportedSource, match=packing.replace("+", r"\+")):
        read(layer(media_type=f"{MODEL_LAYER_PREFIX}weight.v1.{packing}"))


@pytest.mark.parametrize("media_type", [f"{MODEL_LAYER_PREFIX}weight.v2.raw", f"{MODEL_LAYER_PREFIX}x.v1.raw", "x"])
def test_an_unknown_layer_is_refused(media_type: str) -> None:
    with pytest.raises(UnsupportedSource):
        read(layer(media_type=media_type))


def test_a_file_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArtifact, match=MODEL_FILEPATH):
        read(layer(None))


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../b", "..\\x", ".", "a//b", "a/./b", "a\0", "a\n", "x" * 256]
)
def test_an_unsafe_name_is_refused_even_where_a_filter_hides_it(path: str) -> None:
    with pytest.raises(UnsafePath):
        read(layer(path), layer("b"), wanted=Filter(include=("b",)))


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidArtifact, match="twice"):
        read(layer("a"), layer("a", digest=TWO))


@pytest.mark.parametrize("change", [{"size": 0}, {"digest": "sha256:" + "A" * 64}, {"digest": "sha512:" + "1" * 128}])
def test_a_size_or_digest_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArtifact):
        read(layer(**change))


def test_globs_choose_files() -> None:
    layers = [layer("a.safetensors"), layer("b.bin"), layer("sub/c.bin"), layer("README.md")]
    kept = read(*layers, wanted=Filter(exclude=("*.bin",)))
    assert [file.path for file in kept.files] == ["a.safetensors", "README.md"]
    kept = read(*layers, wanted=Filter(include=("*.bin",), exclude=("sub/*",)))
    assert [file.path for file in kept.files] == ["b.bin"]


def test_a_filter_that_leaves_nothing_is_said() -> None:
    with pytest.raises(InvalidArtifact, match="no file"):
        read(layer("a"), wanted=Filter(include=("b",)))


def test_filters_are_equal_whatever_their_order() -> None:
    assert str(Filter(include=("a", "b"))) == str(Filter(include=("b", "a"))) != str(Filter(exclude=("a", "b")))


def test_a_plain_oras_artifact_is_read_by_title() -> None:
    entry = layer(None, media_type="application/vnd.oci.image.layer.v1.tar", annotations={TITLE: "a.gguf"})
    assert [file.path for file in read(entry, layer(media_type=OCI_EMPTY), **PLAIN).files] == ["a.gguf"]


PLAIN = {"artifactType": "", "config": {"mediaType": OCI_EMPTY, "digest": TWO, "size": 2}}


@pytest.mark.parametrize("annotations", [{ORAS_UNPACK: "true"}, {}], ids=["the oras command", "the Python client"])
def test_a_packed_folder_of_oras_is_an_archive(annotations: dict[str, str]) -> None:
    entry = layer(None, media_type=IMAGE_LAYER_TARGZ, annotations={TITLE: "folder", **annotations})
    assert read(entry, **PLAIN).archives == (Archive(Digest("1" * 64), 5, "tar+gzip"),)


def test_an_unsafe_name_of_a_packed_folder_is_refused() -> None:
    with pytest.raises(UnsafePath):
        read(layer(None, annotations={TITLE: "../x", ORAS_UNPACK: "true"}), **PLAIN)


def test_a_layer_without_a_name_is_refused_with_advice() -> None:
    with pytest.raises(UnsupportedSource) as caught:
        read(layer(None, media_type="application/vnd.docker.image.rootfs.diff.tar.gzip"), **PLAIN)
    assert "warmset push" in caught.value.hint


@pytest.mark.parametrize("config", IMAGE_CONFIGS)
@pytest.mark.parametrize(("media_type", "packing"), IMAGE_LAYERS.items())
def test_the_layers_of_a_container_image_are_archives_of_one(config: str, media_type: str, packing: Packing) -> None:
    entry = layer(None, media_type=media_type, annotations={TITLE: "named by its builder"})
    found = read(entry, artifactType="", config={"mediaType": config, "digest": TWO, "size": 2})
    assert found.archives == (Archive(Digest("1" * 64), 5, packing, image=True),)


def test_a_layer_that_may_not_be_distributed_is_refused() -> None:
    entry = layer(None, media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", urls=["https://x/"])
    with pytest.raises(UnsupportedSource):
        read(entry, artifactType="", config={"mediaType": IMAGE_CONFIGS[0], "digest": TWO, "size": 2})


@pytest.mark.parametrize("kind", ["model", "modelpart", "dataset", "code", "docs"])
def test_a_modelkit_is_read(kind: str) -> None:
    config = {"mediaType": KIT_CONFIG, "digest": TWO, "size": 2}
    raw = layer("a.gguf", media_type=f"{KIT_LAYER_PREFIX}{kind}.v1.raw")
    packed = layer(None, media_type=f"{KIT_LAYER_PREFIX}{kind}.v1.tar+gzip", digest=TWO)
    found = read(raw, packed, artifactType="", config=config)
    assert [file.path for file in found.files] == ["a.gguf"]
    assert found.archives == (Archive(Digest("2" * 64), 5, "tar+gzip"),)


def docker(*layers: dict[str, Any], version: str = "v0.1") -> Artifact:
    config = {"mediaType": f"application/vnd.docker.ai.model.config.{version}+json", "digest": TWO, "size": 2}
    return read(*layers, artifactType="", config=config)


def test_a_docker_model_keeps_the_names_it_has() -> None:
    entry = layer("sub/part.safetensors", media_type="application/vnd.docker.ai.safetensors")
    other = layer("sub/config.json", media_type="application/vnd.docker.ai.model.file")
    assert [file.path for file in docker(entry, other, version="v0.2").files] == [
        "sub/part.safetensors",
        "sub/config.json",
    ]


def test_nameless_layers_of_a_docker_model_get_the_names_that_its_reader_gives() -> None:
    gguf, text = "application/vnd.docker.ai.gguf.v3", "application/vnd.docker.ai.license"
    parts = [layer(None, media_type=gguf, digest=f"sha256:{n * 64}") for n in "345"]
    assert [file.path for file in docker(parts[0], layer(None, media_type=text)).files] == ["model.gguf", "LICENSE"]
    assert [file.path for file in docker(*parts).files] == [f"model-0000{n}-of-00003.gguf" for n in (1, 2, 3)]


def test_the_archives_of_a_docker_model_are_unpacked() -> None:
    entry = layer(None, media_type="application/vnd.docker.ai.vllm.config.tar")
    assert docker(entry).archives == (Archive(Digest("1" * 64), 5),)


@pytest.mark.parametrize("media_type", ["application/vnd.docker.ai.gguf.v3+gzip", "application/vnd.docker.ai.new"])
def test_an_unknown_layer_of_a_docker_model_is_refused(media_type: str) -> None:
    with pytest.raises(UnsupportedSource):
        docker(layer("a", media_type=media_type))


def test_an_image_of_absurdly_many_layers_is_refused() -> None:
    entry = layer(None, media_type=IMAGE_LAYER_TARGZ)
    with pytest.raises(InvalidArtifact, match="layers"):
        read(*[entry] * 1001, artifactType="", config={"mediaType": IMAGE_CONFIGS[0], "digest": TWO, "size": 2})


def test_the_empty_file_needs_no_bytes() -> None:
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert read(layer("empty", digest=empty, size=0)).size == 0


# -- the document itself


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"schemaVersion": 2, "schemaVersion": 2}',
        b'{"schemaVersion": NaN}',
        json.dumps(document(manifests=[])).encode(),
        json.dumps(document(schemaVersion=1)).encode(),
        json.dumps(document(layers=None)).encode(),
        json.dumps(document(layer(size=-1))).encode(),
        json.dumps(document(layer(size=2**63))).encode(),
        json.dumps(document(layer(size=1.5))).encode(),
        json.dumps(document(layer(size="5"))).encode(),
        json.dumps(document(*[layer(f"{n}") for n in range(100_001)])).encode(),
        json.dumps(document(mediaType=DOCKER_MANIFEST)).encode(),
        json.dumps(document(annotations={"a": 1})).encode(),
    ],
    ids=lambda body: body[:40].decode(),
)
def test_an_ambiguous_or_malformed_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArtifact):
        parse(body)


@pytest.mark.parametrize("content_type", ["", "text/html", "application/vnd.docker.distribution.manifest.v1+prettyjws"])
def test_another_kind_of_manifest_is_refused(content_type: str) -> None:
    with pytest.raises((UnsupportedSource, InvalidArtifact)):
        parse(document(layer(), mediaType=content_type), content_type=content_type)


def test_a_manifest_may_leave_its_type_to_the_header() -> None:
    body = document(layer())
    del body["mediaType"]
    assert isinstance(parse(body, content_type=f"{OCI_MANIFEST}; charset=utf-8"), Manifest)


def chosen(*entries: dict[str, Any], **wanted: str) -> Digest:
    index = parse({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)}, content_type=OCI_INDEX)
    assert isinstance(index, Index)
    return choose(index, **wanted)


def entry(digest: str = ONE, *, platform: str = "", **changes: Any) -> dict[str, Any]:
    system, _, architecture = platform.partition("/")
    about = {"platform": {"os": system, "architecture": architecture}} if platform else {}
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 5, **about, **changes}


@pytest.mark.parametrize("platform", ["", "linux/amd64"])
def test_an_index_of_one_is_that_one(platform: str) -> None:
    assert chosen(entry(), platform=platform) == Digest("1" * 64)


def test_attestations_and_foreign_kinds_leave_no_choice() -> None:
    signature = entry(TWO, mediaType="application/vnd.in-toto+json")
    assert chosen(entry(platform="linux/amd64"), entry(TWO, platform="unknown/unknown"), signature) == Digest("1" * 64)


def test_a_platform_chooses() -> None:
    both = (entry(platform="linux/amd64"), entry(TWO, platform="linux/arm64"))
    assert chosen(*both, platform="linux/arm64") == Digest("2" * 64)
    assert chosen(*both, platform="linux/amd64") == Digest("1" * 64)


@pytest.mark.parametrize("platform", ["", "windows/amd64", "linux/a"])
def test_an_index_with_a_choice_or_without_is_refused_and_lists_what_there_is(platform: str) -> None:
    with pytest.raises(UnsupportedSource, match=r"linux/amd64.*linux/arm64") as caught:
        chosen(entry(platform="linux/amd64"), entry(TWO, platform="linux/arm64"), platform=platform)
    assert "--platform" in caught.value.hint


def test_an_artifact_type_chooses_and_may_lie_in_an_inner_index() -> None:
    signature = entry(artifactType="application/vnd.example.signature")
    model = entry(TWO, artifactType=MODEL_MANIFEST)
    assert chosen(signature, model, artifact_type=MODEL_MANIFEST) == Digest("2" * 64)
    inner = entry(TWO, mediaType=OCI_INDEX)
    assert chosen(signature, inner, artifact_type=MODEL_MANIFEST) == Digest("2" * 64)
    with pytest.raises(UnsupportedSource, match=r"for 'linux/arm64' and .*vnd\.example\.signature") as caught:
        chosen(signature, artifact_type=MODEL_MANIFEST, platform="linux/arm64")
    assert "--artifact-type" in caught.value.hint


def test_an_empty_index_is_refused() -> None:
    with pytest.raises(UnsupportedSource):
        chosen()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from([*document(), "digest", "size"]) | st.text(), inner)
    ),
    max_leaves=20,
)


@given(st.sampled_from(["config", "layers", "annotations", "schemaVersion", "mediaType", "manifests"]), json_values)
def test_no_document_breaks_the_reader(key: str, value: object) -> None:
    try:
        manifest = parse(document(layer(), **{key: value}))
        if isinstance(manifest, Manifest):
            read_layers(manifest, wanted=Filter())
    except WarmsetError:
        return
