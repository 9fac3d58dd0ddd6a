"""Rule R1: every member brings exactly one chunk of a stripe; rule R2: enough chunks."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.exchange.bits import below, each, lowest, union
from cache.exchange.chunks import CHUNKS_PER_MEMBER, LARGEST_BYTES, SMALLEST_BYTES, ChunkMap, chunk_bytes
from cache.exchange.cohorts import FEWEST_MEMBERS, MAX_MEMBERS, part
from cache.exchange.stripes import Stripes

MEMBERS = st.integers(1, 32).map(lambda n: tuple(f"node-{i}" for i in range(n)))


@given(MEMBERS, st.integers(1, 300), st.text(max_size=8))
def test_every_chunk_has_one_owner_and_every_member_one_chunk_of_a_stripe(
    members: tuple[str, ...], chunks: int, seed: str
) -> None:
    stripes = Stripes(seed=seed, members=members, chunks=chunks)
    assert sum(owned.bit_count() for owned in stripes.owned) == chunks
    assert reduce(int.__or__, stripes.owned) == stripes.all
    for stripe in range(chunks // len(members)):
        inside = stripes.before(stripe + 1) & ~stripes.before(stripe)
        assert [(owned & inside).bit_count() for owned in stripes.owned] == [1] * len(members)


@given(MEMBERS, st.integers(1, 100))
def test_the_owner_is_the_first_to_answer_for_a_chunk_and_everybody_follows(
    members: tuple[str, ...], chunks: int
) -> None:
    stripes = Stripes(seed="s", members=members, chunks=chunks)
    for chunk in range(chunks):
        ranks = stripes.ranks(chunk)
        assert ranks[0] == stripes.owner(chunk)
        assert sorted(ranks) == list(range(len(members)))


@given(st.integers(2, 12).map(lambda n: tuple(f"node-{i}" for i in range(n))), st.integers(1, 400))
def test_what_a_member_leaves_falls_on_all_others_alike(members: tuple[str, ...], chunks: int) -> None:
    stripes = Stripes(seed="s", members=members, chunks=chunks)
    for owner, owned in enumerate(stripes.owned):
        heirs = Counter(stripes.ranks(chunk)[1] for chunk in each(owned))
        shares = [heirs[member] for member in range(len(members)) if member != owner]
        assert max(shares) - min(shares) <= 1


def test_owners_are_drawn_anew_for_each_tree() -> None:
    members = tuple("abcdefgh")
    one, other = (Stripes(seed=seed, members=members, chunks=256) for seed in ("one", "other"))
    assert one.owned != other.owned
    assert one.owned == Stripes(seed="one", members=members, chunks=256).owned


@given(st.sets(st.integers(0, 500)))
def test_bit_sets_are_sets(numbers: set[int]) -> None:
    chunks = union(numbers)
    assert list(each(chunks)) == sorted(numbers)
    assert list(each(chunks & below(100))) == sorted(n for n in numbers if n < 100)
    if numbers:
        assert lowest(chunks) == min(numbers)


@given(st.integers(1, 1 << 42), st.integers(1, MAX_MEMBERS))
def test_chunks_are_as_large_as_32_a_member_allow(total: int, members: int) -> None:
    size = chunk_bytes(total, members=members)
    assert SMALLEST_BYTES <= size <= LARGEST_BYTES
    assert size == SMALLEST_BYTES or total >= size * CHUNKS_PER_MEMBER * members
    assert size == LARGEST_BYTES or total < 2 * size * CHUNKS_PER_MEMBER * members


@given(st.lists(st.integers(0, 50), max_size=8), st.integers(1, 7))
def test_every_byte_of_every_file_is_in_one_chunk(sizes: list[int], chunk: int) -> None:
    chunks = ChunkMap.of(sizes, chunk_bytes=chunk)
    seen = [bytearray(size) for size in sizes]
    for number in range(chunks.chunks):
        place = chunks.place(number)
        assert 0 < place.stop - place.start <= chunk
        assert number in chunks.of_file(place.file)
        for at in range(place.start, place.stop):
            seen[place.file][at] += 1
    assert all(set(counts) <= {1} for counts in seen)
    with pytest.raises(IndexError):
        chunks.place(chunks.chunks)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=5), st.sampled_from(["r1", "r2", "r3"]), max_size=120))
def test_cohorts_are_of_one_domain_where_that_is_large_enough_and_form_a_binary_tree(domains: dict[str, str]) -> None:
    cohorts = part(domains)
    assert sorted(name for cohort in cohorts for name in cohort.members) == sorted(domains)
    for index, cohort in enumerate(cohorts):
        assert 0 < len(cohort.members) <= MAX_MEMBERS
        within = {domains[name] for name in cohort.members}
        assert len(within) == 1 or all(list(domains.values()).count(domain) < FEWEST_MEMBERS for domain in within)
        assert (cohort.parent is None) == (index == 0)
        assert cohort.parent is None or cohort.parent < index
        assert sum(other.parent == index for other in cohorts) <= 2
        assert len(cohort.members) >= FEWEST_MEMBERS or index == len(cohorts) - 1
