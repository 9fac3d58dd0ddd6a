"""Mirrors with real registries: one beside the origin, and one that pulls through it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.errors import SourceUnavailable
from api.reference import parse_reference
from cache.pull import pull
from cache.push import push
from cache.sources import SourceOptions
from cache.sources.mirror import Mirror
from cache.sources.mirrors import Mirrors
from cache.store import Store
from tests.support.fake_proxy import FakeProxy
from tests.support.registry import HOW_TO_GET, Registry, registry_missing, start_registry

pytestmark = pytest.mark.skipif(registry_missing(), reason=HOW_TO_GET)

FILES = {"model.safetensors": random.Random(7).randbytes(20 << 20), "config.json": b"{}"}
SIZE = sum(map(len, FILES.values()))
NAME = "team/llama"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def registry(servers: ExitStack, folder: Path, *, proxy_of: str = "") -> Registry:
    running = start_registry(folder, proxy_of=proxy_of)
    servers.callback(running.stop)
    return running


def fill(registry: Registry, folder: Path) -> str:
    """Push the model; returns its revision."""
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    options = SourceOptions(plain_http=frozenset({registry.host}))
    return push(folder, parse_reference(f"oci://{registry.host}/{NAME}:v1"), options=options).revision


def bring(store: Path, reference: str, *mirrors: str, host: str = "") -> tuple[int, dict[str, bytes]]:
    """Bytes from the network, and the files."""
    parsed = parse_reference(reference)
    listed = Mirrors([Mirror(host=host or reference.split("/")[2], url=f"http://{mirror}") for mirror in mirrors])
    options = SourceOptions(plain_http=frozenset({reference.split("/")[2]}), mirrors=listed)
    with Store.open(store) as opened:
        pulled = pull(opened, parsed, options=options, key="model")
        return pulled.bytes_origin, {path.name: path.read_bytes() for path in pulled.path.iterdir()}


def test_the_bytes_come_from_the_mirror_also_when_the_origin_is_down(servers: ExitStack, tmp_path: Path) -> None:
    origin, mirror = registry(servers, tmp_path / "origin"), registry(servers, tmp_path / "mirror")
    revision = fill(origin, tmp_path / "model")
    assert fill(mirror, tmp_path / "model") == revision
    with FakeProxy(upstream=origin.host) as relay:
        carried, files = bring(tmp_path / "one", f"oci://{relay.host}/{NAME}:v1", mirror.host)
        assert files == FILES
        assert carried == SIZE
        assert relay.carried < 10_000, "a manifest"
    origin.stop()
    pinned = f"oci://{origin.host}/{NAME}@{revision}"
    assert bring(tmp_path / "two", pinned, mirror.host)[1] == FILES
    with pytest.raises(SourceUnavailable):
        bring(tmp_path / "three", pinned)


def test_a_mirror_whose_disk_rots_and_one_that_is_gone_leave_the_origin(servers: ExitStack, tmp_path: Path) -> None:
    origin, mirror = registry(servers, tmp_path / "origin"), registry(servers, tmp_path / "mirror")
    fill(origin, tmp_path / "model")
    fill(mirror, tmp_path / "model")
    data = next(path for path in (mirror.folder / "data").rglob("data") if path.stat().st_size == 20 << 20)
    with data.open("r+b") as file:
        file.seek(17 << 20)
        file.write(b"rot")
    _, files = bring(tmp_path / "store", f"oci://{origin.host}/{NAME}:v1", "127.0.0.1:1", mirror.host)
    assert files == FILES


def test_a_pull_through_cache_fills_itself(servers: ExitStack, tmp_path: Path) -> None:
    origin = registry(servers, tmp_path / "origin")
    fill(origin, tmp_path / "model")
    cache = registry(servers, tmp_path / "cache", proxy_of=origin.host)
    for n in range(2):
        with FakeProxy(upstream=cache.host) as relay:
            assert bring(tmp_path / str(n), f"oci://{origin.host}/{NAME}:v1", relay.host)[1] == FILES
            assert relay.carried > SIZE
