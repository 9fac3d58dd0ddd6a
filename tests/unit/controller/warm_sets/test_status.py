"""What a WarmSet's status says of its groups."""

from __future__ import annotations

from datetime import UTC, datetime

from api.fields import ObjectMeta
from api.resources import GroupPlacement, NodeModelStatus, Placement, WarmSet, WarmSetSpec, WarmSetStatus
from controller.models.wanted import Problem
from controller.node_caches.warmth import Warmth
from controller.warm_sets.status import MOST_GROUPS, MOST_NODES, GroupReport, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def warm_set(before: WarmSetStatus | None = None) -> WarmSet:
    return WarmSet(
        metadata=ObjectMeta(name="w", namespace="team", generation=3),
        spec=WarmSetSpec(models=["llama"], placement=Placement(groups=GroupPlacement(count=1, size=2))),
        status=before or WarmSetStatus(),
    )


def node(name: str, state: str = "Ready", *, reason: str = "", agent: bool = True) -> Warmth:
    said = NodeModelStatus(model="0" * 32, revision="r", state=state, reason=reason)  # type: ignore[arg-type]
    done = 10 if state == "Ready" else 4
    return Warmth(node=name, has_agent=agent, states=(said,), bytes_total=10, bytes_done=done)


def conditions(found: WarmSetStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in found.conditions}


def test_groups_and_nodes_are_counted() -> None:
    reports = [
        GroupReport("a", "", (node("n1"), node("n2"))),
        GroupReport("b", "", (node("n3"), node("n4", "Pulling"))),
    ]
    found = status(warm_set(), reports, bytes_total=10, now=NOW)
    assert (found.groups_ready, found.groups_desired, found.nodes_ready, found.nodes_desired) == (1, 2, 3, 4)
    assert conditions(found) == {
        "Planned": ("True", "Planned"),
        "Warm": ("False", "Warming"),
        "Degraded": ("False", "AsExpected"),
    }
    assert found.observed_generation == 3


def test_a_set_is_warm_when_all_its_groups_are() -> None:
    found = status(warm_set(), [GroupReport("a", "", (node("n1"),))], bytes_total=10, now=NOW)
    assert conditions(found)["Warm"] == ("True", "Warm")


def test_a_group_without_nodes_names_its_problem() -> None:
    reports = [GroupReport("a", "", (), Problem("NoDomainFits", "no GPUs")), GroupReport("b", "", (node("n1"),))]
    found = status(warm_set(), reports, bytes_total=10, now=NOW)
    assert conditions(found)["Planned"] == ("False", "NoDomainFits")
    assert conditions(found)["Warm"] == ("False", "NoDomainFits")


def test_nothing_to_warm_is_not_warm() -> None:
    assert conditions(status(warm_set(), [], bytes_total=0, now=NOW))["Warm"] == ("False", "NothingToWarm")


def test_a_failed_node_degrades_with_its_reason() -> None:
    reports = [GroupReport("a", "", (node("n1"), node("n2", "Failed", reason="DiskError")))]
    assert conditions(status(warm_set(), reports, bytes_total=10, now=NOW))["Degraded"] == ("True", "DiskError")


def test_a_node_without_an_agent_says_so() -> None:
    found = status(warm_set(), [GroupReport("a", "", (node("n1", "Queued", agent=False),))], bytes_total=10, now=NOW)
    assert found.groups[0].nodes[0].reason == "NoAgent"


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    reports = [GroupReport("a", "", (node("n1", "Pulling"),))]
    first = status(warm_set(), reports, bytes_total=10, now=NOW)
    again = status(warm_set(first), reports, bytes_total=10, now=LATER)
    assert again == first
    warm = status(warm_set(first), [GroupReport("a", "", (node("n1"),))], bytes_total=10, now=LATER)
    assert {c.type: c.last_transition_time for c in warm.conditions} == {
        "Planned": "2026-01-01T00:00:00Z",
        "Warm": "2026-01-02T00:00:00Z",
        "Degraded": "2026-01-01T00:00:00Z",
    }


def test_a_large_set_is_cut_and_says_how_much_is_left_out() -> None:
    reports = [GroupReport(f"g{i:03}", "", (node(f"n{i}"),)) for i in range(MOST_GROUPS + 6)]
    reports.append(GroupReport("z", "", (node("cold", "Pulling"),)))
    found = status(warm_set(), reports, bytes_total=10, now=NOW)
    assert (len(found.groups), found.groups_left_out, found.groups_desired) == (MOST_GROUPS, 7, MOST_GROUPS + 7)
    assert "z" in {group.name for group in found.groups}  # what is not ready is shown first
    wide = GroupReport("wide", "", (*(node(f"n{i:03}") for i in range(500)), node("zz", "Failed")))
    (group,) = status(warm_set(), [wide], bytes_total=10, now=NOW).groups
    assert len(group.nodes) == MOST_NODES
    assert "zz" in {one.name for one in group.nodes}
