"""Archive layers: fetched like any blob, resumed, unpacked within the disk's room, and gone when nothing needs them."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.digest import Digest
from api.errors import Cancelled, Corrupted, DiskError, InsufficientCache, InvalidArtifact
from cache.archives import stream as stream_module
from cache.archives.packing import Packing
from cache.archives.stream import LayerStream
from cache.archives.unpack import unpack
from cache.sources.artifact import Archive, Filter
from cache.store import Store, space
from cache.store.capacity import Disk
from cache.transfer.progress import Progress
from tests.support import pulling
from tests.support.fake_registry import FakeRegistry, Fault
from tests.support.layers import PACKERS, layer, manifest
from tests.support.pulling import contents

MIB = 1 << 20
FILES = {"config.json": b"{}", "weights/model.safetensors": os.urandom(3 * MIB)}
bring = partial(pulling.bring, name="m/packed:v1")
packings = pytest.mark.parametrize("packing", ["tar", "tar+gzip", "tar+zstd"])
compressed = pytest.mark.parametrize("packing", ["tar+gzip", "tar+zstd"])


def put(store: Store, data: bytes) -> Digest:
    with store.stage() as staged:
        staged.write(data)
        return staged.commit()


def unpack_here(store: Store, data: bytes, packing: Packing, *, tick: Callable[[], None] = lambda: None) -> None:
    archive = Archive(put(store, data), len(data), packing)
    with store.draft() as draft:
        unpack(store, archive, draft=draft, wanted=Filter(), on_bytes=lambda count: None, tick=tick)


@packings
def test_a_layer_becomes_its_files_and_goes(registry: FakeRegistry, store: Store, packing: Packing) -> None:
    packed = layer(FILES, packing=packing)
    registry.add_manifest("m/packed", "v1", manifest(registry, packed, packing=packing))
    pulled = bring(registry, store)
    assert contents(pulled.path) == FILES
    assert pulled.bytes_origin == len(packed)
    assert {path.name for path in store.layout.blobs.rglob("*") if path.is_file()} == {
        digest.hex for digest in pulled.tree.blobs
    }


def test_a_pull_that_broke_off_in_a_layer_goes_on_with_its_journal(registry: FakeRegistry, store: Store) -> None:
    """The chunks that were written are not asked for again."""
    packed = layer({"model.safetensors": os.urandom(40 * MIB)})
    registry.add_manifest("m/packed", "v1", manifest(registry, packed))
    registry.faults = [Fault(cut_after=20 * MIB, stall=True)]
    cancel = threading.Event()

    def stop_in_the_middle(progress: Progress) -> None:
        if progress.bytes_done >= 20 * MIB:
            cancel.set()

    with pytest.raises(Cancelled):
        bring(registry, store, workers=1, on_progress=stop_in_the_middle, cancel=cancel)
    registry.faults = []
    assert bring(registry, store).bytes_origin == len(packed) - 16 * MIB


def test_a_layer_that_came_whole_is_not_fetched_again_by_the_next_try(
    registry: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_manifest("m/packed", "v1", manifest(registry, layer(FILES, packing="tar+gzip"), packing="tar+gzip"))
    with monkeypatch.context() as broken:
        broken.setattr(stream_module.sys, "executable", "/bin/false")
        with pytest.raises(InvalidArtifact):
            bring(registry, store)
    again = bring(registry, store)
    assert (again.bytes_origin, contents(again.path)) == (0, FILES)


def test_two_models_that_share_a_layer_both_have_its_files(registry: FakeRegistry, store: Store) -> None:
    shared, own = layer({"shared": b"s" * 5000}), layer({"own": b"o" * 5000})
    registry.add_manifest("m/packed", "v1", manifest(registry, shared))
    bring(registry, store)
    registry.add_manifest("m/packed", "v1", manifest(registry, shared, own))
    assert contents(bring(registry, store).path) == {"shared": b"s" * 5000, "own": b"o" * 5000}


@packings
def test_progress_counts_fetching_and_unpacking(registry: FakeRegistry, store: Store, packing: Packing) -> None:
    packed = layer(FILES, packing=packing)
    registry.add_manifest("m/packed", "v1", manifest(registry, packed, packing=packing))
    told: list[Progress] = []
    bring(registry, store, on_progress=told.append)
    assert {progress.bytes_total for progress in told} == {2 * len(packed)}
    assert told[-1].bytes_done == 2 * len(packed)


@packings
def test_a_cancel_ends_the_unpacking(store: Store, packing: Packing) -> None:
    def cancelled() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        unpack_here(store, layer(FILES, packing=packing), packing, tick=cancelled)
    assert list(store.layout.scratch.iterdir()) == []


# -- room


def disk_of(monkeypatch: pytest.MonkeyPatch, *, free: int) -> None:
    """As if so much were left, whatever is written."""
    monkeypatch.setattr(space, "measure_disk", lambda layout: Disk(1 << 40, free, 1 << 20, 1 << 20))


def test_an_archive_needs_room_twice_packed_and_unpacked(
    registry: FakeRegistry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = layer(FILES)
    registry.add_manifest("m/packed", "v1", manifest(registry, packed))
    disk_of(monkeypatch, free=2 * len(packed) - 1)
    with pytest.raises(InsufficientCache):
        bring(registry, store)
    assert registry.requests("/blobs/") == [], "refused before a byte is fetched"
    disk_of(monkeypatch, free=2 * len(packed))
    assert contents(bring(registry, store).path) == FILES


@compressed
def test_a_file_that_outgrows_the_disk_is_refused_before_it_is_written(
    store: Store, packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = layer({"first": bytes(2 * MIB), "zeros": bytes(9 * MIB)}, packing=packing)
    disk_of(monkeypatch, free=8 * MIB)
    with pytest.raises(InsufficientCache) as refused:
        unpack_here(store, packed, packing)
    assert refused.value.missing_bytes == MIB
    assert list(store.layout.scratch.iterdir()) == []


@packings
def test_small_files_are_within_the_room_too(store: Store, packing: Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = layer({f"{n}": b"%d" % n * 1000 for n in range(100, 200)}, packing=packing)
    digest = put(store, packed)
    before = set(store.layout.blobs.rglob("*"))
    disk_of(monkeypatch, free=1000)
    with store.draft() as draft, pytest.raises(InsufficientCache):
        unpack(
            store,
            Archive(digest, len(packed), packing),
            draft=draft,
            wanted=Filter(),
            on_bytes=lambda count: None,
            tick=lambda: None,
        )
    assert set(store.layout.blobs.rglob("*")) == before


def test_small_files_may_fill_the_room_to_its_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though room is asked for more at once where there is some."""
    packed = layer({f"{n}": b"%d" % n * 1000 for n in range(100, 200)})
    digest = put(store, packed)
    disk_of(monkeypatch, free=3000)
    with store.draft() as draft:
        unpack(
            store,
            Archive(digest, len(packed)),
            draft=draft,
            wanted=Filter(),
            on_bytes=lambda count: None,
            tick=lambda: None,
        )
    assert sum(path.is_file() for path in store.layout.blobs.rglob("*")) == 100 + 1


