"""A pull from manifest to tree, against a registry that can lie."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import zstandard

from api.digest import Digest
from api.errors import (
    Cancelled,
    DigestMismatch,
    InsufficientCache,
    InvalidArtifact,
    NotFound,
    UnsafePath,
    UnsupportedSource,
)
from api.reference import parse_reference
from cache.pull import pull
from cache.sources import SourceOptions
from cache.sources.oci.mediatypes import OCI_INDEX
from cache.sources.resolve import resolve
from cache.store import Store
from cache.transfer.progress import Progress
from tests.support import pulling
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.layers import tar
from tests.support.pulling import contents, trusting

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 8192, "sub/empty": b""}
SIZE = sum(map(len, FILES.values()))

bring = partial(pulling.bring, trust_store=True)


def test_a_model_becomes_a_tree(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    pulled = bring(registry, store)
    assert contents(pulled.path) == FILES
    assert (pulled.revision, pulled.bytes_origin, pulled.bytes_reused) == (str(revision), SIZE, 0)
    assert pulled.path == store.tree_path(pulled.tree.digest)


def test_a_present_tree_costs_one_manifest_request(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store)
    registry.seen.clear()
    pulled = bring(registry, store)
    assert [seen.path for seen in registry.seen] == ["/v2/m/tiny/manifests/v1"]
    assert (pulled.bytes_origin, pulled.bytes_reused) == (0, SIZE)


def test_a_pinned_reference_that_was_recorded_costs_no_request(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store, key="tiny")
    registry.seen.clear()
    assert bring(registry, store, f"m/tiny@{revision}").bytes_reused == SIZE
    assert registry.seen == []


def test_a_pinned_reference_of_another_repository_is_asked_for(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store, key="tiny")
    with pytest.raises(NotFound):
        bring(registry, store, f"m/other@{revision}")


def test_another_filter_is_another_tree(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    bring(registry, store, key="tiny")
    pulled = bring(registry, store, f"m/tiny@{revision}", include=["*.json"])
    assert contents(pulled.path) == {"config.json": b"{}"}


def test_a_blob_that_two_models_share_is_fetched_once(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    registry.add_model("m/tiny", "v2", {**FILES, "config.json": b"changed"})
    bring(registry, store)
    pulled = bring(registry, store, "m/tiny:v2")
    assert pulled.bytes_origin == len(b"changed")
    assert pulled.bytes_reused == SIZE - 2


def test_a_file_listed_under_two_names_is_fetched_once(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", {"a": b"same" * 1000, "b": b"same" * 1000})
    assert bring(registry, store).bytes_origin == 4000


def test_tar_layers_are_unpacked(registry: FakeRegistry, store: Store) -> None:
    packed = {"packed/config.json": b"{}", "packed/model.gguf": b"weights" * 300_000}
    registry.add_manifest("m/tiny", "v1", registry.model({"README.md": b"hello"}, archives=(tar(packed),)))
    pulled = bring(registry, store, key="tiny")
    assert contents(pulled.path) == {"README.md": b"hello", **packed}
    registry.seen.clear()
    assert bring(registry, store).bytes_origin == 0
    assert len(registry.seen) == 1, "a record remembers which tree the archives made"


def test_filters_reach_into_archives(registry: FakeRegistry, store: Store) -> None:
    registry.add_manifest("m/tiny", "v1", registry.model({}, archives=(tar({"a.json": b"{}", "b.bin": b"x"}),)))
    assert contents(bring(registry, store, exclude=["*.bin"]).path) == {"a.json": b"{}"}


def test_a_damaged_archive_is_fetched_once_more(registry: FakeRegistry, store: Store) -> None:
    files = {"a": b"x" * 3000}
    registry.add_manifest("m/tiny", "v1", registry.model({}, archives=(tar(files),)))
    registry.faults = [Fault(flip=3)]
    assert contents(bring(registry, store).path) == files


def test_an_archive_that_is_always_damaged_is_a_digest_mismatch(registry: FakeRegistry, store: Store) -> None:
    registry.add_manifest("m/tiny", "v1", registry.model({}, archives=(tar({"a": b"x" * 3000}),)))
    registry.faults = [Fault(flip=1000, times=9)]
    with pytest.raises(DigestMismatch):
        bring(registry, store)
    assert store.trees() == []


def test_an_archive_that_leaves_its_folder_is_refused(registry: FakeRegistry, store: Store) -> None:
    registry.add_manifest("m/tiny", "v1", registry.model({}, archives=(tar({"../../escaped": b"x"}),)))
    with pytest.raises(UnsafePath):
        bring(registry, store)
    assert not (store.root.parent / "escaped").exists()
    assert store.trees() == []


def test_two_archives_with_one_file_are_refused(registry: FakeRegistry, store: Store) -> None:
    archives = (tar({"a": b"1"}), tar({"a": b"2"}))
    registry.add_manifest("m/tiny", "v1", registry.model({}, archives=archives))
    with pytest.raises(InvalidArtifact, match="twice"):
        bring(registry, store)


def test_wrong_bytes_under_a_right_digest_make_no_tree(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    registry.faults = [Fault(flip=1, times=99)]
    with pytest.raises(DigestMismatch):
        bring(registry, store)
    assert store.trees() == []
    assert not any(store.has_blob(digest, len(registry.blobs[str(digest)])) for digest in _blobs(registry))


def _blobs(registry: FakeRegistry) -> list[Digest]:
    return [Digest.parse(digest) for digest in registry.blobs if registry.blobs[digest]]


def test_a_blob_that_is_gone_is_said(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    for digest in list(registry.blobs):
        if len(registry.blobs[digest]) > 1000:
            del registry.blobs[digest]
    with pytest.raises(NotFound, match="blob"):
        bring(registry, store)
    assert store.trees() == []


def test_a_manifest_that_is_not_what_its_digest_names_is_refused(registry: FakeRegistry, store: Store) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    registry.manifests["m/tiny", str(revision)] = (registry.manifests["m/tiny", "v1"][0], b"{}")
    with pytest.raises(DigestMismatch):
        bring(registry, store, f"m/tiny@{revision}")


def test_an_index_of_one_leads_to_its_manifest(registry: FakeRegistry, store: Store) -> None:
    inner = registry.add_model("m/tiny", "inner", FILES)
    content_type, body = registry.manifests["m/tiny", "inner"]
    entry = {"mediaType": content_type, "digest": str(inner), "size": len(body)}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    registry.add_manifest("m/tiny", "v1", index, content_type=OCI_INDEX)
    assert bring(registry, store).revision == str(inner)


@pytest.mark.parametrize(("depth", "taken"), [(2, True), (3, False)])
def test_indexes_lie_at_most_two_deep(registry: FakeRegistry, store: Store, depth: int, taken: bool) -> None:
    revision = registry.add_model("m/tiny", "v0", FILES)
    for level in range(1, depth + 1):
        content_type, body = registry.manifests["m/tiny", f"v{level - 1}"]
        digest = hashlib.sha256(body).hexdigest()
        listed = {"mediaType": content_type, "digest": f"sha256:{digest}", "size": len(body)}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}
        registry.add_manifest("m/tiny", f"v{level}", index, content_type=OCI_INDEX)
    if taken:
        assert bring(registry, store, f"m/tiny:v{depth}").revision == str(revision)
    else:
        with pytest.raises(InvalidArtifact, match="deeper"):
            bring(registry, store, f"m/tiny:v{depth}")


def test_an_endless_manifest_is_refused(registry: FakeRegistry, store: Store) -> None:
    registry.add_manifest("m/tiny", "v1", b" " * (5 << 20))
    with pytest.raises(Exception, match="longer than"):
        bring(registry, store)


def test_a_model_too_large_for_the_disk_is_refused_before_a_byte_is_fetched(
    registry: FakeRegistry, store: Store
) -> None:
    document = registry.model(FILES)
    document["layers"][1]["size"] = 1 << 60
    registry.add_manifest("m/tiny", "v1", document)
    with pytest.raises(InsufficientCache):
        bring(registry, store)
    assert registry.requests("/blobs/") == []


@pytest.mark.parametrize(("packing", "pack_up"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_compressed_layers_are_unpacked(
    registry: FakeRegistry, store: Store, packing: str, pack_up: Callable[[bytes], bytes]
) -> None:
    packed = {"config.json": b"{}", "sub/model.safetensors": bytes(range(256)) * 9000}
    registry.add_manifest("m/tiny", "v1", compressed(registry, pack_up(tar(packed)), packing))
    assert contents(bring(registry, store).path) == packed


@pytest.mark.parametrize(("packing", "pack_up"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_damaged_compressed_layer_is_fetched_once_more(
    registry: FakeRegistry, store: Store, packing: str, pack_up: Callable[[bytes], bytes]
) -> None:
    registry.add_manifest("m/tiny", "v1", compressed(registry, pack_up(tar({"a": b"x" * 3000})), packing))
    registry.faults = [Fault(flip=3)]
    assert contents(bring(registry, store).path) == {"a": b"x" * 3000}


@pytest.mark.parametrize(
    "hostile",
    [
        gzip.compress(tar({"../../escaped": b"x"})),
        gzip.compress(tar({"a": b"x"})) + b"trailing",
        gzip.compress(tar({"a": b"x"}) + b"trailing"),
        gzip.compress(tar({"a": b"x"}))[:-4],
        gzip.compress(tar({"a": b"x"})[:600]),
        gzip.compress(tar({"a": b"1"})) + gzip.compress(tar({"b": b"2"})),
        gzip.compress(bytes(32 << 20)),
        tar({"a": b"x"}),
    ],
    ids=["path", "trailing", "trailing in the tar", "cut", "cut tar", "two tars", "bomb", "not packed"],
)
def test_a_hostile_compressed_layer_is_refused(registry: FakeRegistry, store: Store, hostile: bytes) -> None:
    registry.add_manifest("m/tiny", "v1", compressed(registry, hostile, "gzip"))
    with pytest.raises(InvalidArtifact):
        bring(registry, store)
    assert store.trees() == []
    assert not (store.root.parent / "escaped").exists()


def compressed(registry: FakeRegistry, layer: bytes, packing: str) -> dict[str, Any]:
    document = registry.model({}, archives=(layer,))
    document["layers"][0]["mediaType"] += f"+{packing}"
    return document


def test_a_cancelled_pull_goes_on_where_it_was(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        bring(registry, store, cancel=cancel)
    assert contents(bring(registry, store).path) == FILES


def test_progress_ends_with_everything_done(registry: FakeRegistry, store: Store) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    told: list[Progress] = []
    bring(registry, store, on_progress=told.append)
    last = told[-1]
    assert (last.bytes_done, last.bytes_total, last.files_done, last.files_total) == (SIZE, SIZE, 3, 3)


def test_a_reference_is_resolved_without_touching_a_blob(registry: FakeRegistry) -> None:
    revision = registry.add_model("m/tiny", "v1", FILES)
    resolved = resolve(parse_reference(f"oci://{registry.host}/m/tiny:v1"), options=trusting(registry))
    assert (resolved.revision, resolved.bytes, resolved.files) == (str(revision), SIZE, 3)
    assert resolved.tree is not None
    assert str(resolved.reference) == f"oci://{registry.host}/m/tiny:v1@{revision}"
    assert registry.requests("/blobs/") == []


def test_a_passing_failure_of_the_manifest_is_waited_out(registry: FakeRegistry) -> None:
    registry.add_model("m/tiny", "v1", FILES)
    registry.faults = [Fault(path="/manifests/", status=503), Fault(path="/manifests/", cut_after=3)]
    assert resolve(parse_reference(f"oci://{registry.host}/m/tiny:v1"), options=trusting(registry)).files == 3


def test_other_schemes_are_refused_plainly(store: Store) -> None:
    with pytest.raises(UnsupportedSource, match="gopher://"):
        pull(store, parse_reference("gopher://host/name"), options=SourceOptions())
