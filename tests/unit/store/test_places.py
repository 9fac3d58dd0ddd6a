"""What is known of a place: remembered across starts, and never invented by damage."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.digest import Digest
from cache.store.places import Place

A, B, C = (Digest(hashlib.sha256(text).hexdigest()) for text in (b"a", b"b", b"c"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "records").mkdir()
    return tmp_path


def test_nothing_is_known_at_first(root: Path) -> None:
    known = Place(root, "oci://h/a").known()
    assert (known.proven, dict(known.hashes)) == (frozenset(), {})


def test_what_was_noted_is_known_to_the_next_process(root: Path) -> None:
    Place(root, "oci://h/a").note(proven=[A, B], hashes={C: A})
    Place(root, "oci://h/a").note(proven=[C])
    known = Place(root, "oci://h/a").known()
    assert (known.proven, dict(known.hashes)) == ({A, B, C}, {C: A})


def test_places_know_nothing_of_each_other(root: Path) -> None:
    Place(root, "oci://h/a").note(proven=[A])
    assert not Place(root, "oci://h/a/b").known().proven


def test_the_first_hash_of_a_key_stays(root: Path) -> None:
    place = Place(root, "s3://bucket/x")
    place.note(hashes={A: B})
    place.note(hashes={A: C})
    assert place.known().hashes == {A: B}


def test_a_torn_line_costs_only_itself(root: Path) -> None:
    place = Place(root, "oci://h/a")
    place.note(proven=[A])
    (file,) = (root / "records" / "places").iterdir()
    file.write_bytes(file.read_bytes() + B.hex[:40].encode())
    place.note(proven=[C])
    assert place.known().proven == {A, C}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 200))
def test_damage_proves_nothing(root: Path, noise: bytes, at: int) -> None:
    place = Place(root, "oci://h/a")
    place.note(proven=[A])
    (file,) = (root / "records" / "places").iterdir()
    raw = file.read_bytes()
    file.write_bytes(raw[:at] + noise)
    assert place.known().proven <= {A}
    file.unlink()


def test_threads_may_note_at_once(root: Path) -> None:
    place = Place(root, "oci://h/a")
    digests = [Digest(hashlib.sha256(b"%d" % n).hexdigest()) for n in range(64)]
    threads = [threading.Thread(target=lambda d=digest: place.note(proven=[d])) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.known().proven == set(digests)
