"""A capability lets one client read one scope for a while, and is checked without asking anybody."""

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
CLIENT, SCOPE, NOW = "c" * 64, "team-a's llama", 1_800_000_000.0
GOOD = SIGNER.sign(client=CLIENT, scope=SCOPE, now=NOW)


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
    assert verify(GOOD, keys=KEYS, client=CLIENT, now=NOW) == SCOPE


def test_captured_by_another_client_it_is_worthless() -> None:
    assert refusal(GOOD, client="d" * 64) == "OtherClient"


def test_it_ends_when_its_life_is_over() -> None:
    assert verify(GOOD, keys=KEYS, client=CLIENT, now=NOW + LIFE_S) == SCOPE
    assert refusal(GOOD, now=NOW + LIFE_S + CLOCK_SKEW_S + 1) == "Expired"


def test_nothing_in_it_can_be_changed() -> None:
    assert refusal(changed(GOOD, client="d" * 64), client="d" * 64) == "BadSignature"
    assert refusal(changed(GOOD, scope="team-b's")) == "BadSignature"
    assert refusal(changed(GOOD, expires=NOW * 2)) == "BadSignature"


def test_only_known_keys_sign_and_a_key_id_alone_is_nothing() -> None:
    other = Signer(Ed25519PrivateKey.generate())
    forged = other.sign(client=CLIENT, scope=SCOPE, now=NOW)
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
        assert verify(signer.sign(client=CLIENT, scope=SCOPE, now=NOW), keys=both, client=CLIENT, now=NOW) == SCOPE
    assert refusal(after.sign(client=CLIENT, scope=SCOPE, now=NOW)) == "UnknownKey"  # not told yet


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
    assert capabilities.scope_of(CLIENT, GOOD) == SCOPE
    keys.clear()
    for _ in range(100):  # an hour and more of a pull that asks now and then
        clock.seconds += admission.IDLE_S - 1
        assert capabilities.scope_of(CLIENT, GOOD) == SCOPE
    clock.seconds += admission.IDLE_S + 1
    assert capabilities.scope_of(CLIENT, GOOD) is None


def test_no_pull_lasts_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    capabilities = Capabilities(lambda: KEYS)
    seen = capabilities.scope_of(CLIENT, GOOD)
    assert seen == SCOPE
    while clock.seconds <= NOW + admission.LONGEST_S:
        clock.seconds += admission.IDLE_S / 2
        seen = capabilities.scope_of(CLIENT, GOOD)
    assert seen is None


def test_an_accepted_capability_is_still_one_client_s_alone() -> None:
    reasons: list[str] = []
    capabilities = Capabilities(lambda: KEYS, refused=reasons.append)
    fresh = SIGNER.sign(client=CLIENT, scope=SCOPE, now=time.time())
    assert capabilities.scope_of(CLIENT, fresh) == SCOPE
    assert capabilities.scope_of("d" * 64, fresh) is None
    assert reasons == ["OtherClient"]


def test_in_a_group_with_a_shared_key_the_key_says_all() -> None:
    members = SharedKey("k" * 64)
    assert members.scope_of("k" * 64, "") == ""
    assert members.scope_of("l" * 64, GOOD) is None
