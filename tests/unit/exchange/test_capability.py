"""A capability lets one client read one exchange for a while, and is checked without asking anybody."""

from __future__ import annotations

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cache.exchange.authority import admission
from cache.exchange.authority.admission import Capabilities, SharedKey
from cache.exchange.authority.capability import (
    CLOCK_SKEW_S,
    LIFE_S,
    CapabilityRefused,
    Signer,
    read_keys,
    verify,
    write_keys,
)

SIGNER = Signer(Ed25519PrivateKey.generate())
KEYS = {SIGNER.id: SIGNER.private.public_key()}
CLIENT, EXCHANGE, NOW = "c" * 64, "e" * 64, 1_800_000_000.0
GOOD = SIGNER.sign(client=CLIENT, exchange=EXCHANGE, now=NOW)


def refusal(text: str, *, client: str = CLIENT, now: float = NOW) -> str:
    with pytest.raises(CapabilityRefused) as refused:
        verify(text, keys=KEYS, client=client, now=now)
    return refused.value.reason


def changed(text: str, **values: object) -> str:
    form, key, content, signature = text.split(".")
    fields = json.loads(base64.urlsafe_b64decode(content + "=="))
    encoded = base64.urlsafe_b64encode(json.dumps(fields | values).encode()).rstrip(b"=").decode()
    return f"{form}.{key}.{encoded}.{signature}"


def test_it_names_what_its_client_may_read() -> None:
    assert verify(GOOD, keys=KEYS, client=CLIENT, now=NOW) == EXCHANGE


def test_captured_by_another_client_it_is_worthless() -> None:
    assert refusal(GOOD, client="d" * 64) == "OtherClient"


def test_it_ends_when_its_life_is_over() -> None:
    assert verify(GOOD, keys=KEYS, client=CLIENT, now=NOW + LIFE_S) == EXCHANGE
    assert refusal(GOOD, now=NOW + LIFE_S + CLOCK_SKEW_S + 1) == "Expired"


def test_nothing_in_it_can_be_changed() -> None:
    assert refusal(changed(GOOD, client="d" * 64), client="d" * 64) == "BadSignature"
    assert refusal(changed(GOOD, exchange="f" * 64)) == "BadSignature"
    assert refusal(changed(GOOD, expires=NOW * 2)) == "BadSignature"


def test_only_known_keys_sign_and_a_key_id_alone_is_nothing() -> None:
    other = Signer(Ed25519PrivateKey.generate())
    forged = other.sign(client=CLIENT, exchange=EXCHANGE, now=NOW)
    assert refusal(forged) == "UnknownKey"
    assert refusal(forged.replace(other.id, SIGNER.id)) == "BadSignature"


def test_there_is_no_algorithm_to_choose() -> None:
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    content = GOOD.split(".")[2]
    for text in (f"{none}.{content}.", f"warmset1.{SIGNER.id}.{content}.", f"none.{SIGNER.id}.{content}.", "", "...."):
        assert refusal(text) in ("Malformed", "BadSignature", "Missing")
    assert refusal(f"warmset1..{content}.") == "UnknownKey"


@given(st.text(max_size=80), st.integers(0, 3))
def test_whatever_else_is_sent_is_refused(text: str, part: int) -> None:
    parts = GOOD.split(".")
    if parts[part] == text:
        return
    parts[part] = text
    refusal(".".join(parts))


def test_two_keys_are_good_at_the_same_time() -> None:
    after = Signer(Ed25519PrivateKey.generate())
    both = read_keys(write_keys({**KEYS, after.id: after.private.public_key()}))
    for signer in (SIGNER, after):
        assert (
            verify(signer.sign(client=CLIENT, exchange=EXCHANGE, now=NOW), keys=both, client=CLIENT, now=NOW)
            == EXCHANGE
        )
    assert refusal(after.sign(client=CLIENT, exchange=EXCHANGE, now=NOW)) == "UnknownKey"  # not told yet


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = NOW
        monkeypatch.setattr(time, "time", lambda: self.seconds)
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)


def test_what_was_accepted_lasts_for_its_pull_past_its_expiry_and_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a controller that is away sends nobody to the origin while a pull lasts."""
    clock = Clock(monkeypatch)
    keys = dict(KEYS)
    capabilities = Capabilities(lambda: keys)
    assert capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)
    keys.clear()
    for _ in range(100):  # an hour and more of a pull that asks now and then
        clock.seconds += admission.IDLE_S - 1
        assert capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)
    clock.seconds += admission.IDLE_S + 1
    assert not capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)


def test_no_pull_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    capabilities = Capabilities(lambda: KEYS)
    seen = capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)
    assert seen
    while clock.seconds <= NOW + admission.LONGEST_S:
        clock.seconds += admission.IDLE_S / 2
        seen = capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)
    assert not seen


def test_it_opens_no_other_exchange_also_once_it_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    capabilities = Capabilities(lambda: KEYS)
    for _ in range(2):
        assert not capabilities.admits(CLIENT, GOOD, exchange="f" * 64)
        assert capabilities.admits(CLIENT, GOOD, exchange=EXCHANGE)


def test_an_accepted_capability_is_still_one_client_s_alone() -> None:
    capabilities = Capabilities(lambda: KEYS)
    fresh = SIGNER.sign(client=CLIENT, exchange=EXCHANGE, now=time.time())
    assert capabilities.admits(CLIENT, fresh, exchange=EXCHANGE)
    assert not capabilities.admits("d" * 64, fresh, exchange=EXCHANGE)
    assert capabilities.refusals == {"OtherClient": 1}


def test_in_a_group_with_a_shared_key_the_key_says_all() -> None:
    members = SharedKey("k" * 64)
    assert members.admits("k" * 64, "", exchange=EXCHANGE)
    assert not members.admits("l" * 64, GOOD, exchange=EXCHANGE)
