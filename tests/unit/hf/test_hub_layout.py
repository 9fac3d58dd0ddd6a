"""The Hub's cache layout, judged by the Hub's own library without a network."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import IncompleteSnapshotError

from api.broker import Grant
from api.errors import InvalidRequest
from api.reference import parse_reference
from cache.pull import Pulled, pull
from cache.sources import SourceOptions
from cache.store import Store
from daemonset.config import Limits
from daemonset.pulling.fetch import fetcher
from tests.support.fake_hub import FakeHub

NAME = "org/tiny"
FILES = {"config.json": b"{}", "model.safetensors": b"w" * 5000, "sub/empty": b""}


def bring(hub: FakeHub, store: Store, *, layout: Any = "hf", **more: Any) -> Pulled:
    options = SourceOptions(plain_http=frozenset({hub.host}))
    return pull(store, parse_reference(f"hf://{NAME}"), options=options, layout=layout, trust_store=True, **more)


def test_the_library_finds_every_file_offline(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    pulled = bring(hub, store)
    hub.seen.clear()
    snapshot = Path(snapshot_download(NAME, cache_dir=pulled.path, local_files_only=True))
    assert snapshot == pulled.path / "models--org--tiny" / "snapshots" / commit
    assert {path: (snapshot / path).read_bytes() for path in FILES} == FILES
    assert Path(hf_hub_download(NAME, "sub/empty", cache_dir=pulled.path, local_files_only=True)).exists()
    assert hub.seen == []


def test_the_listing_lets_the_library_notice_a_missing_file(hub: FakeHub, store: Store, tmp_path: Path) -> None:
    commit = hub.add(NAME, FILES)
    pulled = bring(hub, store)
    folder = tmp_path / "copy" / "models--org--tiny"
    for part in ("refs/main", f"trees/{commit}.json", f"snapshots/{commit}/config.json"):
        target = folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((pulled.path / "models--org--tiny" / part).read_bytes())
    with pytest.raises(IncompleteSnapshotError):
        snapshot_download(NAME, cache_dir=tmp_path / "copy", local_files_only=True)


def test_the_listing_says_what_the_hub_says(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    listing = json.loads((bring(hub, store).path / "models--org--tiny" / "trees" / f"{commit}.json").read_text())
    hub_says = {
        path: {"size": file.size, "blob_id": file.blob_id}
        | ({"lfs_sha256": file.sha256, "lfs_size": file.size} if file.sha256 else {})
        for path, file in hub.repos[NAME].files[commit].items()
    }
    assert listing == {"format_version": 1, "files": hub_says}


def test_both_layouts_share_their_bytes(hub: FakeHub, store: Store) -> None:
    commit = hub.add(NAME, FILES)
    plain = bring(hub, store, layout="plain")
    hub.seen.clear()
    arranged = bring(hub, store)
    assert (arranged.bytes_origin, len(hub.seen)) == (0, 1)
    one = plain.path / "model.safetensors"
    other = arranged.path / "models--org--tiny" / "snapshots" / commit / "model.safetensors"
    assert one.samefile(other)


def test_a_recorded_layout_is_warm_and_stays_apart_from_the_plain_tree(hub: FakeHub, store: Store) -> None:
    hub.add(NAME, FILES)
    first = bring(hub, store, key="tiny")
    again = bring(hub, store, key="tiny")
    assert again.tree == first.tree
    assert bring(hub, store, layout="plain").tree != first.tree


def test_other_references_have_no_place_in_the_hub_s_cache(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="not on the Hub"):
        pull(store, parse_reference("oci://localhost:1/m/tiny:v1"), options=SourceOptions(), layout="hf")


def test_a_node_s_grant_says_the_layout(hub: FakeHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = hub.add(NAME, FILES)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    fetch = fetcher(store, limits=Limits(), ambient=True)
    grant = Grant(model="team/tiny", source=f"hf://{NAME}@{commit}", revision=commit, layout="hf")
    pulled = fetch(grant, on_progress=lambda _: None, cancel=threading.Event())
    assert Path(snapshot_download(NAME, cache_dir=pulled.path, local_files_only=True)).is_relative_to(pulled.path)
