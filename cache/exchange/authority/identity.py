"""The key pair that a node proves itself with, and the certificate that carries it through TLS.

Python's ssl takes a client's certificate only from an authority, and has no hook to judge it by its key. So all
certificates are made out by one authority whose private key is public: it vouches for nothing, and no decision rests on
it. What counts is the hash of the key, whose possession the handshake proves. Certificates do not expire, so that no
node's clock matters; capabilities do.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from api.errors import DiskError, InvalidRequest

HOW_TO_MAKE = "make one: (umask 077; openssl genpkey -algorithm ed25519 -out group.key)"
_MAX_KEY_BYTES = 4096
_FROM = datetime(2020, 1, 1, tzinfo=UTC)
_UNTIL = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 §4.1.2.5: no well-defined end
_PUBLIC_ON_PURPOSE = Ed25519PrivateKey.from_private_bytes(
    hashlib.sha256(b"warmset exchange: an authority that vouches for nothing").digest()
)


@dataclass(frozen=True, slots=True)
class Identity:
    """``key`` names it: the hash of its public key. The certificate is PEM, like all texts of the ssl module."""

    private: Ed25519PrivateKey = field(repr=False)
    key: str = field(init=False)
    certificate: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", key_of(self.private.public_key()))
        certificate = _certificate(self.private.public_key(), name="agent", authority=False)
        object.__setattr__(self, "certificate", certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def key_of(public: Ed25519PublicKey) -> str:
    """sha256 of the key's SubjectPublicKeyInfo, in hex: how everybody names a node's key."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def key_of_certificate(der: bytes) -> str:
    """The hash of the key in a certificate. Raises ValueError for what is none of ours."""
    public = x509.load_der_x509_certificate(der).public_key()
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("the certificate's key is not Ed25519")
    return key_of(public)


@cache
def authority() -> str:
    """The certificate, in PEM, of the authority that vouches for nothing."""
    certificate = _certificate(_PUBLIC_ON_PURPOSE.public_key(), name="nobody", authority=True)
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def read(path: Path) -> Identity:
    """The identity whose key is in a PEM file (PKCS 8, Ed25519). Raises InvalidRequest, also if others may open it."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise InvalidRequest(f"cannot read the key {path}: {error.strerror}", hint=HOW_TO_MAKE) from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise InvalidRequest(f"others than its owner may open the key {path}", hint=f"chmod 600 {path}")
    try:
        private = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        private = None  # not chained: the parser's message may quote what it read
    if not isinstance(private, Ed25519PrivateKey):
        raise InvalidRequest(f"{path} holds no Ed25519 private key in PEM", hint=HOW_TO_MAKE)
    return Identity(private)


def read_or_make(path: Path) -> Identity:
    """As ``read``; where there is no file, make one with a new key, mode 0600. Raises DiskError too."""
    if path.exists():
        return read(path)
    made = Identity(Ed25519PrivateKey.generate())
    new = path.with_name(f"{path.name}.new")  # one process owns the folder
    try:
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(made.private_pem)
            os.fsync(file.fileno())
        new.rename(path)
    except OSError as error:
        raise DiskError(f"cannot keep this node's key in {path}: {error.strerror}") from error
    return made


def _certificate(public: Ed25519PublicKey, *, name: str, authority: bool) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("nobody"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .sign(_PUBLIC_ON_PURPOSE, algorithm=None)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"warmset {name}")])
