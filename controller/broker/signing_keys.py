"""The keys that sign capabilities (cache/exchange/authority): two at a time, so that each is known before it signs.

They lie in the Secret of the certificate, and their public halves in the ConfigMap that every agent mounts. A new key
is made when the newest is old; it signs only once it has been published for long enough to have reached every node.
The one before it stays good until the next change.

    <created, RFC 3339> <private key, base64>       a line a key, the newest last
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cache.exchange.authority.capability import Signer, key_id

LIFE = timedelta(days=30)
SETTLED = timedelta(hours=1)  # kubelet renews a mounted ConfigMap within two minutes; a node may be away for a while


@dataclass(frozen=True, slots=True)
class Signers:
    """``keys`` are one or two, with the time they were made, oldest first."""

    keys: tuple[tuple[datetime, Ed25519PrivateKey], ...] = field(repr=False)

    @property
    def public(self) -> Mapping[str, Ed25519PublicKey]:
        return {key_id(key.public_key()): key.public_key() for _, key in self.keys}

    def signer(self, now: datetime) -> Signer:
        settled = [key for made, key in self.keys if now - made >= SETTLED]
        return Signer(settled[-1] if settled else self.keys[0][1])

    def __bytes__(self) -> bytes:
        return "".join(f"{made.isoformat()} {_text(key)}\n" for made, key in self.keys).encode()

    @classmethod
    def parse(cls, content: bytes) -> Signers | None:
        """None where there is none yet. Raises ValueError."""
        lines = [line.split(" ") for line in content.decode().splitlines()]
        keys = [
            (datetime.fromisoformat(m), Ed25519PrivateKey.from_private_bytes(base64.b64decode(k))) for m, k in lines
        ]
        return cls(tuple(keys)) if keys else None


def renewed(before: Signers | None, *, now: datetime) -> Signers:
    """``before`` itself while its newest key is young."""
    if before is not None and now - before.keys[-1][0] < LIFE:
        return before
    newest = () if before is None else before.keys[-1:]
    return Signers((*newest, (now, Ed25519PrivateKey.generate())))


def _text(key: Ed25519PrivateKey) -> str:
    raw = key.private_bytes(serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
    return base64.b64encode(raw).decode()
