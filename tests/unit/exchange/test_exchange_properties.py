"""Whatever happens to whom, everybody who lives ends with the whole tree, and nobody asks upstream for nothing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.sim_cohort import Fate, Simulation
from benchmarks.sim_links import ORIGIN, FairLinks, Link, SerialLinks
from cache.exchange.cohorts import Cohort, part

MODEST = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SPEEDS = st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.1, 0.02])


def fate(draw: st.DrawFn, *, node: int) -> Fate:
    start = draw(st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, 1.1]))
    dies = draw(st.sampled_from([None, None, None, 0.02, 0.4, 0.9])) if node else None  # node 0 lives
    return Fate(start=start, dies=dies)


@st.composite
def fates(draw: st.DrawFn, nodes: int) -> dict[str, Fate]:
    return {f"n{i}": fate(draw, node=i) for i in range(nodes)}


def rates(nodes: int, chunks: int, *, up: list[float], down: list[float]) -> dict[Link, float]:
    found: dict[Link, float] = {("up", ORIGIN): chunks}
    for i in range(nodes):
        found["up", i] = chunks * up[i]
        found["down", i] = chunks * down[i]
    return found


@MODEST
@given(st.integers(1, 8), st.integers(1, 60), st.text(max_size=4))
def test_while_nobody_fails_every_chunk_leaves_the_origin_exactly_once(nodes: int, chunks: int, seed: str) -> None:
    links = FairLinks(rates(nodes, chunks, up=[1.0] * nodes, down=[1.0] * nodes))
    cohort = Cohort(tuple(f"n{i}" for i in range(nodes)), None)
    outcome = Simulation([cohort], chunks=chunks, links=links, seed=seed, limit=10.0).run()
    assert not outcome.stalled
    assert outcome.origin_chunks == (1,) * chunks


@MODEST
@given(st.data(), st.integers(2, 7), st.integers(1, 60))
def test_everybody_who_lives_ends_with_all_chunks_whoever_is_late_slow_or_dies(
    data: st.DataObject, nodes: int, chunks: int
) -> None:
    up = data.draw(st.lists(SPEEDS, min_size=nodes, max_size=nodes))
    down = data.draw(st.lists(SPEEDS, min_size=nodes, max_size=nodes))
    links = FairLinks(rates(nodes, chunks, up=up, down=down))
    cohort = Cohort(tuple(f"n{i}" for i in range(nodes)), None)
    outcome = Simulation(
        [cohort], chunks=chunks, links=links, fates=data.draw(fates(nodes)), told_every=0.02, limit=1000.0
    ).run()
    assert not outcome.stalled
    assert outcome.copies <= nodes


@MODEST
@given(st.integers(2, 12), st.integers(2, 40), st.text(max_size=4))
def test_while_nobody_fails_a_tree_of_cohorts_takes_one_copy(nodes: int, chunks: int, seed: str) -> None:
    cohorts = part({f"n{i}": f"rack-{i % 3}" for i in range(nodes)})
    links = SerialLinks(rates(nodes, chunks, up=[1.0] * nodes, down=[1.0] * nodes))
    outcome = Simulation(cohorts, chunks=chunks, links=links, seed=seed, limit=20.0).run()
    assert not outcome.stalled
    assert outcome.origin_chunks == (1,) * chunks


@MODEST
@given(st.data(), st.integers(2, 12), st.integers(4, 40))
def test_a_tree_of_cohorts_ends_too_whoever_is_late_or_dies(data: st.DataObject, nodes: int, chunks: int) -> None:
    cohorts = part({f"n{i}": f"rack-{i % 3}" for i in range(nodes)})
    links = SerialLinks(rates(nodes, chunks, up=[1.0] * nodes, down=[1.0] * nodes))
    outcome = Simulation(
        cohorts, chunks=chunks, links=links, fates=data.draw(fates(nodes)), told_every=0.02, limit=10.0
    ).run()
    assert not outcome.stalled
