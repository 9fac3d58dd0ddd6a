"""A store that several tenants share: what is present belongs to whoever showed that he has it.

design.md, Authority: bytes are shared, authority is not. The honest tenant pulls a private model; the hostile one
writes a manifest that names its digests.
"""

from __future__ import annotations

from typing import Any

import pytest

from api.errors import DigestMismatch, NotFound, WarmsetError
from cache.store import Store
from tests.support.fake_registry import FakeRegistry
from tests.support.pulling import bring

FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 8192, "sub/empty": b""}
SIZE = sum(map(len, FILES.values()))
LARGE = "model.safetensors"


@pytest.fixture
def hostile() -> Any:
    with FakeRegistry() as running:
        yield running


def name_without_having(registry: FakeRegistry, files: dict[str, bytes]) -> None:
    """Serve a manifest of these files and none of their blobs."""
    registry.add_model("thief/model", "v1", files)
    registry.blobs = {digest: blob for digest, blob in registry.blobs.items() if blob in (b"{}", b"")}


def test_a_manifest_of_another_s_digests_gives_nothing(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    registry.add_model("victim/model", "v1", FILES)
    bring(registry, store, "victim/model:v1", key="victim")
    name_without_having(hostile, FILES)
    with pytest.raises(NotFound, match="blob"):
        bring(hostile, store, "thief/model:v1", key="thief")
    assert [record.key for record in store.pull_records()] == ["victim"]


def test_nor_does_one_file_of_another_s_model_among_files_of_one_s_own(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    registry.add_model("victim/model", "v1", FILES)
    bring(registry, store, "victim/model:v1")
    name_without_having(hostile, {LARGE: FILES[LARGE]})
    document = hostile.model({"own.txt": b"mine"})
    document["layers"] += registry.model({LARGE: FILES[LARGE]})["layers"]
    hostile.add_manifest("thief/model", "v1", document)
    trees = store.trees()
    with pytest.raises(NotFound):
        bring(hostile, store, "thief/model:v1")
    assert store.trees() == trees


def test_other_bytes_under_the_right_digest_prove_nothing(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    registry.add_model("victim/model", "v1", FILES)
    bring(registry, store, "victim/model:v1")
    hostile.add_model("thief/model", "v1", FILES)
    hostile.blobs = {digest: bytes(len(blob)) for digest, blob in hostile.blobs.items()}
    with pytest.raises(DigestMismatch):
        bring(hostile, store, "thief/model:v1")


def test_another_repository_of_the_same_registry_is_another_place(registry: FakeRegistry, store: Store) -> None:
    """Who may read one repository may not read all: the registry's own rule decides, blob by blob."""
    registry.add_model("victim/model", "v1", FILES)
    bring(registry, store, "victim/model:v1")
    registry.add_model("thief/model", "v1", FILES)
    registry.seen.clear()
    assert bring(registry, store, "thief/model:v1").bytes_origin == SIZE
    assert all("/thief/model/" in seen.path for seen in registry.seen)


def test_a_pinned_digest_of_another_place_is_asked_for_there(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    revision = registry.add_model("victim/model", "v1", FILES)
    bring(registry, store, f"victim/model@{revision}", key="victim")
    with pytest.raises(WarmsetError):
        bring(hostile, store, f"victim/model@{revision}", key="thief")


def test_honest_bytes_under_two_references_are_read_twice_and_stored_once(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    registry.add_model("one/model", "v1", FILES)
    hostile.add_model("two/model", "v7", {"renamed.gguf": FILES[LARGE]})
    one = bring(registry, store, "one/model:v1")
    before = store.usage().used
    other = bring(hostile, store, "two/model:v7")
    assert (other.bytes_origin, other.bytes_reused) == (len(FILES[LARGE]), 0)
    assert (one.path / LARGE).samefile(other.path / "renamed.gguf")
    assert store.usage().used - before < 100_000, "records and folders, not a second copy"


def test_a_proof_is_remembered(registry: FakeRegistry, hostile: FakeRegistry, store: Store) -> None:
    registry.add_model("one/model", "v1", FILES)
    hostile.add_model("two/model", "v1", FILES)
    bring(registry, store, "one/model:v1")
    bring(hostile, store, "two/model:v1")
    hostile.seen.clear()
    assert bring(hostile, store, "two/model:v1").bytes_reused == SIZE
    assert hostile.requests("/blobs/") == []


def test_a_proof_cut_short_goes_on_with_the_next_file(
    registry: FakeRegistry, hostile: FakeRegistry, store: Store
) -> None:
    files = {"a": b"a" * 3_000_000, "b": b"b" * 2_000_000}
    registry.add_model("one/model", "v1", files)
    bring(registry, store, "one/model:v1")
    hostile.add_model("two/model", "v1", files)
    held = {
        digest: hostile.blobs.pop(digest) for digest in list(hostile.blobs) if len(hostile.blobs[digest]) == 2_000_000
    }
    with pytest.raises(NotFound):
        bring(hostile, store, "two/model:v1", workers=1)
    hostile.blobs |= held
    assert bring(hostile, store, "two/model:v1", workers=1).bytes_origin == 2_000_000


def test_one_user_s_own_store_takes_what_is_there(registry: FakeRegistry, hostile: FakeRegistry, store: Store) -> None:
    registry.add_model("one/model", "v1", FILES)
    hostile.add_model("two/model", "v1", FILES)
    bring(registry, store, "one/model:v1", trust_store=True)
    assert bring(hostile, store, "two/model:v1", trust_store=True).bytes_origin == 0


def test_what_one_place_proved_is_lost_with_nothing_else(registry: FakeRegistry, store: Store) -> None:
    """Damaged records cost bytes, never safety."""
    registry.add_model("one/model", "v1", FILES)
    pulled = bring(registry, store, "one/model:v1")
    for path in (store.root / "records" / "places").iterdir():
        path.write_bytes(b"\0" * 50 + b"\nnot a digest\n" + path.read_bytes()[:70] + b"torn")
    assert bring(registry, store, "one/model:v1").tree == pulled.tree
