"""A service account's key file, as Google's console gives it, for nobody."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def service_account(**more: str) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    about = {"type": "service_account", "private_key_id": "k", "client_email": "a@b.example"}
    return json.dumps({**about, "private_key": key.decode(), **more})
