"""What rots is fetched again, a full disk is relieved of what nobody needs, and a pause is heeded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import daemonset.pulling.schedule
import daemonset.upkeep
from api.errors import DiskError, InsufficientCache, NotFound
from api.node import PublishRequest
from cache.store.capacity import SHARED, Disk
from cache.store.pause import pause
from cache.store.scrub import Scrub
from daemonset.metrics import Metrics
from daemonset.pulling.desired import Desired
from daemonset.pulling.room import hold
from daemonset.upkeep import Upkeep
from tests.unit.daemonset.doubles import Node, eventually, wanted

PIN = "ab" * 32
FAST = 1 << 40


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.pulling.schedule, "RETRY_BASE_S", 0.01)
    monkeypatch.setattr(daemonset.upkeep, "SWITCH_S", 0.01)
    monkeypatch.setattr(daemonset.upkeep, "DISK_S", 0.01)


@asynccontextmanager
async def running(node: Node, *, rate: int) -> AsyncIterator[Upkeep]:
    made = Upkeep(node.store, pulls=node.pulls, metrics=Metrics(), scrub_bytes_per_second=rate, watermarks=SHARED)
    tasks = [asyncio.create_task(job, name=name) for name, job in made.jobs().items()]
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.fixture
async def upkeep(node: Node) -> AsyncIterator[Upkeep]:
    """Without a scrub, which would find at once what a test lets rot."""
    async with running(node, rate=0) as made:
        yield made


async def ready(node: Node, *entries: Desired) -> None:
    node.pulls.set_desired(entries)
    await eventually(lambda: all(node.state(entry) == "Ready" for entry in entries))


def file_of(node: Node, entry: Desired) -> Path:
    held = node.pulls.held(entry.key)
    assert held is not None
    return node.store.tree_path(held.tree) / "config.json"


def rot(file: Path) -> None:
    file.chmod(0o600)
    file.write_bytes(b"rotten" + file.read_bytes()[6:])
    file.chmod(0o444)


def disk_of(used: float) -> Disk:
    return Disk(1_000_000, int(1_000_000 * (1 - used)), 0, 0)


# -- bit rot


async def test_the_scrub_finds_rot_and_the_model_is_pulled_into_another_file(node: Node) -> None:
    llama = wanted("llama")
    await ready(node, llama)
    good, inode = file_of(node, llama).read_bytes(), file_of(node, llama).stat().st_ino
    rot(file_of(node, llama))
    node.fetch.hold.clear()
    async with running(node, rate=FAST):
        await eventually(lambda: (node.state(llama), node.reason(llama)) == ("Pulling", "Corrupted"))
        node.fetch.hold.set()
        await eventually(lambda: (node.state(llama), node.reason(llama)) == ("Ready", ""))
    assert file_of(node, llama).read_bytes() == good
    assert file_of(node, llama).stat().st_ino != inode


async def test_a_mounted_model_is_mended_and_keeps_its_pin(node: Node, upkeep: Upkeep) -> None:
    llama = wanted("llama")
    publications = node.publications()
    await ready(node, llama)
    node.broker.namespaces = ["default"]
    request = PublishRequest(id=PIN, model="default/llama", namespace="default", pod="p", pod_uid="u", wait_s=5)
    await publications.publish(request)
    file = file_of(node, llama)
    good = file.read_bytes()
    with file.open("rb") as opened:
        rot(file)
        assert (await upkeep.verify()).wrong
        await publications.publish(request)  # kubelet asks again: the same mount, whole again
        assert opened.read().startswith(b"rotten")
    assert file.read_bytes() == good
    assert node.store.pins().keys() == {PIN}


async def test_a_verification_that_finds_nothing_pulls_nothing(node: Node, upkeep: Upkeep) -> None:
    await ready(node, wanted("llama"))
    report = await upkeep.verify()
    assert (report.blobs, report.wrong) == (1, [])
    assert len(node.fetch.calls) == 1


async def test_one_tree_is_verified_on_demand(node: Node, upkeep: Upkeep) -> None:
    llama, qwen = wanted("llama"), wanted("qwen", version="v2")
    await ready(node, llama, qwen)
    rot(file_of(node, llama))
    held = node.pulls.held(qwen.key)
    assert held is not None
    for target in (str(held.tree), qwen.model):
        assert (await upkeep.verify(target)).wrong == []
    assert len((await upkeep.verify(llama.model)).wrong) == 1
    with pytest.raises(NotFound):
        await upkeep.verify("0" * 12)


async def test_the_status_says_since_when_bytes_had_rotted(node: Node, upkeep: Upkeep) -> None:
    """Also when they are right again: a process may have read the wrong ones."""
    llama, qwen = wanted("llama"), wanted("qwen", version="v2")
    await ready(node, llama, qwen)
    rot(file_of(node, llama))
    await upkeep.verify()
    await ready(node, llama, qwen)
    said = {status.model: status.corrupted_at for status in node.pulls.statuses()}
    assert said[llama.model].startswith("20")
    assert said[qwen.model] == ""


async def test_a_disk_that_fails_is_trouble_and_says_so(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Scrub) -> None:
        raise DiskError("4 blobs on end cannot be read")

    monkeypatch.setattr(Scrub, "step", fails)
    async with running(node, rate=FAST) as made:
        await eventually(lambda: made.trouble().startswith("DiskError: "))


async def test_a_rate_of_zero_is_no_scrub(node: Node, upkeep: Upkeep) -> None:
    assert "scrub" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_root_that_is_gone_is_trouble_until_it_is_back(node: Node, upkeep: Upkeep) -> None:
    identity = node.store.root / ".cache-id"
    kept = identity.read_text()
    identity.unlink()
    await eventually(lambda: upkeep.trouble().startswith("CacheVolumeLost: "))
    identity.write_text(kept)
    await eventually(lambda: upkeep.trouble() == "")


async def test_a_disk_that_hangs_is_said_without_waiting_for_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemonset.upkeep, "STALLED_S", 0.05)
    answer = threading.Event()
    monkeypatch.setattr(node.store, "check", answer.wait)
    async with running(node, rate=0) as made:
        await eventually(lambda: made.trouble().startswith("IOStalled: "))
        answer.set()
        await eventually(lambda: made.trouble() == "")


# -- pause


async def test_while_paused_nothing_starts_and_nothing_goes_but_what_is_here_is_published(
    node: Node, upkeep: Upkeep
) -> None:
    llama, new = wanted("llama"), wanted("new", version="v2")
    await ready(node, llama)
    node.pulls.pins_are_mounts(True)
    pause(node.store.root, paused=True)
    await eventually(lambda: node.pulls.paused)
    node.pulls.set_desired([replace(llama, absent=True), new])
    await asyncio.sleep(0.05)
    assert (node.state(new), node.reason(new)) == ("Queued", "Paused")
    assert node.pulls.held(llama.key) is not None
    node.pulls.set_desired([llama, new])
    publications = node.publications()
    request = PublishRequest(id=PIN, model="default/llama", namespace="default", pod="p", pod_uid="u", wait_s=5)
    assert (await publications.publish(request)).files == 1
    pause(node.store.root, paused=False)
    await eventually(lambda: node.state(new) == "Ready")


async def test_a_pull_under_way_ends_in_its_own_time(node: Node, upkeep: Upkeep) -> None:
    llama = wanted("llama")
    node.fetch.hold.clear()
    node.pulls.set_desired([llama])
    await eventually(lambda: node.fetch.running)
    pause(node.store.root, paused=True)
    await eventually(lambda: node.pulls.paused)
    node.fetch.hold.set()
    await eventually(lambda: node.state(llama) == "Ready")


# -- room


def short_of(missing: int) -> InsufficientCache:
    return InsufficientCache("it does not fit", missing_bytes=missing)


async def test_a_pull_that_does_not_fit_evicts_what_nobody_wants_least_recently_used_first(node: Node) -> None:
    old, newer, new = wanted("old", version="v1"), wanted("newer", version="v2"), wanted("new", version="v3")
    await ready(node, old)
    await ready(node, old, newer)
    node.pulls.pins_are_mounts(True)
    node.fetch.failures = [short_of(1)]
    node.pulls.set_desired([new])
    await eventually(lambda: node.state(new) == "Ready")
    assert node.pulls.held(old.key) is None
    assert node.pulls.held(newer.key) is not None
    assert len(node.store.trees()) == 2


async def test_nothing_is_evicted_before_the_driver_told_what_is_mounted(node: Node) -> None:
    old, new = wanted("old", version="v1"), wanted("new", version="v3")
    await ready(node, old)
    node.fetch.failures = [short_of(1)] * 1000
    node.pulls.set_desired([new])
    await eventually(lambda: node.reason(new) == "InsufficientCache")
    status = node.pulls.status(new.key)
    assert status is not None
    assert "kept until the CSI driver tells what is mounted" in status.message
    assert node.pulls.held(old.key) is not None


async def test_a_mounted_model_is_not_evicted_and_is_named_as_what_holds_the_rest(node: Node) -> None:
    old, new = wanted("old", version="v1"), wanted("new", version="v3")
    await ready(node, old)
    held = node.pulls.held(old.key)
    assert held is not None
    node.store.pin(PIN, tree=held.tree, note={})
    node.pulls.pins_are_mounts(True)
    node.fetch.failures = [short_of(1)] * 1000
    node.pulls.set_desired([new])
    await eventually(lambda: node.reason(new) == "InsufficientCache")
    status = node.pulls.status(new.key)
    assert status is not None
    assert "iB mounted" in status.message
    assert node.store.tree(held.tree) is not None


async def test_two_wishes_of_one_priority_do_not_evict_each_other(node: Node) -> None:
    a, b = wanted("a", version="v1"), wanted("b", version="v2")
    await ready(node, a)
    node.pulls.pins_are_mounts(True)
    node.fetch.failures = [short_of(1)] * 1000
    node.pulls.set_desired([a, b])
    await eventually(lambda: node.reason(b) == "InsufficientCache")
    assert node.state(a) == "Ready"


async def test_a_higher_priority_evicts_a_lower_wish_which_then_waits(node: Node) -> None:
    low, high = wanted("low", version="v1"), wanted("high", version="v2", priority=9)
    await ready(node, low)
    node.pulls.pins_are_mounts(True)
    node.fetch.failures = [short_of(1), *[short_of(1)] * 1000]
    node.pulls.set_desired([low, high])
    await eventually(lambda: node.pulls.held(low.key) is None)
    node.fetch.failures = []
    await eventually(lambda: node.state(high) == "Ready")


async def test_above_the_high_watermark_trees_go_until_the_low_one(
    node: Node, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = wanted("old")
    await ready(node, old)
    node.pulls.pins_are_mounts(True)
    node.pulls.set_desired([])
    monkeypatch.setattr(node.store, "disk", lambda: disk_of(0.5 if not node.store.trees() else 0.81))
    await asyncio.sleep(0.05)
    # 6 % of a megabyte cannot come from a file of some bytes: what would not help is not done.
    assert node.pulls.held(old.key) is not None
    monkeypatch.setattr(node.store, "disk", lambda: Disk(1000, 190, 0, 0))
    await eventually(lambda: node.pulls.held(old.key) is None)


async def test_what_has_just_come_is_not_the_least_recently_used(node: Node) -> None:
    llama = wanted("llama")
    await ready(node, llama)
    (tree,) = node.store.trees()
    assert node.store.last_used(tree) is not None


KEPT = "kept until the CSI driver tells what is mounted"
LOW = Desired(model="m", priority=1)


@pytest.mark.parametrize(
    ("wishes", "below", "why"),
    [
        ([], 0, ""),
        ([replace(LOW, pinned=True)], None, "pinned"),
        ([LOW, replace(LOW, groups=("g",))], 9, "planned for a group"),
        ([LOW], 1, "wanted with no lower priority"),
        ([LOW], 2, ""),
        ([LOW], None, ""),
        ([replace(LOW, absent=True, pinned=True)], 0, ""),
    ],
)
def test_why_a_tree_must_stay(wishes: list[Desired], below: int | None, why: str) -> None:
    assert hold(wishes, mounts_known=True, below=below) == why
    assert hold(wishes, mounts_known=False, below=below) == KEPT
