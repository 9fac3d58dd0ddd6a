"""What a node may read from its peers: a signed text, checked by the peer that serves, without asking anybody.

    warmset1.<key id>.<content>.<signature>

Content is JSON (Content below), it and the signature in base64url without padding. There is one algorithm, Ed25519, and
no field to name another. A capability is worthless to anybody but the client whose key it names.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LIFE_S = 600.0
CLOCK_SKEW_S = 60.0  # clocks of nodes that keep time differ by less
MAX_CHARS = 2048
_FORM = "warmset1"


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``client`` is the hash of a node's public key, ``expires`` seconds since 1970.

    ``exchange`` (``Origin.exchange``) is what it may read: one revision, as it comes from one place, and nothing else.
    """

    client: str
    exchange: str
    expires: float


class CapabilityRefused(Exception):
    """``reason`` is for our own log and metrics; the client is told nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signer:
    """A key that signs capabilities, and its id."""

    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.id})"

    @property
    def id(self) -> str:
        return key_id(self.private.public_key())

    def sign(self, *, client: str, exchange: str, now: float) -> str:
        """``now`` in seconds since 1970."""
        content = msgspec.json.encode(Content(client, exchange, now + LIFE_S))
        signed = f"{_FORM}.{self.id}.{_text(content)}"
        return f"{signed}.{_text(self.private.sign(signed.encode()))}"


def verify(text: str, *, keys: Mapping[str, Ed25519PublicKey], client: str, now: float) -> str:
    """The exchange that ``client`` may read; ``keys``, by id, may have signed. Raises CapabilityRefused."""
    form, _, rest = text.partition(".")
    if form != _FORM or len(text) > MAX_CHARS or rest.count(".") != 2:
        raise CapabilityRefused("Malformed" if text else "Missing")
    signed, _, signature = text.rpartition(".")
    key = keys.get(rest.partition(".")[0])
    if key is None:
        raise CapabilityRefused("UnknownKey")
    try:
        key.verify(_bytes(signature), signed.encode())
        content = msgspec.json.decode(_bytes(signed.rpartition(".")[2]), type=Content)
    except InvalidSignature:
        raise CapabilityRefused("BadSignature") from None
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise CapabilityRefused("Malformed") from None
    if content.client != client:
        raise CapabilityRefused("OtherClient")
    if now > content.expires + CLOCK_SKEW_S:
        raise CapabilityRefused("Expired")
    return content.exchange


def key_id(public: Ed25519PublicKey) -> str:
    return hashlib.sha256(_raw(public)).hexdigest()[:16]


def write_keys(keys: Mapping[str, Ed25519PublicKey]) -> str:
    """The keys that may have signed, one a line in base64."""
    return "".join(f"{base64.b64encode(_raw(key)).decode()}\n" for key in keys.values())


def read_keys(text: str) -> dict[str, Ed25519PublicKey]:
    """By id. Raises ValueError for a line that is no key."""
    keys = [Ed25519PublicKey.from_public_bytes(base64.b64decode(line, validate=True)) for line in text.split()]
    return {key_id(key): key for key in keys}


def _raw(public: Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
