"""Pulls from sources that publish no sha256: drivers of fsspec, and web servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest

from api.digest import Digest
from api.errors import Forbidden, InvalidReference, NotFound, SourceChanged, SourceUnavailable, UnsupportedSource
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import Credential, SourceOptions
from cache.sources.objects.pieces import PIECE_BYTES
from cache.sources.resolve import resolve
from cache.store import Store
from cache.transfer.engine import CHUNK_BYTES
from tests.support.pulling import contents
from tests.unit.objects.conftest import Web

FILES = {"config.json": b"{}", "weights.gguf": bytes(range(251)) * 80_000, "sub/empty": b""}
SIZE = sum(map(len, FILES.values()))
LAPTOP = SourceOptions(ambient=True)


def bring(store: Store, reference: str, *, options: SourceOptions = LAPTOP, **more: Any) -> Pulled:
    return pull(store, parse_reference(reference), options=options, trust_store=True, **more)


def sha256(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder of fsspec's memory driver that holds FILES."""
    root = f"memory://{uuid4().hex}/model"
    fs = fsspec.filesystem("memory")
    for path, content in FILES.items():
        fs.pipe(f"{root}/{path}", content)
    yield root
    fs.rm(root, recursive=True)


def test_a_folder_of_any_driver_becomes_a_tree(store: Store, memory: str) -> None:
    assert SIZE > 2 * PIECE_BYTES
    pulled = bring(store, memory)
    assert contents(pulled.path) == FILES
    assert (pulled.bytes_origin, pulled.revision[:7]) == (SIZE, "sha256:")


