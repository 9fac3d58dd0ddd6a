"""Each rule, and what goes wrong without it: the deciding code, simulated, against a variant that lacks the rule.

The origin's link, and each node's, bring one tree in one unit of time.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.exchange_sim import SCENARIOS, Scenario, simulate
from benchmarks.sim_cohort import Fate, Outcome, Simulation
from benchmarks.sim_links import ORIGIN, FairLinks, Link
from cache.exchange import decide as deciding
from cache.exchange import heirs
from cache.exchange.answer import Answer
from cache.exchange.bits import NOTHING, bit
from cache.exchange.cohorts import Cohort
from cache.exchange.decide import Decision, decide
from cache.exchange.ledger import Ledger
from cache.exchange.stripes import Stripes
from cache.exchange.view import State, View

EIGHT = tuple(f"n{i}" for i in range(8))


def scenario(name: str) -> Scenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


def healthy(*, chunks: int = 256, policy: object = None, limit: float = 4.0) -> Outcome:
    rates: dict[Link, float] = {("up", ORIGIN): chunks}
    for i in range(8):
        rates["up", i] = rates["down", i] = chunks
    return Simulation(
        [Cohort(EIGHT, None)],
        chunks=chunks,
        links=FairLinks(rates),
        policy=policy,  # type: ignore[arg-type]
        limit=limit,
    ).run()


def test_eight_nodes_take_the_time_of_one_and_one_copy() -> None:
    outcome = healthy()
    assert outcome.last <= 1.05
    assert outcome.origin_chunks == (1,) * 256


@pytest.mark.parametrize(
    ("name", "time", "copies"),
    [
        ("8, one killed at half", 1.10, 1.02),
        ("8, one uplink at 10 %", 1.12, 1.02),
        ("8, two uplinks at 10 %", 1.32, 1.02),
        ("8, one uplink at 0.1 %", 1.12, 1.03),
        ("2, one uplink at 10 %", 1.05, 1.02),
        ("8, starts over a quarter", 1.26, 1.02),  # who starts at a quarter cannot end before 1.25
        ("8, one starts at half", 1.53, 1.02),
        ("8 and a joiner at half", 1.55, 1.0),
        ("8 and a joiner at the end", 2.25, 1.0),
    ],
)
def test_trouble_costs_little_time_and_hardly_a_byte_from_the_origin(name: str, time: float, copies: float) -> None:
    outcome = simulate(scenario(name))
    assert outcome.last <= time
    assert outcome.copies <= copies


def test_r1_with_random_owners_everybody_waits_for_the_member_that_drew_most(monkeypatch: pytest.MonkeyPatch) -> None:
    ordered = healthy().last

    def rendezvous_only(self: Stripes) -> None:
        import random

        draw = random.Random(self.seed)
        owners = tuple(draw.randrange(len(self.members)) for _ in range(self.chunks))
        object.__setattr__(self, "_owners", owners)
        object.__setattr__(
            self,
            "owned",
            tuple(sum(bit(c) for c in range(self.chunks) if owners[c] == m) for m in range(len(self.members))),
        )

    monkeypatch.setattr(Stripes, "__post_init__", rendezvous_only)
    monkeypatch.setattr(deciding, "RELEASED", 1000)  # without the cure that other rules are
    assert healthy().last > ordered + 0.05


def test_r2_with_few_chunks_the_last_ones_make_all_wait() -> None:
    assert healthy(chunks=32).last > healthy().last + 0.1


def test_r3_with_one_queue_for_all_places_a_held_request_holds_up_the_rest() -> None:
    def one_queue(view: View) -> Decision:
        decision = decide(view)
        if view.from_upstream or any(chunk is not None for chunk in view.from_peers):
            return replace(decision, upstream=None, peers=())
        if decision.upstream is not None:
            return replace(decision, peers=())
        return replace(decision, peers=decision.peers[:1])

    assert healthy(policy=one_queue).last > 2.0


def test_r4_without_successors_for_a_late_starter_all_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Scenario("one starts when the others could be done", fates={3: Fate(start=2.0)})

    def last_of_the_others() -> float:
        return max(at for i, at in enumerate(simulate(late).finished) if i != 3 and at is not None)

    assert last_of_the_others() < 1.2
    monkeypatch.setattr(heirs, "LATE_START", 1000)
    assert last_of_the_others() > 2.0


def test_r5_who_is_asked_for_a_chunk_that_it_does_not_fetch_adopts_it() -> None:
    """Two members of which each takes the other for the chunk's heir would wait for each other for good."""
    stripes = Stripes(seed="s", members=("a", "b", "c"), chunks=3)
    chunk = next(c for c in range(3) if stripes.owner(c) == 2)
    asked = Ledger(stripes, 0)
    assert asked.asked(chunk, 0.0) is Answer.ADOPT
    assert asked.asked(chunk, 0.0) is Answer.HOLD
    asked.died(2)
    asked.heard(1, State())
    asked.have = stripes.owned[0]
    assert decide(asked.view(0.0)).upstream == chunk


@pytest.mark.parametrize("seed", ["tree-0", "tree-6", "tree-8"])
def test_who_starts_late_is_not_taken_for_slow_though_it_has_sent_least(seed: str) -> None:
    assert simulate(scenario("8, starts over a quarter"), seed=seed).last <= 1.28


def test_r6_without_relays_a_slow_link_that_does_not_resign_carries_each_chunk_to_everybody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deciding, "RESIGNED", 1000)
    slow = scenario("8, one uplink at 10 %")
    assert simulate(slow).last < 1.3
    monkeypatch.setattr(heirs, "OVERDUE", 1000)
    assert simulate(slow).last > 1.5


def test_r6_without_release_and_resignation_one_slow_uplink_holds_up_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = scenario("8, one uplink at 10 %")
    monkeypatch.setattr(deciding, "RELEASED", 1000)
    monkeypatch.setattr(deciding, "RESIGNED", 1000)
    monkeypatch.setattr(heirs, "DEMOTED", 1000)
    monkeypatch.setattr(heirs, "OVERDUE", 1000)
    monkeypatch.setattr(deciding, "UNSPREAD", 1000)
    assert simulate(slow).last > 1.5


def test_r6_a_fall_back_to_the_origin_by_time_takes_many_copies() -> None:
    def impatient(view: View) -> Decision:
        decision = decide(view)
        waiting = [chunk for chunk in view.from_peers if chunk is not None and not view.from_upstream >> chunk & 1]
        if decision.upstream is None and waiting:
            return replace(decision, upstream=min(waiting))
        return decision

    assert healthy(policy=impatient, limit=12.0).copies > 1.5


def test_all_others_dead_one_fetches_the_rest_alone() -> None:
    fates = {i: Fate(dies=0.3) for i in range(1, 8)}
    outcome = simulate(Scenario("alone", fates=fates))
    assert not outcome.stalled
    assert outcome.copies <= 1.1


def test_a_decision_is_a_function_of_its_view() -> None:
    stripes = Stripes(seed="s", members=EIGHT, chunks=256)
    ledger = Ledger(stripes, 0)
    for member in range(1, 8):
        ledger.heard(member, State())
    view = ledger.view(1.0)
    assert decide(view) == decide(view)
    assert decide(view).release == NOTHING
