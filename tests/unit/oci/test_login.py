"""Logging in to a registry: which header is sent, when a token is renewed, who may see a credential."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from api.errors import Forbidden, SourceUnavailable, Unauthorized
from api.reference import OciReference
from cache.http.network import Network
from cache.http.url import Origin, parse_url
from cache.sources import Credential, SourceOptions
from cache.sources.oci.challenge import Challenge, may_see_credential, parse_challenges
from cache.sources.oci.registry import Repository, Session
from tests.support.fake_registry import FakeRegistry

USER = {"user": "pass"}


def session(registry: FakeRegistry, credential: Credential | None = None, *, name: str = "m/tiny") -> Session:
    options = SourceOptions(credential=credential, plain_http=frozenset({registry.host}))
    return Repository(OciReference(registry.host, name, "v1", None), options=options, network=Network()).session()


def credential(registry: FakeRegistry, **changes: str) -> Credential:
    return Credential(**{"host": registry.host, "username": "user", "password": "pass", **changes})


@pytest.fixture
def registry(registry: FakeRegistry) -> FakeRegistry:
    registry.add_model("m/tiny", "v1", {"config.json": b"{}"})
    return registry


@pytest.fixture
def stranger() -> Iterator[FakeRegistry]:
    """Another host, that must never see a credential."""
    with FakeRegistry() as running:
        yield running


def test_basic(registry: FakeRegistry) -> None:
    registry.auth, registry.users = "basic", USER
    opened = session(registry, credential(registry))
    opened.manifest("v1")
    opened.manifest("v1")
    opened.close()
    assert [seen.status for seen in registry.seen] == [401, 200, 200], "asked once, then sent at once"


def test_a_wrong_password_is_tried_once(registry: FakeRegistry) -> None:
    registry.auth, registry.users = "basic", USER
    opened = session(registry, credential(registry, password="wrong"))
    with pytest.raises(Unauthorized):
        opened.manifest("v1")
    opened.close()
    assert len(registry.seen) == 2


def test_no_credential_is_said_with_the_way_out(registry: FakeRegistry) -> None:
    registry.auth, registry.users = "basic", USER
    opened = session(registry)
    with pytest.raises(Unauthorized) as caught:
        opened.manifest("v1")
    opened.close()
    assert caught.value.hint == f"docker login {registry.host}"


def test_bearer_with_a_password(registry: FakeRegistry) -> None:
    registry.auth, registry.users = "bearer", USER
    opened = session(registry, credential(registry))
    opened.manifest("v1")
    opened.manifest("v1")
    opened.close()
    assert [seen.status for seen in registry.seen] == [401, 200, 200, 200]
    token = registry.requests("/token")[0]
    assert "scope=repository%3Am%2Ftiny%3Apull" in token.path, "the least scope, whatever the challenge names"


def test_bearer_anonymously(registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    opened = session(registry)
    opened.manifest("v1")
    opened.close()
    assert "authorization" not in registry.requests("/token")[0].headers


def test_bearer_with_an_identity_token(registry: FakeRegistry) -> None:
    registry.auth, registry.users = "bearer", {"<token>": "refresh-me"}
    opened = session(registry, Credential(registry.host, identity_token="refresh-me"))
    opened.manifest("v1")
    opened.close()
    assert registry.requests("/token")[0].method == "POST"


def test_a_refused_token_is_renewed_once(registry: FakeRegistry) -> None:
    registry.auth = "bearer"
    opened = session(registry)
    opened.manifest("v1")
    registry.tokens.clear()
    opened.manifest("v1")
    opened.close()
    assert len(registry.requests("/token")) == 2


def test_a_token_is_renewed_before_it_ends(registry: FakeRegistry) -> None:
    registry.auth, registry.token_life_s = "bearer", 1
    opened = session(registry)
    opened.manifest("v1")
    opened.manifest("v1")
    opened.close()
    assert len(registry.requests("/token")) == 2


def test_a_foreign_realm_never_sees_the_credential(registry: FakeRegistry, stranger: FakeRegistry) -> None:
    registry.auth, registry.users = "bearer", USER
    registry.realm = f"http://localhost:{stranger.host.rpartition(':')[2]}/token"
    opened = session(registry, credential(registry))
    with pytest.raises((Unauthorized, Forbidden)):
        opened.manifest("v1")
    opened.close()
    assert all("authorization" not in seen.headers for seen in stranger.seen)


@pytest.mark.parametrize("realm", ["ftp://example.com/", "", "http://user:password@example.com/token"])
def test_a_realm_that_is_no_plain_url_is_refused(registry: FakeRegistry, realm: str) -> None:
    registry.auth, registry.realm = "bearer", realm
    opened = session(registry, credential(registry))
    with pytest.raises((Unauthorized, SourceUnavailable)):
        opened.manifest("v1")
    opened.close()


@pytest.mark.parametrize(
    ("realm", "registry_origin", "shown"),
    [
        ("https://registry.example.com/token", Origin("https", "registry.example.com", 443), True),
        ("https://auth.docker.io/token", Origin("https", "registry-1.docker.io", 443), True),
        ("https://gitlab.example.com/jwt", Origin("https", "registry.example.com", 5050), True),
        ("https://attacker.net/token", Origin("https", "registry.example.com", 443), False),
        ("https://attacker.co.uk/token", Origin("https", "registry.co.uk", 443), False),
        ("http://registry.example.com/token", Origin("https", "registry.example.com", 443), False),
        ("http://registry.example.com/token", Origin("http", "registry.example.com", 80), True),
        ("http://auth.example.com/token", Origin("http", "registry.example.com", 80), False),
        ("https://10.0.0.2/token", Origin("https", "10.0.0.1", 443), False),
        ("https://localhost/token", Origin("https", "registry", 443), False),
    ],
)
def test_a_credential_is_shown_within_the_registrys_domain_only(
    realm: str, registry_origin: Origin, shown: bool
) -> None:
    assert may_see_credential(parse_url(realm), registry=registry_origin) is shown


def test_several_challenges_in_one_header() -> None:
    header = 'Basic realm="a, \\"b\\"", Bearer realm="https://x/token",service=y,scope="repository:z:pull,push"'
    assert parse_challenges(header) == [
        Challenge("basic", {"realm": 'a, "b"'}),
        Challenge("bearer", {"realm": "https://x/token", "service": "y", "scope": "repository:z:pull,push"}),
    ]


@pytest.mark.parametrize("header", ["", "=", ",,,", '"', "Bearer", "Bearer realm", "\u00e9"])
def test_a_malformed_challenge_means_little(header: str) -> None:
    assert all(challenge.parameters.get("realm") is None for challenge in parse_challenges(header))


def test_no_secret_in_a_repr() -> None:
    secret = Credential("host", username="u", password="hunter2", identity_token="hunter3")
    assert "hunter" not in repr(SourceOptions(credential=secret))