def test_a_folder_on_this_machine_is_a_source_too(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.gguf").write_bytes(b"a" * 2_000_000)
    assert contents(bring(store, f"file://{tmp_path}/model").path) == {"a.gguf": b"a" * 2_000_000}
    assert contents(bring(store, f"file://{tmp_path}/model/a.gguf").path) == {"a.gguf": b"a" * 2_000_000}


def test_the_second_pull_reads_the_listing_only(store: Store, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(store, memory)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", None)
    assert bring(store, memory).bytes_reused == SIZE


def test_a_sha256_that_is_given_is_what_is_taken(store: Store, memory: str) -> None:
    given = {path: sha256(content) for path, content in FILES.items()}
    assert contents(bring(store, memory, sha256=given).path) == FILES


def test_other_bytes_than_the_sha256_that_is_given_are_refused_by_name(store: Store, memory: str) -> None:
    with pytest.raises(SourceChanged, match="fixed before"):
        bring(store, memory, sha256={"weights.gguf": sha256(b"other")})
    assert list(store.trees()) == []


def test_a_tree_from_before_a_sha256_was_given_is_held_to_it(store: Store, memory: str) -> None:
    pinned = str(resolve(parse_reference(memory), options=LAPTOP).reference)
    bring(store, pinned)
    assert contents(bring(store, pinned, sha256={"config.json": sha256(b"{}")}).path) == FILES
    with pytest.raises(SourceChanged):
        bring(store, pinned, sha256={"config.json": sha256(b"other")})


def test_a_sha256_for_a_file_that_is_not_there_is_a_mistake(store: Store, memory: str) -> None:
    with pytest.raises(NotFound, match=r"weight\.gguf"):
        bring(store, memory, sha256={"weight.gguf": sha256(b"")})


def test_a_pinned_reference_that_was_recorded_asks_nobody(
    store: Store, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = bring(store, memory, key="model").revision
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.find", None)
    assert bring(store, f"{memory}@{revision}").bytes_reused == SIZE


def test_a_pinned_reference_whose_source_moved_on_is_said(store: Store, memory: str) -> None:
    revision = bring(store, memory).revision
    fsspec.filesystem("memory").pipe(f"{memory}/new.json", b"{}")
    with pytest.raises(SourceChanged):
        bring(store, f"{memory}@{revision}")


def test_what_was_removed_from_the_store_must_come_back_the_same(store: Store, memory: str) -> None:
    """The first verified ingest fixes the sha256 of a version; the memory driver has no version at all."""
    first = bring(store, memory)
    store.remove_tree(first.tree.digest)
    assert bring(store, memory).tree == first.tree
    store.remove_tree(first.tree.digest)
    fsspec.filesystem("memory").pipe(f"{memory}/weights.gguf", bytes(len(FILES["weights.gguf"])))
    with pytest.raises(SourceChanged, match="first pull fixed"):
        bring(store, memory)
    assert store.trees() == []


def test_a_file_without_a_hash_goes_on_where_it_was_cut(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its chunks are kept under its key, and hashed again with the rest."""
    content = bytes(range(251)) * 260_000
    assert len(content) > 3 * CHUNK_BYTES
    root = f"memory://{uuid4().hex}"
    fs = fsspec.filesystem("memory")
    fs.pipe(f"{root}/weights.gguf", content)
    whole = type(fs).cat_file

    def gone(self: Any, path: str, start: int, end: int) -> bytes:
        if end > 2 * CHUNK_BYTES:
            raise FileNotFoundError(path)
        return bytes(whole(self, path, start=start, end=end))

    with monkeypatch.context() as patch:
        patch.setattr(type(fs), "cat_file", gone)
        with pytest.raises(NotFound):
            bring(store, root, workers=1)
    pulled = bring(store, root)
    assert contents(pulled.path) == {"weights.gguf": content}
    assert pulled.bytes_origin == len(content) - 2 * CHUNK_BYTES
    fs.rm(root, recursive=True)


def test_two_pulls_at_once_make_one_tree(store: Store, memory: str) -> None:
    with ThreadPoolExecutor() as threads:
        first, second = threads.map(lambda _: bring(store, memory), range(2))
    assert first.tree == second.tree
    assert contents(first.path) == FILES


@pytest.mark.parametrize("answer", [FILES["weights.gguf"], b"short", b""])
def test_a_driver_that_gives_another_length_than_was_asked_is_not_believed(
    store: Store, memory: str, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", lambda *_, **__: answer)
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *_, **__: 0.0)
    with pytest.raises(SourceUnavailable, match="asked for"):
        bring(store, memory, include=["weights.gguf"])
    assert store.trees() == []


def test_a_driver_s_own_words_are_not_repeated(store: Store, memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("https://user:secret@host/")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", fail)
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *_, **__: 0.0)
    with pytest.raises(SourceUnavailable) as failed:
        bring(store, memory)
    assert "secret" not in str(failed.value)


def test_a_cluster_reads_no_driver(store: Store, tmp_path: Path) -> None:
    for reference in (f"file://{tmp_path}", "memory://x", "sftp://host/x"):
        with pytest.raises(UnsupportedSource, match="not read in a cluster"):
            bring(store, reference, options=SourceOptions())


@pytest.mark.parametrize("reference", ["simplecache::file:///etc", "file:///a::memory://b", "http://host/x"])
def test_chains_and_plain_http_are_refused(store: Store, reference: str) -> None:
    with pytest.raises((InvalidReference, UnsupportedSource)):
        bring(store, reference)


def test_a_missing_folder_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        bring(store, f"file://{tmp_path}/none")


# -- a file of a web server


def served(web: Web) -> SourceOptions:
    return SourceOptions(plain_http=frozenset({web.host}))


def test_a_file_of_a_web_server_becomes_a_tree(store: Store, web: Web) -> None:
    web.content = FILES["weights.gguf"]
    pulled = bring(store, f"https://{web.host}/a/weights.gguf", options=served(web))
    assert contents(pulled.path) == {"weights.gguf": web.content}


def test_a_server_without_ranges_serves_as_well(store: Store, web: Web) -> None:
    web.content, web.whole = FILES["weights.gguf"], True
    assert contents(bring(store, f"https://{web.host}/w", options=served(web)).path) == {"w": web.content}


def test_a_file_replaced_under_the_pull_is_said(store: Store, web: Web) -> None:
    web.content = b"first"
    options = served(web)
    resolved = resolve(parse_reference(f"https://{web.host}/w"), options=options)
    web.content, web.etag = b"other", '"v2"'
    session = resolved.open_session(resolved.artifact)
    with pytest.raises(SourceChanged, match="replaced"):
        session.open(resolved.artifact.unhashed[0].key, size=5, start=0, stop=5)
    session.close()


def test_r08_a_file_that_became_shorter_is_said(store: Store, web: Web) -> None:
    """Without a version to hold it to, the 416 is all there is."""
    web.content, web.etag = bytes(100_000), ""
    options = served(web)
    resolved = resolve(parse_reference(f"https://{web.host}/w"), options=options)
    web.content = b"short"
    session = resolved.open_session(resolved.artifact)
    with pytest.raises(SourceChanged, match="replaced"):
        session.open(resolved.artifact.unhashed[0].key, size=100_000, start=50_000, stop=100_000)
    session.close()


def test_new_bytes_under_an_old_etag_are_a_broken_promise(store: Store, web: Web) -> None:
    web.content = b"first"
    store.remove_tree(bring(store, f"https://{web.host}/w", options=served(web)).tree.digest)
    web.content = b"other"
    with pytest.raises(SourceChanged, match="first pull fixed"):
        bring(store, f"https://{web.host}/w", options=served(web))


def test_new_bytes_under_a_new_etag_are_a_new_revision(store: Store, web: Web) -> None:
    web.content = b"first"
    first = bring(store, f"https://{web.host}/w", options=served(web))
    web.content, web.etag = b"other", '"v2"'
    second = bring(store, f"https://{web.host}/w", options=served(web))
    assert first.revision != second.revision
    assert contents(second.path) == {"w": b"other"}


def test_a_login_goes_to_its_own_host_alone(store: Store, web: Web) -> None:
    web.content = b"bytes"
    for host, sent in ((web.host, True), ("other.example.com", False)):
        web.authorizations.clear()
        options = SourceOptions(Credential(host, "user", "secret"), plain_http=frozenset({web.host}))
        resolve(parse_reference(f"https://{web.host}/w"), options=options)
        assert any(web.authorizations) is sent


def test_a_cluster_s_node_is_not_sent_to_itself(store: Store) -> None:
    for host in ("127.0.0.1:1", "169.254.169.254", "localhost"):
        with pytest.raises((SourceUnavailable, Forbidden)):
            bring(store, f"https://{host}/latest/meta-data", options=SourceOptions())
