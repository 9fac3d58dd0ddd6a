"""What the agent answers when a pod's volume is to be published."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from api.errors import AlreadyPublished, InvalidRequest, NotFound, Pulling, SourceUnavailable
from api.node import LiveSet, PublishRequest
from cache.store import Store
from daemonset.publishing.publications import Publications
from tests.unit.daemonset.doubles import Node, eventually, failure, revision, wanted

ID = "a" * 64


def request(
    *, model: str = "default/llama", namespace: str = "default", wait_s: float = 2.0, rev: str = "", id_: str = ID
) -> PublishRequest:
    return PublishRequest(
        id=id_, model=model, namespace=namespace, pod="pod-0", pod_uid="uid-0", revision=rev, wait_s=wait_s
    )


@pytest.fixture
def publications(node: Node) -> Publications:
    return node.publications()


async def ready(node: Node, *names: str) -> None:
    entries = [wanted(name) for name in names]
    node.pulls.set_desired(entries)
    await eventually(lambda: all(node.state(entry) == "Ready" for entry in entries))


async def test_a_ready_tree_is_pinned_and_named(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    answer = await publications.publish(request())
    assert answer.revision == revision("v1")
    assert answer.files == 1
    pin = node.store.pins()[ID]
    assert str(pin.tree) == answer.tree
    assert pin.note["pod_uid"] == "uid-0"


async def test_the_call_is_held_until_the_pull_is_done(node: Node, publications: Publications) -> None:
    node.fetch.hold.clear()
    node.pulls.set_desired([wanted("llama")])
    call = asyncio.create_task(publications.publish(request()))
    await eventually(lambda: node.fetch.running)
    assert not call.done()
    node.fetch.hold.set()
    assert (await call).model == "default/llama"


async def test_a_model_that_the_controller_adds_later_is_served_in_the_same_call(
    node: Node, publications: Publications
) -> None:
    call = asyncio.create_task(publications.publish(request()))
    await asyncio.sleep(0.02)
    node.pulls.set_desired([wanted("llama")])
    assert (await call).model == "default/llama"


async def test_when_the_time_is_over_the_answer_is_pulling_with_the_progress(
    node: Node, publications: Publications
) -> None:
    node.fetch.hold.clear()
    node.fetch.told = 10
    node.pulls.set_desired([wanted("llama")])
    with pytest.raises(Pulling, match="10 of 71 bytes"):
        await publications.publish(request(wait_s=0.1))
    assert node.store.pins() == {}


async def test_a_retryable_failure_is_waited_out_and_named_at_the_end(node: Node, publications: Publications) -> None:
    node.fetch.failures = [failure(SourceUnavailable)] * 20
    node.pulls.set_desired([wanted("llama")])
    with pytest.raises(Pulling, match="SourceUnavailable"):
        await publications.publish(request(wait_s=0.2))


async def test_what_waiting_cannot_mend_is_answered_at_once(node: Node, publications: Publications) -> None:
    node.fetch.failures = [failure(NotFound)]
    node.pulls.set_desired([wanted("llama")])
    with pytest.raises(NotFound):
        await publications.publish(request(wait_s=60.0))


async def test_a_forbidden_model_looks_like_one_that_is_not_there(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    with pytest.raises(Pulling) as forbidden:
        await publications.publish(request(namespace="other", wait_s=0.05))
    with pytest.raises(Pulling) as absent:
        await publications.publish(request(model="default/llamb", namespace="other", wait_s=0.05))
    assert forbidden.value.message.replace("llama", "llamb") == absent.value.message
    assert forbidden.value.hint == absent.value.hint


async def test_a_forbidden_pod_learns_nothing_of_a_failure_either(node: Node, publications: Publications) -> None:
    node.fetch.failures = [failure(NotFound)]
    node.pulls.set_desired([wanted("llama")])
    await eventually(lambda: node.state(wanted("llama")) == "Failed")
    with pytest.raises(Pulling, match="not on this node yet"):
        await publications.publish(request(namespace="other", wait_s=0.05))


@pytest.mark.parametrize("namespaces", [["other"], ["*"]])
async def test_a_namespace_of_the_grant_may(node: Node, publications: Publications, namespaces: list[str]) -> None:
    node.broker.namespaces = namespaces
    await ready(node, "llama")
    assert await publications.publish(request(namespace="other"))


async def test_the_asked_revision_is_given_and_no_other(node: Node, publications: Publications) -> None:
    old, new = wanted("llama"), wanted("llama", version="v2")
    node.pulls.set_desired([old, new])
    await eventually(lambda: node.state(old) == node.state(new) == "Ready")
    assert (await publications.publish(request(rev=revision("v2")))).revision == revision("v2")
    with pytest.raises(Pulling):
        await publications.publish(request(rev=revision("v3"), wait_s=0.05, id_="b" * 64))


async def test_without_a_revision_a_pod_gets_the_models_present_one_though_another_is_here_already(
    node: Node, publications: Publications
) -> None:
    """As a static PersistentVolume asks, which outlives revisions."""
    old, new = wanted("llama"), wanted("llama", version="v2")
    node.broker.current = new.revision
    node.pulls.set_desired([old])
    await eventually(lambda: node.state(old) == "Ready")
    node.fetch.hold.clear()
    node.pulls.set_desired([old, new])
    call = asyncio.create_task(publications.publish(request(wait_s=5.0)))
    await eventually(lambda: node.state(new) == "Pulling")
    await asyncio.sleep(0.05)
    assert not call.done()
    node.fetch.hold.set()
    assert (await call).revision == new.revision


async def test_while_nobody_tells_the_present_revision_such_a_pod_waits(node: Node, publications: Publications) -> None:
    old, new = wanted("llama"), wanted("llama", version="v2")
    node.broker.current = "none of them"
    node.pulls.set_desired([old, new])
    await eventually(lambda: node.state(old) == node.state(new) == "Ready")
    with pytest.raises(Pulling):
        await publications.publish(request(wait_s=0.05))


async def test_a_repeated_call_gets_the_same_answer(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    assert await publications.publish(request()) == await publications.publish(request())
    assert list(node.store.pins()) == [ID]


async def test_one_target_cannot_stand_for_two_models(node: Node, publications: Publications) -> None:
    await ready(node, "llama", "other")
    await publications.publish(request())
    with pytest.raises(AlreadyPublished):
        await publications.publish(request(model="default/other"))


async def test_a_tree_lost_from_the_disk_is_pulled_again_before_the_answer(
    node: Node, publications: Publications
) -> None:
    await ready(node, "llama")
    held = node.pulls.held(wanted("llama").key)
    assert held
    node.store.remove_tree(held.tree)
    assert await publications.publish(request())
    assert len(node.fetch.calls) == 2


async def test_unpublish_frees_the_pin_and_may_be_repeated(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    await publications.publish(request())
    await publications.unpublish(ID)
    await publications.unpublish(ID)
    assert node.store.pins() == {}
    assert publications.count() == 0


async def test_a_model_that_is_to_go_is_not_given_to_new_pods(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    with pytest.raises(Pulling):
        await publications.publish(request(wait_s=0.05))


async def test_live_set_drops_the_pins_that_no_mount_stands_for(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    await publications.publish(request())
    await publications.publish(request(id_="b" * 64))
    await publications.settle(LiveSet(ids=[ID]))
    assert set(node.store.pins()) == {ID}


async def test_nothing_is_removed_while_a_mount_has_no_pin(node: Node, publications: Publications) -> None:
    await ready(node, "llama")
    await publications.settle(LiveSet(ids=["c" * 64]))
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    await eventually(lambda: node.reason(wanted("llama")) == "MountsUnknown")
    await publications.settle(LiveSet(ids=[]))
    await eventually(lambda: node.store.trees() == [])


async def test_a_mount_without_a_pin_gets_the_one_that_its_tree_needs(node: Node, publications: Publications) -> None:
    """After a pin was lost: the driver tells what is mounted, so nothing has to wait for the pod to end."""
    await ready(node, "llama")
    tree = (await publications.publish(request())).tree
    node.store.unpin(ID)
    after = node.publications()
    await after.settle(LiveSet(ids=[ID], trees={ID: tree}))
    assert str(node.store.pins()[ID].tree) == tree
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    await eventually(lambda: node.reason(wanted("llama")) == "InUse")


async def test_a_pod_whose_pin_was_made_good_may_ask_again_only_with_authority(
    node: Node, publications: Publications
) -> None:
    await ready(node, "llama")
    tree = (await publications.publish(request())).tree
    node.store.unpin(ID)
    after = node.publications()
    await after.settle(LiveSet(ids=[ID], trees={ID: tree}))
    with pytest.raises(Pulling):
        await after.publish(request(namespace="stranger", wait_s=0.05))
    assert (await after.publish(request())).model == "default/llama"


async def test_a_mount_of_a_tree_that_is_not_here_still_stops_every_removal(
    node: Node, publications: Publications
) -> None:
    await ready(node, "llama")
    await publications.settle(LiveSet(ids=[ID], trees={ID: "sha256:" + "0" * 64}))
    assert node.store.pins() == {}
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    await eventually(lambda: node.reason(wanted("llama")) == "MountsUnknown")


async def test_an_end_that_comes_late_does_not_take_the_pin_of_the_next_mount(
    node: Node, publications: Publications
) -> None:
    """It waited in the socket while the driver gave up, and kubelet mounted the same target again."""
    await ready(node, "llama")
    asked = request()
    asked.at = 2000
    await publications.publish(asked)
    await publications.unpublish(ID, at=1000)
    await publications.settle(LiveSet(ids=[], at=1500))
    assert ID in node.store.pins()
    await publications.unpublish(ID, at=3000)
    assert node.store.pins() == {}


async def test_a_report_that_was_overtaken_by_a_newer_one_counts_for_nothing(
    node: Node, publications: Publications
) -> None:
    await ready(node, "llama")
    asked = request()
    asked.at = 1000
    await publications.publish(asked)
    await publications.settle(LiveSet(ids=[ID], at=3000))
    await publications.settle(LiveSet(ids=[], at=2000))
    assert ID in node.store.pins()


async def test_an_end_whose_caller_hung_up_is_over_before_the_next_mount_is_pinned(
    node: Node, publications: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(node, "llama")
    await publications.publish(request())
    slow, unpin = threading.Event(), node.store.unpin

    def unpin_slowly(publication: str) -> bool:
        slow.wait(5.0)
        return unpin(publication)

    monkeypatch.setattr(node.store, "unpin", unpin_slowly)
    ending = asyncio.create_task(publications.unpublish(ID))
    await asyncio.sleep(0.02)
    ending.cancel()
    again = asyncio.create_task(publications.publish(request()))
    await asyncio.sleep(0.02)
    slow.set()
    await again
    assert ID in node.store.pins()


async def test_listing_publications_reads_each_tree_once(
    node: Node, publications: Publications, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ready(node, "llama")
    for number in range(5):
        await publications.publish(request(id_=f"{number:064x}"))
    after, read = node.publications(), []
    tree = node.store.tree
    monkeypatch.setattr(node.store, "tree", lambda digest: read.append(digest) or tree(digest))
    assert len(await after.all()) == len(await after.all()) == 5
    assert len(read) == 1


async def test_a_call_that_waits_is_no_mount_without_a_pin(node: Node, publications: Publications) -> None:
    node.fetch.hold.clear()
    gone = wanted("gone", version="v2", absent=True)
    node.pulls.set_desired([wanted("llama"), gone])
    call = asyncio.create_task(publications.publish(request()))
    await eventually(lambda: node.fetch.running)
    await publications.settle(LiveSet(ids=[ID]))
    node.fetch.hold.set()
    await call
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    await eventually(lambda: node.reason(wanted("llama")) == "InUse")


async def test_pins_survive_a_restart(tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache") as store:
        before = Node.of(store)
        loop = asyncio.create_task(before.pulls.run())
        before.pulls.set_desired([wanted("llama")])
        served = before.publications()
        answer = await served.publish(request())
        loop.cancel()
        await asyncio.wait([loop])
    with Store.open(tmp_path / "cache") as store:
        after = Node.of(store)
        served = after.publications()
        assert await served.all() == [answer]


async def test_a_node_cut_off_from_the_cluster_serves_what_it_holds_to_whom_it_was_granted(tmp_path: Path) -> None:
    with Store.open(tmp_path / "cache") as store:
        before = Node.of(store)
        before.broker.namespaces = ["friend"]
        loop = asyncio.create_task(before.pulls.run())
        before.pulls.set_desired([wanted("llama")])
        await eventually(lambda: before.state(wanted("llama")) == "Ready")
        loop.cancel()
        await asyncio.wait([loop])
    with Store.open(tmp_path / "cache") as store:
        after = Node.of(store)
        after.broker.away = True
        served = after.publications()
        assert await served.publish(request(namespace="friend"))
        with pytest.raises(Pulling):
            await served.publish(request(namespace="stranger", wait_s=0.05, id_="b" * 64))


@pytest.mark.parametrize(
    "wrong",
    [
        request(id_="../../etc"),
        request(id_="A" * 64),
        request(model="llama"),
        request(model="a/b/c"),
        request(model="default/../x"),
        request(namespace=""),
        request(wait_s=float("nan")),
        request(wait_s=-1.0),
    ],
)
async def test_a_malformed_request_is_refused(publications: Publications, wrong: PublishRequest) -> None:
    with pytest.raises(InvalidRequest):
        await publications.publish(wrong)
