"""The exchange, simulated: how long until all are warm, and how many copies left the origin.

    python -m benchmarks.exchange_sim [--scale]

The origin's link, and each node's up and down, bring one tree in one unit of time.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass, field

from benchmarks.sim_cohort import Fate, Outcome, Simulation
from benchmarks.sim_links import ORIGIN, FairLinks, Link, SerialLinks
from cache.exchange.chunks import CHUNKS_PER_MEMBER
from cache.exchange.cohorts import Cohort, part


@dataclass(frozen=True)
class Scenario:
    name: str
    nodes: int = 8
    slow_up: dict[int, float] = field(default_factory=dict)  # node -> share of a link's rate
    fates: dict[int, Fate] = field(default_factory=dict)


SCENARIOS = (
    Scenario("1 node", nodes=1),
    Scenario("2 nodes", nodes=2),
    Scenario("4 nodes", nodes=4),
    Scenario("8 nodes"),
    Scenario("8, one killed at half", fates={3: Fate(dies=0.5)}),
    Scenario("8, one uplink at 10 %", slow_up={3: 0.1}),
    Scenario("8, two uplinks at 10 %", slow_up={3: 0.1, 5: 0.1}),
    Scenario("8, one uplink at 0.1 %", slow_up={3: 0.001}),
    Scenario("2, one uplink at 10 %", nodes=2, slow_up={1: 0.1}),
    Scenario("8, starts over a quarter", fates={i: Fate(start=0.25 * i / 7) for i in range(8)}),
    Scenario("8, one starts at half", fates={3: Fate(start=0.5)}),
    Scenario("8 and a joiner at half", nodes=9, fates={8: Fate(start=0.5, joiner=True)}),
    Scenario("8 and a joiner at the end", nodes=9, fates={8: Fate(start=1.2, joiner=True)}),
)


def simulate(scenario: Scenario, *, seed: str = "tree", told_every: float = 0.01) -> Outcome:
    names = tuple(f"n{i}" for i in range(scenario.nodes))
    members = scenario.nodes - sum(fate.joiner for fate in scenario.fates.values())
    chunks = CHUNKS_PER_MEMBER * max(members, 8)
    rates: dict[Link, float] = {("up", ORIGIN): chunks}
    for i in range(scenario.nodes):
        rates["down", i] = chunks
        rates["up", i] = chunks * scenario.slow_up.get(i, 1.0)
    fates = {names[i]: fate for i, fate in scenario.fates.items()}
    return Simulation(
        [Cohort(names, None)], chunks=chunks, links=FairLinks(rates), fates=fates, seed=seed, told_every=told_every
    ).run()


def simulate_racks(*, racks: int, nodes: int, failing: float, chunks_per_member: int, seed: int = 1) -> Outcome:
    """Cohorts in a tree. ``failing`` is the share of nodes that die, each at some moment of the pull."""
    draw = random.Random(seed)
    names = [f"n{i:04d}" for i in range(nodes)]
    cohorts = part({name: f"rack-{i % racks:02d}" for i, name in enumerate(names)})
    chunks = chunks_per_member * max(len(cohort.members) for cohort in cohorts)
    rates: dict[Link, float] = {("up", ORIGIN): chunks}
    for i in range(nodes):
        rates["up", i] = rates["down", i] = chunks
    dying = draw.sample(names, round(nodes * failing))
    fates = {name: Fate(dies=draw.uniform(0.05, 0.95)) for name in dying}
    return Simulation(cohorts, chunks=chunks, links=SerialLinks(rates), fates=fates, told_every=0.02, limit=4.0).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="owners are drawn anew for each")
    parser.add_argument("--scale", action="store_true", help="1,000 nodes in 40 racks instead; takes many minutes")
    parser.add_argument("--racks", type=int, default=40)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=CHUNKS_PER_MEMBER, help="chunks a member of a cohort")
    arguments = parser.parse_args()
    print(f"{'':28} {'all warm':>9} {'worst':>6} {'copies':>7} {'worst':>6}")
    if arguments.scale:
        for failing in (0.0, 0.05):
            began = time.monotonic()
            run = simulate_racks(
                racks=arguments.racks, nodes=arguments.nodes, failing=failing, chunks_per_member=arguments.chunks
            )
            show(f"{arguments.nodes} nodes, {failing:.0%} fail", [run], began=began)
        return
    for scenario in SCENARIOS:
        began = time.monotonic()
        show(scenario.name, [simulate(scenario, seed=f"tree-{seed}") for seed in range(arguments.seeds)], began=began)


def show(name: str, runs: list[Outcome], *, began: float) -> None:
    """The median and the worst of the runs."""
    times = sorted(run.last for run in runs)
    copies = sorted(run.copies for run in runs)
    middle = len(runs) // 2
    print(
        f"{name:28} {times[middle]:9.2f} {times[-1]:6.2f} {copies[middle]:7.3f} {copies[-1]:6.3f}"
        f"  {'STALLED ' if any(run.stalled for run in runs) else ''}({time.monotonic() - began:.0f} s to simulate)",
        flush=True,
    )


if __name__ == "__main__":
    main()
