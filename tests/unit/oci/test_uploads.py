"""Pushes: what is there is not sent, and what broke goes on at the byte that the registry has."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.errors import SourceUnavailable
from api.reference import parse_reference
from cache.push import Pushed, push
from cache.sources import SourceOptions
from cache.transfer.progress import Progress
from tests.support.fake_uploads import Break, FakeUploads

PART = 1 << 20
CONTENT = random.Random(5).randbytes(3 * PART + 777)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUploads]:
    monkeypatch.setattr("cache.sources.oci.upload.PART_BYTES", PART)
    monkeypatch.setattr("cache.http.retry.RetryPolicy.wait_s", lambda *_, **__: 0.0)
    with FakeUploads() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.gguf").write_bytes(CONTENT)
    return tmp_path


def upload(registry: FakeUploads, folder: Path, **more: Any) -> Pushed:
    options = SourceOptions(plain_http=frozenset({registry.host}))
    return push(folder, parse_reference(f"oci://{registry.host}/team/model:v1"), options=options, **more)


@pytest.mark.parametrize("at", [10_000, PART + 500_000, 3 * PART + 700])
def test_an_upload_goes_on_in_the_middle_of_a_part(registry: FakeUploads, folder: Path, at: int) -> None:
    registry.breaks = [Break(at)]
    told: list[Progress] = []
    upload(registry, folder, on_progress=told.append)
    assert registry.blobs["team/model", DIGEST] == CONTENT
    config = registry.received - len(CONTENT)
    assert config < 5000, "not a byte of the file was sent twice"
    assert told[-1].bytes_done == told[-1].bytes_total


def test_a_registry_that_forgets_the_part_gets_the_part_again(registry: FakeUploads, folder: Path) -> None:
    registry.breaks = [Break(PART + 500_000, keeps=False)]
    upload(registry, folder)
    assert registry.blobs["team/model", DIGEST] == CONTENT
    assert registry.received < len(CONTENT) + PART


def test_a_registry_that_forgets_the_upload_gets_it_anew(registry: FakeUploads, folder: Path) -> None:
    registry.breaks = [Break(2 * PART + 5, forgets=True)]
    upload(registry, folder)
    assert registry.blobs["team/model", DIGEST] == CONTENT


def test_an_upload_that_always_breaks_at_one_place_ends(registry: FakeUploads, folder: Path) -> None:
    registry.breaks = [Break(PART + 500_000, keeps=False) for _ in range(100)]
    with pytest.raises(SourceUnavailable):
        upload(registry, folder)
    assert registry.count("PATCH") < 20


def test_one_that_breaks_again_and_again_but_gets_on_comes_to_its_end(registry: FakeUploads, folder: Path) -> None:
    registry.breaks = [Break(at) for at in range(PART, 3 * PART, 100_000)]
    upload(registry, folder)
    assert registry.blobs["team/model", DIGEST] == CONTENT


def test_what_the_repository_has_is_not_sent(registry: FakeUploads, folder: Path) -> None:
    upload(registry, folder)
    registry.received = 0
    assert upload(registry, folder).bytes_sent == 0
    assert registry.received < 5000, "the manifest"


def test_what_another_repository_has_is_mounted(registry: FakeUploads, folder: Path) -> None:
    registry.blobs["models/base", DIGEST] = CONTENT
    (folder / "adapter.gguf").write_bytes(b"new")
    assert upload(registry, folder, mount_from="models/base").bytes_sent == 3
    assert registry.blobs["team/model", DIGEST] == CONTENT
    assert registry.uploads == {}, "the upload that the registry began instead was taken back"


def test_a_registry_that_does_not_mount_gets_the_bytes(registry: FakeUploads, folder: Path) -> None:
    registry.mounts = False
    registry.blobs["models/base", DIGEST] = CONTENT
    assert upload(registry, folder, mount_from="models/base").bytes_sent == len(CONTENT)
    assert registry.uploads == {}
