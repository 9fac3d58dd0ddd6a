"""All of a tree can come from peers: small files, archive layers, what the source said of it. Over real sockets."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.digest import Digest
from api.errors import SourceChanged
from cache.transfer.throttle import Rate
from tests.support.exchange_group import MIB, Model, Node, free_address, pull_together, start_nodes
from tests.support.fake_registry import FakeRegistry
from tests.support.layers import tar
from tests.support.pulling import contents


def test_small_files_leave_the_origin_once_too(registry: FakeRegistry, stack: ExitStack, tmp_path: Path) -> None:
    model = Model(registry, large=[200_000] * 30)
    nodes = start_nodes(stack, tmp_path, count=3)
    for node in nodes:  # else it is over before the members have told each other anything
        node.limit = Rate(3 * MIB)
    pull_together(nodes, model.reference, plain_http=registry.host)
    model.check(nodes)
    assert model.sent <= 2 * model.size  # without sharing it is three copies


def test_a_late_joiner_asks_the_origin_for_nothing(registry: FakeRegistry, stack: ExitStack, tmp_path: Path) -> None:
    model = Model(registry)
    nodes = start_nodes(stack, tmp_path, count=3)
    pull_together(nodes[:2], model.pinned, plain_http=registry.host)
    before = len(registry.seen)
    pull_together(nodes[2:], model.pinned, plain_http=registry.host)
    model.check(nodes)
    assert registry.seen[before:] == []


def test_with_the_origin_gone_a_node_becomes_warm_from_one_peer(stack: ExitStack, tmp_path: Path) -> None:
    with FakeRegistry() as registry:
        model = Model(registry)
        first, second = start_nodes(stack, tmp_path, count=2)
        pull_together([first], model.pinned, plain_http=registry.host)
    pull_together([second], model.pinned, plain_http=registry.host)
    model.check([first, second])


def test_a_restarted_node_goes_on_serving(stack: ExitStack, tmp_path: Path) -> None:
    addresses = [free_address(), free_address()]
    with FakeRegistry() as registry:
        model = Model(registry)
        with Node(tmp_path / "first", members=addresses, me=addresses[0]) as node:
            pull_together([node], model.pinned, plain_http=registry.host)
    stack.enter_context(Node(tmp_path / "first", members=addresses, me=addresses[0]))
    late = stack.enter_context(Node(tmp_path / "late", members=addresses, me=addresses[1]))
    pull_together([late], model.pinned, plain_http=registry.host)
    model.check([late])


def test_archive_layers_leave_the_origin_once_and_serve_late_joiners(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path
) -> None:
    contents = {"weights.gguf": os.urandom(9 * MIB), "notes.txt": b"hello"}
    model = Model(registry, large=[3 * MIB])
    document = registry.model(model.files, archives=(tar(contents),))
    revision = registry.add_manifest("models/m", "packed", document)
    reference = f"oci://{registry.host}/models/m@{revision}"
    nodes = start_nodes(stack, tmp_path, count=3)
    for node in nodes:  # else it is over before the members have told each other anything
        node.limit = Rate(6 * MIB)
    pull_together(nodes[:2], reference, plain_http=registry.host)
    pull_together(nodes[2:], reference, plain_http=registry.host)
    model.files |= contents
    model.check(nodes)
    size = sum(layer["size"] for layer in document["layers"])
    assert registry.blob_bytes() <= 1.2 * size  # two who begin at once may both fetch a chunk


def test_a_manifest_that_is_not_what_its_digest_names_is_not_believed(
    registry: FakeRegistry, stack: ExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[2 * MIB])
    liar, node = start_nodes(stack, tmp_path, count=2)
    pull_together([liar], model.pinned, plain_http=registry.host)
    (remembered,) = (tmp_path / "node-0" / "records" / "exchanges").iterdir()
    holding = liar.exchanges.held(remembered.name)
    assert holding is not None
    object.__setattr__(holding, "manifest", holding.manifest.replace(b"config.json", b"other.json.."))
    pull_together([node], model.pinned, plain_http=registry.host)
    model.check([node])


@pytest.fixture
def bucket(tmp_path: Path) -> dict[str, bytes]:
    """The files of a folder that publishes no sha256, ``tmp_path / "bucket"``."""
    files = {"model.gguf": os.urandom(5 * MIB), "config.json": b"{}", "empty": b""}
    (tmp_path / "bucket").mkdir()
    for name, content in files.items():
        (tmp_path / "bucket" / name).write_bytes(content)
    return files


@pytest.mark.parametrize("given", [False, True])
def test_files_whose_source_tells_no_sha256_are_shared_only_where_it_is_given(
    stack: ExitStack, tmp_path: Path, bucket: dict[str, bytes], given: bool
) -> None:
    nodes = start_nodes(stack, tmp_path, count=2)
    for node in nodes:
        node.limit = Rate(3 * MIB)
        node.sha256 = {name: Digest(hashlib.sha256(data).hexdigest()) for name, data in bucket.items() if given}
    pull_together(nodes, f"file://{tmp_path}/bucket", plain_http="")
    pulled = [node.pulled for node in nodes if node.pulled is not None]
    assert [contents(one.path) for one in pulled] == [bucket] * 2
    copies = sum(one.bytes_origin for one in pulled) / sum(map(len, bucket.values()))
    assert copies <= 1.5 if given else copies == 2.0


def test_once_a_tree_is_fixed_who_comes_later_reads_it_from_peers(
    stack: ExitStack, tmp_path: Path, bucket: dict[str, bytes]
) -> None:
    first, late = start_nodes(stack, tmp_path, count=2)
    pull_together([first], f"file://{tmp_path}/bucket", plain_http="")
    assert first.pulled is not None
    late.tree = first.pulled.tree.digest
    pull_together([late], f"file://{tmp_path}/bucket", plain_http="")
    assert late.pulled is not None
    assert contents(late.pulled.path) == bucket
    assert late.pulled.bytes_origin == 0


def test_a_source_that_gives_a_later_node_other_bytes_is_refused_by_name(
    stack: ExitStack, tmp_path: Path, bucket: dict[str, bytes]
) -> None:
    (node,) = start_nodes(stack, tmp_path, count=1)
    node.tree = Digest("0" * 64)
    with pytest.raises(SourceChanged, match="read it first"):
        pull_together([node], f"file://{tmp_path}/bucket", plain_http="")
    assert not node.exchanges._held
