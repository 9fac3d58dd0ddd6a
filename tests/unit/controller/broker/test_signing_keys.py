"""The keys that sign capabilities change without a moment in which a node knows none that signs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controller.broker.signing_keys import LIFE, SETTLED, Signers, renewed

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_key_lasts_for_its_life() -> None:
    first = renewed(None, now=NOW)
    assert renewed(first, now=NOW + LIFE - timedelta(seconds=1)) is first


def test_a_new_key_is_published_before_it_signs_and_the_old_one_stays_good() -> None:
    first = renewed(None, now=NOW)
    old = first.signer(NOW).id
    later = NOW + LIFE
    both = renewed(first, now=later)
    assert len(both.public) == 2
    assert both.signer(later).id == old
    assert both.signer(later + SETTLED).id != old
    assert old in both.public


def test_two_keys_are_the_most_there_are() -> None:
    signers, now = renewed(None, now=NOW), NOW
    for _ in range(3):
        before = signers
        now += LIFE
        signers = renewed(before, now=now)
        assert len(signers.public) == 2
        assert before.signer(now).id in signers.public


def test_keys_come_back_from_the_secret_and_show_in_no_text() -> None:
    signers = renewed(renewed(None, now=NOW), now=NOW + LIFE)
    again = Signers.parse(bytes(signers))
    assert again is not None
    assert again.public.keys() == signers.public.keys()
    assert bytes(again) == bytes(signers)
    assert all(line.split()[1] not in repr(signers) for line in bytes(signers).decode().splitlines())
    assert Signers.parse(b"") is None
