"""What a node shows by hostPath, in a cluster without CSI: models open to all namespaces, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from api.errors import InUse
from api.node import LiveSet
from cache.store import Store
from daemonset.authority import grants
from daemonset.publishing.open_models import OpenModels
from tests.unit.daemonset.doubles import Node, eventually, revision, wanted


@pytest.fixture
def shown(store: Store) -> Path:
    return store.root / "open" / "default" / "any" / revision("v1")


@pytest.fixture
async def open_models(node: Node) -> OpenModels:
    """The model is here and open to all."""
    node.broker.namespaces = ["*"]
    node.pulls.pins_are_mounts(True)
    node.pulls.set_desired([wanted("llama")])
    await eventually(lambda: node.state(wanted("llama")) == "Ready")
    return OpenModels(node.store, pulls=node.pulls, grants=node.grants, changed=node.changed)


async def test_a_model_open_to_all_is_shown_whole(open_models: OpenModels, shown: Path) -> None:
    await open_models.refresh()
    assert (shown / "config.json").read_text() == revision("v1")


@pytest.mark.parametrize("namespaces", [[], ["team-a"]])
async def test_any_other_model_is_not_shown(open_models: OpenModels, node: Node, namespaces: list[str]) -> None:
    node.broker.namespaces = namespaces
    other = wanted("other", version="v2")
    node.pulls.set_desired([wanted("llama"), other])
    await eventually(lambda: node.state(other) == "Ready")
    await open_models.refresh()
    assert [path.name for path in (node.store.root / "open").glob("*/*/*")] == [revision("v1")]


async def test_a_model_that_is_open_no_more_is_hidden_and_stays_for_the_pods_that_have_it(
    open_models: OpenModels, node: Node, shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_models.refresh()
    monkeypatch.setattr(grants, "FRESH_S", 0.0)
    node.broker.namespaces = []
    await open_models.refresh()
    assert not shown.is_symlink()
    assert len(node.store.pins()) == 1


async def test_what_is_shown_is_not_removed_under_a_pod(open_models: OpenModels, node: Node) -> None:
    await open_models.refresh()
    held = node.pulls.held(wanted("llama").key)
    assert held
    with pytest.raises(InUse):
        node.store.remove_tree(held.tree)


async def test_a_model_that_the_controller_takes_away_goes_with_link_and_pin(
    open_models: OpenModels, node: Node, shown: Path
) -> None:
    await open_models.refresh()
    node.pulls.set_desired([replace(wanted("llama"), absent=True)])
    await open_models.refresh()
    assert not shown.is_symlink()
    assert node.store.pins() == {}
    await eventually(lambda: node.store.trees() == [])


async def test_a_model_that_rots_keeps_its_pin_while_it_is_mended(
    open_models: OpenModels, node: Node, shown: Path
) -> None:
    await open_models.refresh()
    node.fetch.hold.clear()
    node.pulls.lost(wanted("llama").key)
    await open_models.refresh()
    assert len(node.store.pins()) == 1
    node.fetch.hold.set()
    await eventually(lambda: node.state(wanted("llama")) == "Ready")
    await open_models.refresh()
    assert shown.is_dir()


async def test_a_pin_that_got_lost_is_made_again_at_the_next_start(
    open_models: OpenModels, node: Node, shown: Path
) -> None:
    await open_models.refresh()
    (pin,) = node.store.pins()
    node.store.unpin(pin)
    await OpenModels(node.store, pulls=node.pulls, grants=node.grants, changed=node.changed).refresh()
    assert list(node.store.pins()) == [pin]


async def test_the_drivers_report_does_not_touch_these_pins(open_models: OpenModels, node: Node) -> None:
    await open_models.refresh()
    publications = node.publications()
    await publications.settle(LiveSet(ids=[]))
    assert len(node.store.pins()) == 1
    assert await publications.all() == []


async def test_a_link_that_leads_nowhere_is_taken_away_at_the_start(open_models: OpenModels, shown: Path) -> None:
    old = shown.with_name("sha256:0")
    old.parent.mkdir(parents=True)
    old.symlink_to("../../../trees/gone")
    await open_models.refresh()
    assert not old.is_symlink()
    assert shown.is_dir()
