"""The reconcile loop on a real store."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import daemonset.pulling.flight
import daemonset.pulling.schedule
from api.broker import Grant
from api.errors import NotFound, SourceUnavailable
from cache.store import PullRecord, Store
from tests.unit.daemonset.doubles import FakeFetch, Node, eventually, failure, revision, wanted


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.pulling.schedule, "RETRY_BASE_S", 0.01)


async def test_what_is_desired_becomes_ready_with_its_tree(node: Node) -> None:
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.state(llama) == "Ready")
    (status,) = node.pulls.statuses()
    assert (status.model, status.revision) == (llama.model, revision("v1"))
    assert status.bytes_done == status.bytes_total == status.bytes_origin > 0
    assert [str(tree) for tree in node.store.trees()] == [status.tree]


async def test_no_more_pulls_than_slots_run_and_the_rest_is_queued(node: Node) -> None:
    node.fetch.hold.clear()
    entries = [wanted(name, version=name) for name in ("a", "b", "c")]
    node.pulls.set_desired(entries)
    await eventually(lambda: len(node.fetch.running) == 2)
    assert [status.state for status in node.pulls.statuses()] == ["Pulling", "Pulling", "Queued"]
    node.fetch.hold.set()
    await eventually(lambda: all(status.state == "Ready" for status in node.pulls.statuses()))


async def test_two_models_of_one_revision_are_pulled_one_after_the_other_each_by_its_own_grant(node: Node) -> None:
    a, b = wanted("a"), wanted("b")
    node.pulls.set_desired([a, b])
    await eventually(lambda: node.state(a) == node.state(b) == "Ready")
    assert node.fetch.calls == [revision("v1")] * 2
    assert not node.fetch.overlapped
    assert node.broker.asked == 2


async def test_a_retryable_failure_is_tried_again_and_named_meanwhile(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemonset.pulling.schedule, "RETRY_BASE_S", 0.2)
    llama = wanted("llama")
    node.fetch.failures = [failure(SourceUnavailable)]
    node.pulls.set_desired([llama])
    await eventually(lambda: node.reason(llama) == "SourceUnavailable")
    assert node.state(llama) == "Queued"
    await eventually(lambda: node.state(llama) == "Ready")
    assert node.reason(llama) == ""


async def test_a_retry_under_way_still_names_the_last_failure_until_bytes_come(node: Node) -> None:
    llama = wanted("llama")
    node.fetch.failures = [failure(SourceUnavailable)]
    node.fetch.hold.clear()
    node.pulls.set_desired([llama])
    await eventually(lambda: len(node.fetch.calls) == 2)
    await eventually(lambda: (node.state(llama), node.reason(llama)) == ("Pulling", "SourceUnavailable"))


async def test_a_failure_that_a_retry_hardly_mends_is_failed(node: Node) -> None:
    llama = wanted("llama")
    node.fetch.failures = [failure(NotFound)]
    node.pulls.set_desired([llama])
    await eventually(lambda: node.state(llama) == "Failed")
    assert node.reason(llama) == "NotFound"


async def test_a_defect_in_a_pull_fails_that_pull_alone(node: Node) -> None:
    bad, good = wanted("bad"), wanted("good", version="v2")
    node.fetch.failures = [ZeroDivisionError()]
    node.pulls.set_desired([bad])
    await eventually(lambda: node.state(bad) == "Failed")
    node.pulls.set_desired([bad, good])
    await eventually(lambda: node.state(good) == "Ready")


async def test_without_the_broker_a_pull_waits_and_says_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.pulling.schedule, "RETRY_BASE_S", 0.2)
    node.broker.away = True
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.reason(llama) == "ClusterUnavailable")
    node.broker.away = False
    await eventually(lambda: node.state(llama) == "Ready")


async def test_a_pull_without_progress_is_reported_as_stalled(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.pulling.flight, "STALLED_AFTER_S", 0.1)
    monkeypatch.setattr("daemonset.pulling.pulls.TICK_S", 0.02)
    node.fetch.hold.clear()
    node.fetch.told = 10
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    seen = node.changed.version
    await eventually(lambda: node.reason(llama) == "Stalled")
    assert node.state(llama) == "Pulling"
    await eventually(lambda: node.changed.version > seen)
    node.fetch.hold.set()
    await eventually(lambda: node.state(llama) == "Ready")


async def test_absent_stops_the_pull_and_leaves_no_status(node: Node) -> None:
    node.fetch.hold.clear()
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.fetch.running)
    node.pulls.set_desired([replace(llama, absent=True)])
    await eventually(lambda: not node.fetch.running)
    await eventually(lambda: node.pulls.statuses() == [])


async def test_a_higher_priority_takes_over_and_the_lower_one_comes_back(store: Store) -> None:
    node = Node.of(store, slots=1)
    loop = asyncio.create_task(node.pulls.run())
    node.fetch.hold.clear()
    low, urgent = wanted("low", version="low"), wanted("urgent", version="urgent", priority=9)
    node.pulls.set_desired([low])
    await eventually(lambda: node.fetch.running == {low.revision})
    node.pulls.set_desired([low, urgent])
    await eventually(lambda: node.fetch.running == {urgent.revision})
    assert node.state(low) == "Queued"
    node.fetch.hold.set()
    await eventually(lambda: node.state(low) == node.state(urgent) == "Ready")
    loop.cancel()
    await asyncio.wait([loop])


async def test_absent_removes_tree_record_and_grant_once_mounts_are_known(node: Node) -> None:
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.state(llama) == "Ready")
    node.pulls.set_desired([replace(llama, absent=True)])
    await asyncio.sleep(0.05)
    assert (node.state(llama), node.reason(llama)) == ("Evicting", "MountsUnknown")
    node.pulls.pins_are_mounts(True)
    # The status goes with the tree; the record and the grant follow.
    await eventually(lambda: node.pulls.statuses() == [] and not list((node.store.root / "grants").iterdir()))
    assert node.store.trees() == []
    assert node.store.pull_records() == []


async def test_a_pinned_tree_stays_until_its_last_publication_ends(node: Node) -> None:
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.state(llama) == "Ready")
    held = node.pulls.held(llama.key)
    assert held
    node.store.pin("a" * 64, tree=held.tree, note={})
    node.pulls.pins_are_mounts(True)
    node.pulls.set_desired([replace(llama, absent=True)])
    await eventually(lambda: node.reason(llama) == "InUse")
    assert node.store.tree(held.tree) is not None
    node.store.unpin("a" * 64)
    node.pulls.pins_changed()
    await eventually(lambda: node.store.trees() == [])


async def test_a_tree_that_another_model_holds_stays(node: Node) -> None:
    a, b = wanted("a"), wanted("b")
    node.pulls.set_desired([a, b])
    await eventually(lambda: node.state(a) == node.state(b) == "Ready")
    node.pulls.pins_are_mounts(True)
    node.pulls.set_desired([replace(a, absent=True), b])
    await eventually(lambda: len(node.pulls.statuses()) == 1)
    assert node.state(b) == "Ready"
    assert len(node.store.trees()) == 1


async def test_a_missing_entry_removes_nothing(node: Node) -> None:
    llama = wanted("llama")
    node.pulls.set_desired([llama])
    await eventually(lambda: node.state(llama) == "Ready")
    node.pulls.pins_are_mounts(True)
    node.pulls.set_desired([])
    await asyncio.sleep(0.05)
    assert node.state(llama) == "Ready"


async def test_a_restart_reports_what_the_store_holds_without_asking_anybody(tmp_path: Path) -> None:
    llama = wanted("llama")
    with Store.open(tmp_path / "cache") as store:
        before = Node.of(store)
        loop = asyncio.create_task(before.pulls.run())
        before.pulls.set_desired([llama])
        await eventually(lambda: before.state(llama) == "Ready")
        loop.cancel()
        await asyncio.wait([loop])
    with Store.open(tmp_path / "cache") as store:
        after = Node.of(store)
        after.broker.away = True
        assert after.state(llama) == "Ready"
        assert after.fetch.calls == []
        assert after.broker.asked == 0


def test_records_that_others_keep_in_the_store_are_left_alone(store: Store) -> None:
    by_hand = Grant(model="default/llama", source="oci://registry.example.com/llama:v1", revision="")
    pulled = FakeFetch(store)(by_hand, on_progress=lambda _: None, cancel=threading.Event())
    store.record_pull(PullRecord(by_hand.source, "r", pulled.tree.digest, by_hand.source))
    assert Node.of(store).pulls.statuses() == []


async def test_ending_tells_the_pulls_to_end_and_waits_for_them(store: Store) -> None:
    node = Node.of(store)
    loop = asyncio.create_task(node.pulls.run())
    node.fetch.hold.clear()
    node.pulls.set_desired([wanted("llama")])
    await eventually(lambda: node.fetch.running)
    loop.cancel()
    await asyncio.wait([loop], timeout=2.0)
    assert loop.cancelled()
    assert node.fetch.running == set()
