"""What namespaces may have of a node's cache."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from controller.config import Quota
from controller.models.wanted import Wanted
from controller.node_caches.desires import Desire
from controller.node_caches.quotas import admit, too_large

QUOTAS = {"team": Quota(bytes_per_node="100", may_pin=False, highest_priority=5), "*": Quota(bytes_per_node="10")}


def wish(name: str, size: int, *, namespace: str = "team", priority: int = 0, mounted: bool = False) -> Desire:
    wanted = Wanted(f"{namespace}/{name}", "r", bytes=size)
    return Desire(wanted, namespace=namespace, priority=priority, pinned=True, mounted=mounted)


def admitted(*desires: Desire, present: Collection[tuple[str, str]] = ()) -> list[str]:
    kept, refused = admit(desires, QUOTAS, present=present)
    assert {d.wanted for d in kept} | {d.wanted for d in refused} == {d.wanted for d in desires}
    return [desire.wanted.model.partition("/")[2] for desire in kept]


def test_within_the_quota_all_is_admitted_without_pins_and_priorities_that_are_not_allowed() -> None:
    kept, refused = admit([wish("a", 100, priority=9)], QUOTAS, present=())
    assert [(d.pinned, d.priority) for d in kept] == [(False, 5)]
    assert refused == []


def test_what_is_too_much_is_refused_the_highest_priority_going_first() -> None:
    assert admitted(wish("a", 60), wish("b", 60, priority=1)) == ["b"]


def test_what_the_node_holds_already_goes_before_a_newcomer() -> None:
    old = wish("old", 60)
    assert admitted(wish("new", 60, priority=4), old, present={(old.wanted.hash, "r")}) == ["old"]


def test_what_a_pod_on_the_node_mounts_goes_before_all() -> None:
    old = wish("old", 60)
    assert admitted(old, wish("mounted", 60, mounted=True), present={(old.wanted.hash, "r")}) == ["mounted"]


def test_one_model_wanted_twice_counts_once() -> None:
    assert admitted(wish("a", 60), wish("a", 60, priority=1)) == ["a", "a"]


def test_namespaces_do_not_share_and_the_star_is_for_those_not_named() -> None:
    assert admitted(wish("a", 100), wish("b", 10, namespace="other"), wish("c", 1, namespace="other")) == ["b", "a"]


@pytest.mark.parametrize(
    ("namespace", "size", "fits"), [("team", 100, True), ("team", 101, False), ("other", 11, False)]
)
def test_what_fits_no_node_is_said_beforehand(namespace: str, size: int, fits: bool) -> None:
    problem = too_large(namespace, [Wanted("team/a", "r", bytes=size)], QUOTAS)
    assert (problem is None) == fits
    assert problem is None or problem.reason == "QuotaExceeded"


def test_without_a_table_nothing_is_refused() -> None:
    kept, refused = admit([wish("a", 10**15)], {}, present=())
    assert (len(kept), kept[0].pinned, refused) == (1, True, [])
