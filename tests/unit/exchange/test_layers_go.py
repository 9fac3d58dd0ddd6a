"""An archive's layer serves its cohort, and then gives its room back."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from api.digest import Digest
from api.tree import Tree, TreeFile
from cache.exchange.group import Exchanges, Group
from cache.exchange.holding import Holding, in_order
from cache.store import Store
from daemonset.sharing import layers


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_layer_goes_when_nobody_has_asked_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    monkeypatch.setattr(layers, "LOOK_S", 0.01)
    monkeypatch.setattr(layers, "IDLE_S", 3600.0 if wanted else 0.0)
    blobs = {Digest(hashlib.sha256(content).hexdigest()): content for content in (b"layer", b"unpacked")}
    layer, unpacked = blobs
    with Store.open(tmp_path / "cache") as store:
        store.commit_small(list(blobs.items()))
        tree = Tree.of([TreeFile("model.gguf", len(b"unpacked"), unpacked)])
        store.publish_tree(tree)
        exchanges = Exchanges(Group.listed(["127.0.0.1:1"], me="127.0.0.1:1"))
        exchanges.hold(Holding("ab" * 32, tree, in_order({layer: 5})))
        job = asyncio.create_task(layers.drop_unasked(exchanges, store=store))
        async with asyncio.timeout(20):
            while store.has_blob(layer, 5) is not wanted:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        job.cancel()
        await asyncio.wait([job])
        assert store.has_blob(layer, 5) is wanted
        assert store.has_blob(unpacked, 8)
