"""The controller's own certificate authority, and its renewal without a moment of distrust."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from controller.certificates.authority import AUTHORITY_LIFE, SERVING_LIFE, Bundle, renewed

HOSTS = ("warmset-controller.home.svc", "127.0.0.1")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def trusts(trusted: bytes, bundle: Bundle, *, at: datetime) -> bool:
    """As a client does: the chain, the time and the name."""
    store = Store(x509.load_pem_x509_certificates(trusted))
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(x509.DNSName(HOSTS[0]))
    try:
        verifier.verify(x509.load_pem_x509_certificate(bundle.certificate), [])
    except x509.verification.VerificationError:
        return False
    return True


def test_a_first_certificate_is_trusted_by_its_authority() -> None:
    bundle = renewed(None, hosts=HOSTS, now=NOW)
    assert trusts(bundle.trusted, bundle, at=NOW)


def test_a_certificate_that_is_good_for_a_while_stays() -> None:
    bundle = renewed(None, hosts=HOSTS, now=NOW)
    assert renewed(bundle, hosts=HOSTS, now=NOW + SERVING_LIFE / 2) is bundle


def test_after_two_thirds_of_its_life_it_is_renewed_by_the_same_authority() -> None:
    bundle = renewed(None, hosts=HOSTS, now=NOW)
    later = NOW + SERVING_LIFE * 0.7
    after = renewed(bundle, hosts=HOSTS, now=later)
    assert after.certificate != bundle.certificate
    assert (after.authority, after.trusted) == (bundle.authority, bundle.trusted)
    assert trusts(bundle.trusted, after, at=later)


def test_other_hosts_need_another_certificate() -> None:
    bundle = renewed(None, hosts=("other.svc",), now=NOW)
    assert trusts(bundle.trusted, renewed(bundle, hosts=HOSTS, now=NOW), at=NOW)


def test_a_new_authority_is_published_beside_the_old_one() -> None:
    old = renewed(None, hosts=HOSTS, now=NOW)
    later = NOW + AUTHORITY_LIFE * 0.7
    # Its serving certificate had been renewed until then.
    served = renewed(old, hosts=HOSTS, now=later - timedelta(days=200))
    new = renewed(served, hosts=HOSTS, now=later)
    assert new.authority != old.authority
    assert trusts(new.trusted, new, at=later)
    assert trusts(
        new.trusted, renewed(old, hosts=HOSTS, now=later - timedelta(days=200)), at=later - timedelta(days=199)
    )


def test_an_authority_that_has_ended_is_no_longer_published() -> None:
    old = renewed(None, hosts=HOSTS, now=NOW)
    new = renewed(old, hosts=HOSTS, now=NOW + AUTHORITY_LIFE * 2)
    assert len(x509.load_pem_x509_certificates(new.trusted)) == 1


def test_a_bundle_shows_no_key() -> None:
    assert "KEY" not in repr(renewed(None, hosts=HOSTS, now=NOW))
