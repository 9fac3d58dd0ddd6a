"""Our own small certificate authority, for the webhook and the broker.

Authority and serving certificate lie in one Secret of the controller's namespace; every replica reads it, the
leader renews it when two thirds of a life are over. While a new authority takes over, both old and new are
published, so that neither the API server nor an agent ever meets a certificate it cannot check.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=5 * 365)
SERVING_LIFE = timedelta(days=90)
RENEW_AT = 2 / 3  # of a life: leaves a month to notice that renewal fails
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Bundle:
    """PEM texts. ``trusted`` holds the authority and, for an overlap, the one before it."""

    authority: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes
    trusted: bytes

    def __repr__(self) -> str:  # keys never in a log
        return f"Bundle(until {x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc:%Y-%m-%d})"


def renewed(before: Bundle | None, *, hosts: Sequence[str], now: datetime) -> Bundle:
    """``before`` itself while it is good for a while and made out to ``hosts``; else what replaces it."""
    if before is None or _spent(before.authority, now):
        authority, authority_key = _authority(now)
        trusted = authority + (_still_valid(before.trusted, now) if before else b"")
        return _serving(authority, authority_key, trusted=trusted, hosts=hosts, now=now)
    if _spent(before.certificate, now) or _hosts(before.certificate) != set(hosts):
        trusted = _still_valid(before.trusted, now)
        return _serving(before.authority, before.authority_key, trusted=trusted, hosts=hosts, now=now)
    return before


def _spent(pem: bytes, now: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(pem)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begin + (end - begin) * RENEW_AT


def _still_valid(pem: bytes, now: datetime) -> bytes:
    certificates = x509.load_pem_x509_certificates(pem)
    return b"".join(_pem(c) for c in certificates if c.not_valid_after_utc > now)


def _hosts(pem: bytes) -> set[str]:
    extension = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in extension.value}


def _authority(now: datetime) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"warmset {now:%Y-%m-%d}")])
    certificate = (
        _builder(name, name, key.public_key(), now=now, life=AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate), _key_pem(key)


def _serving(authority: bytes, authority_key: bytes, *, trusted: bytes, hosts: Sequence[str], now: datetime) -> Bundle:
    issuer = x509.load_pem_x509_certificate(authority)
    issuer_key = serialization.load_pem_private_key(authority_key, password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not one that we make")
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "warmset-controller")])
    certificate = (
        _builder(subject, issuer.subject, key.public_key(), now=now, life=SERVING_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return Bundle(authority, authority_key, _pem(certificate), _key_pem(key), trusted)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - CLOCK_SKEW)
        .not_valid_after(now.astimezone(UTC) + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