# -- what goes wrong


@packings
def test_a_layer_that_rotted_before_it_was_unpacked_is_never_used(
    registry: FakeRegistry, store: Store, packing: Packing
) -> None:
    packed = layer({"model": b"weights" * 9000}, packing=packing)
    digest = put(store, packed)
    registry.add_manifest("m/packed", "v1", manifest(registry, packed, packing=packing))
    blob = store.blob_path(digest)
    blob.chmod(0o644)
    with blob.open("r+b") as file:
        file.seek(len(packed) // 2)
        file.write(b"\x00\xff\x00")
    blob.chmod(0o444)
    with pytest.raises(Corrupted):
        bring(registry, store, trust_store=True)
    assert store.trees() == []
    assert [path.name[:64] for path in store.layout.quarantine.iterdir()] == [digest.hex]
    assert contents(bring(registry, store, trust_store=True).path) == {"model": b"weights" * 9000}


@packings
def test_what_keeps_a_right_layer_from_being_read_is_not_its_fault(
    store: Store, packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptors(path: Path) -> Iterator[memoryview]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(stream_module, "pieces", no_descriptors)
    with pytest.raises(DiskError, match="Too many open files"):
        unpack_here(store, layer(FILES, packing=packing), packing)


@compressed
def test_a_decompressor_that_dies_is_the_archive_s_fault(
    store: Store, packing: Packing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module.sys, "executable", "/bin/false")
    with pytest.raises(InvalidArtifact, match="broke its decompression"):
        unpack_here(store, layer(FILES, packing=packing), packing)


def test_a_decompressor_that_hangs_at_its_end_is_ended(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads nothing, says nothing and stays: whoever took it over must not hold up the pull."""
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nexec 1>&-\nexec sleep 600\n")
    hangs.chmod(0o755)
    monkeypatch.setattr(stream_module.sys, "executable", str(hangs))
    monkeypatch.setattr(stream_module, "_END_S", 0.1)
    with pytest.raises(InvalidArtifact, match="broke its decompression"):
        unpack_here(store, layer({"model": os.urandom(4 * MIB)}, packing="tar+gzip"), "tar+gzip")


def test_a_decompressor_learns_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary")
    path = tmp_path / "layer"
    path.write_bytes(PACKERS["tar+gzip"](os.urandom(4 * MIB)))  # more than the pipes hold: the child waits for us
    size = path.lstat().st_size
    with LayerStream(path, packing="tar+gzip", size=size, on_bytes=lambda n: None, tick=lambda: None) as layer_stream:
        layer_stream.fill(memoryview(bytearray(1)))
        child = layer_stream._child
        assert child is not None
        assert b"canary" not in Path(f"/proc/{child.pid}/environ").read_bytes()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@packings
def test_no_layer_breaks_the_reader_or_leaves_a_trace(store: Store, packing: Packing, data: st.DataObject) -> None:
    """Whatever its bytes: files of a right archive, or a named refusal; never a crash, never a file left behind."""
    packed = bytearray(layer({"a/b": b"x" * 700, "c": bytes(3000)}, packing=packing))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(packed[: data.draw(st.integers(1, len(packed)))])
    with suppress(InvalidArtifact):
        unpack_here(store, cut, packing)
    assert list(store.layout.scratch.iterdir()) == []
