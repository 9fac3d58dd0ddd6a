"""Which nodes share a pull: those of a domain that want it together; who comes later joins, and seats stay."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from hypothesis import given
from hypothesis import strategies as st

from api.cohort import MAX_SEATS, Seat
from api.fields import ObjectMeta
from api.resources import NodeCache, NodeCacheSpec, NodeCacheStatus, NodeModel, NodeModelStatus
from controller.broker.cohorts import GATHER_S, Cohorts, is_first, seats
from controller.cluster.seat_index import SeatIndex

MODEL, REVISION = "a" * 32, "sha256:" + "1" * 64
CONTENT = (MODEL, REVISION)


def rack(node: str) -> str:
    return node.partition(".")[0]


def place(*newcomers: str, taken: Mapping[str, Seat] | None = None) -> dict[str, Seat]:
    return seats(CONTENT, wanting={n: rack(n) for n in newcomers}, taken=taken or {}, domain_of=rack)


def members(domain: str, count: int) -> list[str]:
    return [f"{domain}.{number}" for number in range(count)]


def test_nodes_that_want_it_together_share_the_work() -> None:
    found = place("r1.a", "r1.b", "r1.c")
    assert {seat.cohort for seat in found.values()} == {found["r1.a"].cohort}
    assert {(seat.number, seat.seats) for seat in found.values()} == {(0, 3), (1, 3), (2, 3)}


def test_each_domain_has_a_cohort_of_its_own() -> None:
    found = place(*members("r1", 5), *members("r2", 4))
    assert {seat.seats for node, seat in found.items() if rack(node) == "r1"} == {5}
    assert {seat.seats for node, seat in found.items() if rack(node) == "r2"} == {4}


def test_domains_with_too_few_nodes_share_the_work_with_each_other() -> None:
    found = place("r1.a", "r1.b", "r2.a", "r3.a")
    assert {(seat.cohort, seat.seats) for seat in found.values()} == {(found["r1.a"].cohort, 4)}


def test_only_the_first_cohort_reads_the_source_and_each_is_read_by_two() -> None:
    found = place(*(node for number in range(1, 7) for node in members(f"r{number}", 4)))
    above = {seat.cohort: seat.above for seat in found.values()}
    assert list(above.values()).count("") == 1
    assert sorted(list(above.values()).count(name) for name in above) == [0, 0, 0, 1, 2, 2]
    assert {seat.above_seats for seat in found.values() if seat.above} == {4}


def test_who_comes_later_elsewhere_reads_from_those_that_are_there() -> None:
    first = place(*members("r1", 4))
    late = place("r2.a", taken=first)["r2.a"]
    assert (late.above, late.above_seats, late.number, late.seats) == (first["r1.0"].cohort, 4, 0, 1)
    last = place("r3.a", taken=first | {"r2.a": late})["r3.a"]
    assert last.above == late.above  # one alone would have to send all of it


def test_a_cohort_that_everybody_has_left_is_nobody_s_source_and_comes_back_under_another_name() -> None:
    first = place(*members("r1", 4))
    below = place(*members("r2", 4), taken=first)
    again = place(*members("r1", 4), taken=below)
    assert again["r1.0"].above == below["r2.0"].cohort
    assert again["r1.0"].cohort != first["r1.0"].cohort


@given(st.lists(st.sets(st.tuples(st.integers(1, 4), st.integers(0, 12)), max_size=20), max_size=5), st.randoms())
def test_no_cohort_ever_reads_from_one_that_reads_from_it(
    batches: list[set[tuple[int, int]]], chance: random.Random
) -> None:
    taken: dict[str, Seat] = {}
    above: dict[str, str] = {}  # of every cohort that there has ever been
    for batch in batches:
        taken |= place(*(name for r, n in batch if (name := f"r{r}.{n}") not in taken), taken=taken)
        above |= {seat.cohort: seat.above for seat in taken.values()}
        assert all(seats_of(seat.above, taken) in (0, seat.above_seats) for seat in taken.values())
        for name in above:
            way = [name]
            while above.get(way[-1]):
                way.append(above[way[-1]])
                assert len(way) <= len(above)
        taken = {node: seat for node, seat in taken.items() if chance.random() < 0.7}


def seats_of(cohort: str, taken: Mapping[str, Seat]) -> int:
    return next((seat.seats for seat in taken.values() if seat.cohort == cohort), 0)


def test_a_large_domain_makes_cohorts_of_nearly_equal_size() -> None:
    found = place(*(f"r1.{n}" for n in range(MAX_SEATS * 2 + 2)))
    sizes: dict[str, int] = {}
    for seat in found.values():
        sizes[seat.cohort] = sizes.get(seat.cohort, 0) + 1
        assert seat.seats <= MAX_SEATS
    assert sorted(sizes.values()) == [22, 22, 22]


def test_who_comes_later_joins_and_owns_nothing() -> None:
    first = place("r1.a", "r1.b")
    late = place("r1.c", taken=first)["r1.c"]
    assert late == Seat(first["r1.a"].cohort, None, 2)


def test_more_newcomers_than_there_are_to_read_from_share_anew() -> None:
    first = place("r1.a")
    late = place("r1.b", "r1.c", taken=first)
    assert {seat.number for seat in late.values()} == {0, 1}
    assert late["r1.b"].cohort != first["r1.a"].cohort


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 60)), max_size=80), st.integers(0, 40))
def test_every_node_gets_one_seat_and_no_seat_has_two(nodes: set[tuple[int, int]], early: int) -> None:
    names = sorted(f"r{r}.{n}" for r, n in nodes)
    first = place(*names[:early])
    both = first | place(*names[early:], taken=first)
    assert both.keys() == set(names)
    owned = [(seat.cohort, seat.number) for seat in both.values() if seat.number is not None]
    assert len(owned) == len(set(owned))
    assert place(*names[:early]) == first  # the same on whoever decides it


@given(st.text(max_size=30))
def test_what_is_no_seat_is_none(text: str) -> None:
    seat = Seat.parse(text)
    assert seat is None or str(seat) == text


def test_a_seat_survives_its_way_through_a_node_cache() -> None:
    above = "f" * 16
    for seat in (Seat("0123456789abcdef", 7, 8), Seat("0123456789abcdef", None, 32, above, 4)):
        assert Seat.parse(str(seat)) == seat
    for text in ("", "0123456789abcdef/8/8", "0123456789abcdef/0/0", "0123456789abcdef/0/33", "x/0/1"):
        assert Seat.parse(text) is None
    for count in (0, 33):
        assert Seat.parse(f"0123456789abcdef/0/1/{above}/{count}") is None


class Nodes:
    """A few nodes, and what their NodeCaches say once they are written."""

    def __init__(self, *names: str) -> None:
        self.now = 0.0
        self.names = names
        self.caches: dict[str, NodeCache] = {}
        self.index = SeatIndex()
        self.cohorts = Cohorts(clock=lambda: self.now)
        self.wanting: Callable[[tuple[str, str]], tuple[str, ...]] = lambda _: self.names

    def reconcile(self, node: str) -> float | None:
        spec, again_s = self.cohorts.seated(
            NodeCacheSpec(models=[NodeModel(model=MODEL, revision=REVISION)]),
            node=node,
            caches=self.caches,
            taken=self.index.of,
            wanting=self.wanting,
            domain_of=rack,
        )
        before = self.caches.get(node)
        status = before.status if before else NodeCacheStatus()
        self.caches[node] = NodeCache(metadata=ObjectMeta(name=node), spec=spec, status=status)
        self.index.replace(node, before=before, after=self.caches[node])
        return again_s

    def seat(self, node: str) -> Seat | None:
        models = self.caches[node].spec.models
        return Seat.parse(models[0].cohort) if models else None


def test_a_pull_begins_when_those_who_want_it_too_had_a_moment_to_say_so() -> None:
    nodes = Nodes("r1.a")
    again_s = nodes.reconcile("r1.a")
    assert again_s == GATHER_S
    assert nodes.seat("r1.a") is None
    nodes.names = ("r1.a", "r1.b")
    nodes.now += GATHER_S
    for name in nodes.names:
        assert nodes.reconcile(name) is None
    first, second = nodes.seat("r1.a"), nodes.seat("r1.b")
    assert first is not None
    assert (first.number, second) == (0, Seat(first.cohort, 1, 2))


def test_however_late_the_controller_comes_back_the_wait_is_over_then() -> None:
    nodes = Nodes("r1.a")
    nodes.reconcile("r1.a")
    for model in ("b" * 32, "c" * 32):  # others come in between
        nodes.now += 10 * GATHER_S
        spec = NodeCacheSpec(models=[NodeModel(model=model, revision=REVISION)])
        nodes.cohorts.seated(spec, node="r1.a", caches={}, taken=nodes.index.of, wanting=nodes.wanting, domain_of=rack)
    assert nodes.reconcile("r1.a") is None
    assert nodes.seat("r1.a") is not None


def started(*names: str) -> Nodes:
    nodes = Nodes(*names)
    nodes.reconcile(names[0])
    nodes.now += GATHER_S
    for name in names:
        nodes.reconcile(name)
    return nodes


def test_a_seat_stays_whoever_comes_and_goes_and_whoever_leads() -> None:
    nodes = started("r1.a", "r1.b")
    seat = nodes.seat("r1.a")
    nodes.cohorts = Cohorts(clock=lambda: nodes.now)
    nodes.names = ("r1.a", "r1.c")
    nodes.reconcile("r1.a")
    assert nodes.seat("r1.a") == seat
    nodes.reconcile("r1.c")
    nodes.now += GATHER_S
    nodes.reconcile("r1.c")
    assert nodes.seat("r1.c") == Seat(seat.cohort, None, 2)  # type: ignore[union-attr]


def test_a_node_that_has_the_model_already_needs_no_seat() -> None:
    nodes = Nodes("r1.a", "r1.b")
    held = NodeModelStatus(model=MODEL, revision=REVISION, state="Ready")
    nodes.caches["r1.a"] = NodeCache(metadata=ObjectMeta(name="r1.a"), status=NodeCacheStatus(models=[held]))
    assert nodes.reconcile("r1.a") is None
    assert nodes.seat("r1.a") is None
    nodes.reconcile("r1.b")
    nodes.now += GATHER_S
    nodes.reconcile("r1.b")
    assert nodes.seat("r1.b") == Seat(nodes.seat("r1.b").cohort, 0, 1)  # type: ignore[union-attr]


def test_only_a_node_that_reads_the_source_by_its_seat_says_what_it_gave() -> None:
    first = place(*members("r1", 4))
    below = place(*members("r2", 4), taken=first)
    assert [is_first(first[name]) for name in members("r1", 4)] == [True, False, False, False]
    assert not any(is_first(seat) for seat in below.values())
    assert not is_first(place("r1.9", taken=first)["r1.9"])
    assert is_first(None)  # nodes do not share, or it was there before


def test_what_is_to_go_has_no_seat_and_waits_for_nobody() -> None:
    nodes = Nodes("r1.a")
    gone = NodeCacheSpec(models=[NodeModel(model=MODEL, revision=REVISION, desired="Absent")])
    assert nodes.cohorts.seated(
        gone, node="r1.a", caches={}, taken=nodes.index.of, wanting=nodes.wanting, domain_of=rack
    ) == (gone, None)
