"""The scrub reads every blob in turn, at its rate, across restarts, and finds what rotted."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import DiskError
from cache.store import Store, scrub
from cache.store.scrub import ROUND_S, Position, Scrub, next_blob, round_due_in_s
from cache.store.store import Checked
from tests.unit.store.conftest import rot
from tests.unit.store.samples import add_blob, add_tree, digest_of

FAST = 1 << 40
_names = st.sets(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=30)


def a_round(scrub: Scrub) -> list[str]:
    """Digests found wrong until the round is over."""
    found = []
    while True:
        if (one := scrub.step()) is not None:
            found.append(one.digest.hex)
        if not scrub.position.after:
            return found


@given(_names, st.text("0123456789abcdef", max_size=4))
def test_a_round_takes_every_blob_once_in_order_from_where_it_was(names: set[str], start: str) -> None:
    def listing(shard: str) -> list[str]:
        return [name for name in names if name.startswith(shard)]

    taken, after = [], start
    while (name := next_blob(listing, after=after)) is not None:
        taken.append(name)
        after = name
    assert taken == sorted(name for name in names if name > start)


def test_rot_is_found_without_any_change_of_times_and_goes_to_quarantine(store: Store) -> None:
    tree = add_tree(store, {"a": b"one", "b": b"two", "c": b"three"})
    blob = store.blob_path(digest_of(b"two"))
    times = blob.stat()
    rot(blob)
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert a_round(Scrub(store, bytes_per_second=FAST, stop=Event())) == [digest_of(b"two").hex]
    assert not store.has_blob(digest_of(b"two"), 3)
    assert store.tree(tree.digest) is None
    assert [f.path for f in store.verify_tree(tree.digest)] == ["b"]


def test_a_restart_goes_on_behind_the_blob_that_was_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "SAVE_S", 0.0)
    first, second = sorted([add_blob(store, b"one"), add_blob(store, b"two")], key=lambda d: d.hex)
    Scrub(store, bytes_per_second=FAST, stop=Event()).step()
    again = Scrub(store, bytes_per_second=FAST, stop=Event())
    assert again.position.after == first.hex
    again.step()
    assert again.position.after == second.hex


def test_a_torn_record_begins_a_round_anew(store: Store) -> None:
    store.layout.scrub.write_bytes(b"{")
    assert Scrub(store, bytes_per_second=FAST, stop=Event()).position == Position()


def test_the_rate_holds(store: Store) -> None:
    add_blob(store, bytes(100_000))
    began = time.monotonic()
    a_round(Scrub(store, bytes_per_second=500_000, stop=Event()))
    assert time.monotonic() - began >= 0.2


def test_being_told_to_stop_ends_a_blob_without_a_verdict(store: Store) -> None:
    blob = add_blob(store, bytes(100_000))
    rot(store.blob_path(blob))
    stop = Event()
    stop.set()
    assert Scrub(store, bytes_per_second=1, stop=stop).step() is None
    assert store.has_blob(blob, 100_000)


def test_a_disk_that_fails_does_not_empty_the_cache(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = [add_blob(store, str(n).encode()) for n in range(10)]

    def unreadable(digest: object, *, on_bytes: object) -> Checked:
        return Checked("unreadable", store.blob_path(digest).stat().st_ino)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "check_blob", unreadable)
    with pytest.raises(DiskError, match="on end"):
        a_round(Scrub(store, bytes_per_second=FAST, stop=Event()))
    assert sum(store.has_blob(blob, 1) for blob in blobs) == 10 - scrub.MAX_UNREADABLE


NOW = 20_000 * ROUND_S


@pytest.mark.parametrize(
    ("position", "due"),
    [
        (Position(), 0.0),
        (Position(after="ab", began_at=NOW - 1000.0), 0.0),
        (Position(began_at=NOW - 1000.0, finished_at=NOW - 500.0), ROUND_S - 1000.0),
        (Position(began_at=NOW - ROUND_S), 0.0),
        (Position(began_at=NOW + 9_000.0), 0.0),
    ],
    ids=["never", "within a round", "after a quick round", "a day later", "clock set back"],
)
def test_a_round_begins_a_day_after_the_last_began(position: Position, due: float) -> None:
    assert round_due_in_s(position, now=NOW) == due


def test_an_empty_store_makes_a_round_of_nothing(root: Path) -> None:
    with Store.open(root) as store:
        assert a_round(Scrub(store, bytes_per_second=FAST, stop=Event())) == []
