"""Formats that run code when they are loaded are refused by name, unless whoever pulls allows them."""

from __future__ import annotations

import gzip

import pytest

from api.errors import ExecutableContent
from cache.sources.formats import check_formats, executable
from cache.store import Store
from tests.support.fake_registry import TAR, FakeRegistry
from tests.support.layers import tar
from tests.support.pulling import bring, contents


@pytest.mark.parametrize(
    "path",
    [
        "pytorch_model.bin",
        "a/model.PT",
        "x.pkl",
        "x.ckpt",
        "x.h5",
        "x.keras",
        "x.npy",
        "modeling_x.py",
        "lib.so.1",
        "x.nemo",
    ],
)
def test_a_format_that_may_run_code_is_known_by_its_name(path: str) -> None:
    assert executable([path]) == [path]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "model.safetensors",
            "model-00001-of-00002.gguf",
            "config.json",
            "tokenizer.model",
            "merges.txt",
            "vocab.txt",
        ),
        *("README.md", "LICENSE", "chat_template.jinja", ".gitattributes", "model.onnx", "bin", "py/x.json", ".bin/x"),
    ],
)
def test_everything_else_is_data(path: str) -> None:
    assert executable([path]) == []


def test_the_refusal_names_the_files_and_both_ways_out() -> None:
    with pytest.raises(ExecutableContent, match=r"'1\.bin'.*and 2 more") as caught:
        check_formats(f"{n}.bin" for n in range(7))
    assert "--exclude" in caught.value.hint
    assert "--allow-executable" in caught.value.hint


FILES = {"config.json": b"{}", "model.pt": b"pickle"}


def test_a_model_with_code_is_refused_before_a_byte_is_fetched(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    with pytest.raises(ExecutableContent, match=r"model\.pt"):
        bring(registry, store)
    assert registry.requests("/blobs/") == []
    assert contents(bring(registry, store, exclude=["*.pt"]).path) == {"config.json": b"{}"}


def test_who_allows_it_gets_it_and_nobody_else(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    assert contents(bring(registry, store, allow_executable=True, key="mine").path) == FILES
    for name in ("m/tiny:v1", f"m/tiny@{revision}"):
        with pytest.raises(ExecutableContent):
            bring(registry, store, name)


def test_code_in_an_archive_is_refused(registry: FakeRegistry, store: Store) -> None:
    document = registry.model({}, archives=(gzip.compress(tar(FILES)),))
    document["layers"][0]["mediaType"] = f"{TAR}+gzip"
    registry.add_manifest("m/tiny", "v1", document)
    with pytest.raises(ExecutableContent, match=r"model\.pt"):
        bring(registry, store)
    assert store.trees() == []
    assert contents(bring(registry, store, allow_executable=True).path) == FILES
