"""What belongs to one tenant never reaches another who only knows its digest, not in part either."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.digest import Digest
from api.errors import WarmsetError
from api.reference import parse_reference
from cache.pull import pull
from cache.sources import SourceOptions
from cache.store import Store
from cache.transfer.engine import CHUNK_BYTES
from tests.support.exchange_group import MIB, Model, Node, pull_together, start_nodes
from tests.support.fake_registry import FakeRegistry


@pytest.fixture
def victim() -> Iterator[Model]:
    with FakeRegistry() as registry:
        yield Model(registry, large=[CHUNK_BYTES + 3 * MIB])


@pytest.fixture
def hostile(victim: Model) -> Iterator[Model]:
    """A registry whose manifest names the victim's files, and that has only the last byte of none of them."""
    with FakeRegistry() as registry:
        model = Model(registry, large=[])
        model.revision = registry.add_manifest("models/m", "v1", victim.registry.model(victim.files))
        model.pinned = f"oci://{registry.host}/models/m@{model.revision}"
        yield model


def weights(model: Model) -> bytes:
    return model.files["model-0.safetensors"]


def digest_of(content: bytes) -> Digest:
    return Digest(hashlib.sha256(content).hexdigest())


def failed(node: Node) -> bool:
    return node.pulled is None and isinstance(node.error, WarmsetError)


def pull_hostile(nodes: list[Node], hostile: Model) -> None:
    with pytest.raises(WarmsetError):
        pull_together(nodes, hostile.pinned, plain_http=hostile.registry.host)
    assert all(failed(node) for node in nodes)


def test_a_manifest_that_names_another_tenant_s_blobs_gets_them_from_no_peer(
    victim: Model, hostile: Model, stack: ExitStack, tmp_path: Path
) -> None:
    holder, other = start_nodes(stack, tmp_path, count=2)
    pull_together([holder], victim.pinned, plain_http=victim.registry.host)
    pull_hostile([other], hostile)
    holder.pulled = None
    pull_hostile([holder, other], hostile)
    assert not other.store.has_blob(digest_of(weights(victim)), len(weights(victim)))


def left_half(store: Store, content: bytes, *, place: str) -> None:
    """As a pull through ``place`` leaves it that was cut short after its first chunk."""
    with store.ingest(digest_of(content), size=len(content), chunk_bytes=CHUNK_BYTES, place=place) as ingest:
        ingest.write(0, memoryview(content)[:CHUNK_BYTES])
        ingest.written(0)


def test_the_part_that_another_place_left_helps_only_that_place(victim: Model, tmp_path: Path) -> None:
    """Else a registry that has the end of a file gets the beginning for it."""
    content = weights(victim)
    options = SourceOptions(plain_http=frozenset({victim.registry.host}))
    for place, expected in (("oci://elsewhere.example.com/models/m", 2), (parse_reference(victim.pinned).place, 1)):
        with Store.open(tmp_path / str(expected)) as store:
            left_half(store, content, place=place)
            victim.registry.seen.clear()
            pull(store, parse_reference(victim.pinned), options=options, workers=1)
        sent = sum(seen.sent for seen in victim.registry.seen if digest_of(content).hex in seen.path)
        assert sent == len(content) - (CHUNK_BYTES if expected == 1 else 0)


def test_a_store_of_one_user_goes_on_with_whatever_it_has(victim: Model, tmp_path: Path) -> None:
    content = weights(victim)
    options = SourceOptions(plain_http=frozenset({victim.registry.host}))
    with Store.open(tmp_path) as store:
        left_half(store, content, place="")
        pull(store, parse_reference(victim.pinned), options=options, workers=1, trust_store=True)
    sent = sum(seen.sent for seen in victim.registry.seen if digest_of(content).hex in seen.path)
    assert sent == len(content) - CHUNK_BYTES


def test_parts_that_two_nodes_have_of_another_tenant_s_file_do_not_add_up(
    victim: Model, hostile: Model, stack: ExitStack, tmp_path: Path
) -> None:
    """Each peer would bring what the other one lacks, and the source nothing."""
    content, digest = weights(victim), digest_of(weights(victim))
    nodes = start_nodes(stack, tmp_path, count=2)
    victims_place = parse_reference(victim.pinned).place
    for number, node in enumerate(nodes):
        with node.store.ingest(digest, size=len(content), chunk_bytes=MIB, place=victims_place) as ingest:
            for chunk in range(number, -(-len(content) // MIB), 2):
                ingest.write(chunk * MIB, memoryview(content)[chunk * MIB : (chunk + 1) * MIB])
                ingest.written(chunk)
    pull_hostile(nodes, hostile)
    assert not any(node.store.has_blob(digest, len(content)) for node in nodes)
