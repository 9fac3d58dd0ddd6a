"""How near together a group is kept, and that looking fast gives the plans that looking plainly gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.objects.nodes import NodeView
from controller.planning.candidates import Candidate, Demand
from controller.planning.domains import MOST_ORDERS
from controller.planning.fitting import PodShape, misfit, shortage
from controller.planning.planner import Plan, Planner, plan

GPU = "nvidia.com/gpu"
POD = PodShape(requests={GPU: 8, "pods": 1})
LEVELS = ("zone", "rack")


def candidate(name: str, *, zone: str = "z1", rack: str = "r1", gpus: int = 8, **changes: Any) -> Candidate:
    labels = {key: value for key, value in (("zone", zone), ("rack", rack)) if value}
    node = NodeView(name=name, uid=name, labels=labels)
    return replace(Candidate(node=node, free={GPU: gpus, "pods": 100}), **changes)


def demand(pods: int, *, spare: int = 0, **others: Any) -> Demand:
    return Demand(pods=(POD,) * pods, spare_nodes=spare, levels=LEVELS, **others)


def test_the_narrowest_level_that_holds_the_group_is_chosen() -> None:
    nodes = [candidate("a"), candidate("b", rack="r2", missing_bytes=9), candidate("c", rack="r2", missing_bytes=9)]
    chosen = plan(demand(2), nodes)
    assert (chosen.level, chosen.domain, chosen.nodes) == ("rack", "r2", ("b", "c"))


def test_a_group_too_large_for_a_rack_gets_a_zone() -> None:
    nodes = [candidate("a", zone="z2"), candidate("b", rack="r2"), candidate("c", rack="r3")]
    chosen = plan(demand(2), nodes)
    assert (chosen.level, chosen.domain, chosen.nodes) == ("zone", "z1", ("b", "c"))


def test_levels_are_a_wish_a_group_that_fits_in_none_is_placed_anyway() -> None:
    chosen = plan(demand(2), [candidate("a", zone="z1"), candidate("b", zone="z2", rack="r2")])
    assert (chosen.level, chosen.domain, chosen.nodes) == ("", "", ("a", "b"))


def test_a_node_without_a_level_s_label_is_in_no_domain_of_it_but_may_be_used() -> None:
    chosen = plan(demand(2), [candidate("a", rack=""), candidate("b", rack="")])
    assert (chosen.level, chosen.domain) == ("zone", "z1")


def test_the_group_s_own_topology_key_counts_and_the_levels_do_not() -> None:
    nodes = [candidate("a", rack="r1"), candidate("b", rack="r2")]
    chosen = plan(demand(2, topology_key="zone"), nodes)
    assert (chosen.level, chosen.domain) == ("zone", "z1")
    assert not plan(demand(2, topology_key="rack"), nodes).fits


def test_room_for_spare_nodes_goes_before_a_narrower_level() -> None:
    nodes = [candidate("a"), candidate("b", rack="r2"), candidate("c", rack="r2")]
    assert plan(demand(2), nodes).level == "rack"
    chosen = plan(demand(2, spare=1), nodes)
    assert (chosen.level, len(chosen.nodes), len(chosen.spares)) == ("zone", 2, 1)


def test_a_plan_stays_where_its_bytes_are_although_a_rack_has_become_free() -> None:
    held = [candidate("a", held=True), candidate("b", rack="r2", held=True)]
    free = [candidate("c", rack="r3"), candidate("d", rack="r3")]
    assert plan(demand(2), held + free).nodes == ("a", "b")


def test_one_lost_node_is_replaced_and_the_others_are_kept() -> None:
    held = [candidate(name, rack=rack, held=True) for name, rack in (("a", "r1"), ("b", "r2"), ("c", "r2"))]
    lost = replace(held[0], unusable=("NoAgent", "gone"))
    free = [candidate(f"x{i}", rack="r3") for i in range(3)]
    assert set(plan(demand(3), [lost, *held[1:], *free]).nodes) > {"b", "c"}


def test_a_domain_that_cannot_hold_the_group_says_how_many_pods_are_left_over() -> None:
    nodes = [candidate("a"), candidate("b", rack="r2"), candidate("c", rack="r2", gpus=4)]
    rejected, domains = Planner(nodes).explain(demand(2))
    assert [(r.node, r.reason) for r in rejected] == [("c", "InsufficientResources")]
    assert [(d.level, d.domain, d.usable_nodes, d.left_over) for d in domains] == [
        ("rack", "r1", 1, 1),
        ("rack", "r2", 1, 1),
    ]


@st.composite
def clusters(draw: st.DrawFn) -> list[Candidate]:
    return [
        candidate(
            f"n{index}",
            zone=draw(st.sampled_from(["", "z1", "z2"])),
            rack=draw(st.sampled_from(["", "r1", "r2", "r3"])),
            gpus=draw(st.sampled_from([0, 2, 4, 8])),
            missing_bytes=draw(st.integers(0, 2)),
            held=draw(st.booleans()),
            discouraged=draw(st.sampled_from([False, False, True])),
            unusable=draw(st.sampled_from([None, None, None, ("NoAgent", "none")])),
        )
        for index in range(draw(st.integers(0, 12)))
    ]


SHAPES = st.builds(
    lambda gpus, zone, alone: PodShape(
        requests={GPU: gpus, "pods": 1}, node_selector={"zone": zone} if zone else {}, one_per_node=alone
    ),
    st.integers(1, 8),
    st.sampled_from(["", "", "z1"]),
    st.booleans(),
)
DEMANDS = st.builds(
    lambda pods, spare, key, levels, domain, taken: Demand(
        pods=tuple(pods), spare_nodes=spare, topology_key=key, levels=levels, domain=domain, taken_domains=taken
    ),
    st.lists(SHAPES, min_size=1, max_size=5),
    st.integers(0, 2),
    st.sampled_from(["", "rack"]),
    st.sampled_from([(), ("zone",), LEVELS]),
    st.sampled_from(["", "", "r1"]),  # these count where there is a key
    st.sampled_from([frozenset(), frozenset({"r2"}), frozenset({"r1", "r3"})]),
)


@settings(max_examples=300)
@given(DEMANDS, clusters())
def test_a_plan_is_the_one_found_by_looking_at_every_node_for_every_pod(wish: Demand, nodes: list[Candidate]) -> None:
    chosen = plan(wish, nodes)
    assert (chosen.nodes, chosen.spares, chosen.level, chosen.domain) == _plainly(wish, nodes)


def test_a_planner_gives_a_group_its_own_nodes_and_the_next_group_never_sees_them_so() -> None:
    full = [candidate("a", gpus=0), candidate("b", rack="r2", gpus=0)]
    planner = Planner(full)
    mine = candidate("a", held=True)
    assert planner.plan(demand(1), instead=[mine]).nodes == ("a",)
    assert not planner.plan(demand(1)).fits


CHANGES = st.lists(st.tuples(clusters(), clusters(), DEMANDS, st.booleans()), max_size=4)


@settings(max_examples=100)
@given(clusters(), CHANGES)
def test_a_planner_that_follows_changes_plans_as_one_made_anew(
    nodes: list[Candidate], changes: list[tuple[list[Candidate], list[Candidate], Demand, bool]]
) -> None:
    """Nodes come, go and change; groups look with nodes of their own, leniently or not."""
    followed, known = Planner(nodes), {c.node.name: c for c in nodes}
    for seen, own, wish, lenient in changes:
        changed = dict.fromkeys(list(known)[::3]) | {c.node.name: c for c in seen[::2]}
        known = {n: c for n, c in (known | changed).items() if c is not None}
        followed.update(changed)
        anew = Planner((known | {c.node.name: c for c in own}).values())
        assert followed.plan(wish, instead=own, lenient=lenient) == anew.plan(wish, lenient=lenient)
        assert followed.plan(wish) == Planner(known.values()).plan(wish)
        assert followed.explain(wish) == Planner(known.values()).explain(wish)


@settings(max_examples=200)
@given(DEMANDS, clusters())
def test_a_plan_overcommits_no_node_and_stays_in_its_domain(wish: Demand, nodes: list[Candidate]) -> None:
    chosen = plan(wish, nodes)
    by_name = {c.node.name: c for c in nodes}
    for name, taken in chosen.reserved.items():
        assert all(amount <= by_name[name].free[resource] for resource, amount in taken.items())
    if chosen.fits:
        for resource in (GPU, "pods"):
            assert sum(taken[resource] for taken in chosen.reserved.values()) == sum(
                pod.requests[resource] for pod in wish.pods
            )
    if chosen.level:
        assert {by_name[name].node.labels.get(chosen.level) for name in chosen.all_nodes} == {chosen.domain}
    assert not wish.topology_key or not chosen.fits or chosen.level == wish.topology_key
    assert not any(by_name[name].unusable for name in chosen.all_nodes)
    assert not wish.topology_key or not chosen.fits or _open(wish, chosen.domain)


def test_a_plan_keeps_its_nodes_although_others_change_which_of_its_pods_are_the_hardest_to_place() -> None:
    """One pod is for zone z1, another for any node of eight GPUs; n0 gives the first a second choice."""
    shapes = PodShape(requests={GPU: 1}, node_selector={"zone": "z1"}), PodShape(requests={GPU: 8})
    held = [candidate("n1", zone="", held=True, missing_bytes=1), candidate("n5", zone="z1", held=True)]
    assert plan(Demand(pods=shapes), held).nodes == ("n5", "n1")
    assert plan(Demand(pods=shapes), [*held, candidate("n0", zone="z1", gpus=2)]).nodes == ("n5", "n1")


@settings(max_examples=200)
@given(DEMANDS, clusters(), clusters())
def test_a_plan_does_not_move_when_other_nodes_get_room(
    wish: Demand, nodes: list[Candidate], later: list[Candidate]
) -> None:
    first = plan(wish, [replace(c, held=False, discouraged=False) for c in nodes])
    if not first.fits:
        return
    mine = {c.node.name: replace(c, held=True, discouraged=False) for c in nodes if c.node.name in first.nodes}
    others = [replace(c, held=False) for c in later if c.node.name not in mine]
    assert set(plan(wish, [*mine.values(), *others]).nodes) <= set(mine)


def _plainly(wish: Demand, candidates: list[Candidate]) -> tuple[tuple[str, ...], tuple[str, ...], str, str]:
    """The rule as written down: each pod looks at each node, each domain is packed for itself."""
    shapes = list({repr(pod): pod for pod in wish.pods}.values())

    def fits(pod: PodShape, c: Candidate) -> bool:
        return misfit(pod, c.node) is None and shortage(pod, c.free) is None

    usable = [
        c
        for c in sorted(candidates, key=lambda c: (c.discouraged, not c.held, c.missing_bytes, c.node.name))
        if c.unusable is None
        and (not wish.topology_key or _open(wish, c.node.labels.get(wish.topology_key)))
        and any(fits(pod, c) for pod in shapes)
    ]
    shapes.sort(key=lambda pod: (sum(fits(pod, c) for c in usable), -pod.requests[GPU]))
    found = []
    for breadth, level in enumerate([wish.topology_key] if wish.topology_key else [*reversed(wish.levels), ""]):
        for domain in {c.node.labels.get(level) for c in usable} - {None} if level else {""}:
            members = [c for c in usable if not level or c.node.labels.get(level) == domain]
            used = _first_fit(wish.pods, shapes, members)
            if used is None or not all(c.held and not c.discouraged for c in used):
                own = [c for c in members if c.held and not c.discouraged]
                orders = islice(permutations(shapes), MOST_ORDERS)
                used = next(filter(None, (_first_fit(wish.pods, list(order), own) for order in orders)), used)
            if used is None:
                continue
            spares = [c for c in members if c not in used][: wish.spare_nodes]
            missing = [c.missing_bytes for c in used]
            cost = (
                sum(c.discouraged for c in used),
                -sum(c.held for c in used),
                wish.spare_nodes - len(spares),
                breadth,
                max(missing),
                sum(missing),
                len(members),
                domain,
            )
            found.append((cost, tuple(c.node.name for c in used), tuple(c.node.name for c in spares), level, domain))
    if not found:
        none = Plan()
        return none.nodes, none.spares, none.level, none.domain
    _, nodes, spare_names, level, domain = min(found)
    return nodes, spare_names, level, str(domain)


def _open(wish: Demand, domain: str | None) -> bool:
    return domain is not None and wish.domain in ("", domain) and domain not in wish.taken_domains


def _first_fit(pods: Sequence[PodShape], shapes: list[PodShape], members: list[Candidate]) -> list[Candidate] | None:
    left = list(pods)
    used = []
    for c in members:
        free, alone, here = dict(c.free), False, False
        for shape in shapes:
            for pod in [pod for pod in left if pod == shape]:
                room = misfit(pod, c.node) is None and shortage(pod, free) is None
                if not room or (pod.one_per_node and alone):
                    break
                free = {name: amount - pod.requests.get(name, 0) for name, amount in free.items()}
                left.remove(pod)
                here = True
                alone = alone or pod.one_per_node
        if here:
            used.append(c)
    return None if left else used
