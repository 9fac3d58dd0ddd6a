"""The client's rules: where credentials go, where redirects may lead, how proxies and certificates are used."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.errors import Forbidden, SourceUnavailable
from cache.http.client import Client
from cache.http.network import Network, Proxy
from cache.http.url import parse_url
from tests.support.certificates import make_server_certificate
from tests.support.fake_proxy import FakeProxy
from tests.support.fake_registry import FakeRegistry, Fault

SECRET = {"Authorization": "Bearer secret"}


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def client() -> Iterator[Client]:
    opened = Client(Network(connect_timeout_s=2, stall_s=2))
    yield opened
    opened.close()


def url(registry: FakeRegistry, path: str = "/v2/m/blobs/x") -> str:
    return f"{registry.scheme}://{registry.host}{path}"


def redirect(location: str, *, times: int = 1) -> Fault:
    return Fault(status=307, headers={"Location": location}, times=times)


def get(client: Client, text: str, **options: object) -> tuple[int, bytes]:
    response = client.request("GET", parse_url(text), **options)  # type: ignore[arg-type]
    return response.status, response.read(1 << 20)


def test_connections_are_kept(registry: FakeRegistry, client: Client) -> None:
    digest = registry.add_blob(b"content")
    connections = []
    for _ in range(3):
        assert get(client, url(registry, f"/v2/m/blobs/{digest}")) == (200, b"content")
        connections.append(client._connections[parse_url(url(registry)).origin])
    assert len(set(map(id, connections))) == 1


def test_a_kept_connection_that_the_server_closed_costs_nothing(registry: FakeRegistry, client: Client) -> None:
    digest = registry.add_blob(b"content")
    path = f"/v2/m/blobs/{digest}"
    get(client, url(registry, path))
    client._connections[parse_url(url(registry)).origin]._sock.shutdown(2)
    assert get(client, url(registry, path)) == (200, b"content")


def test_a_redirect_is_followed(registry: FakeRegistry, client: Client) -> None:
    digest = registry.add_blob(b"content")
    registry.faults = [redirect(f"/v2/m/blobs/{digest}")]
    assert get(client, url(registry)) == (200, b"content")


def test_a_credential_stays_with_its_origin(registry: FakeRegistry, other: FakeRegistry, client: Client) -> None:
    digest = other.add_blob(b"content")
    registry.faults = [redirect(url(other, f"/v2/m/blobs/{digest}?signature=x"))]
    assert get(client, url(registry), headers=SECRET) == (200, b"content")
    assert registry.seen[0].headers["authorization"] == "Bearer secret"
    assert "authorization" not in other.seen[0].headers


def test_redirects_end(registry: FakeRegistry, client: Client) -> None:
    registry.faults = [redirect("/v2/m/blobs/x", times=20)]
    with pytest.raises(SourceUnavailable, match="more than 5"):
        get(client, url(registry))
    assert len(registry.seen) == 6


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://localhost:1/",
        "http://[::1]:1/",
        "http://0.0.0.0:1/",
        "http://224.0.0.1/",
        "file:///etc/passwd",
        "ftp://example.com/",
        "http://user:password@example.com/",
        "http://[bad/",
    ],
)
def test_a_redirect_to_where_none_should_lead_is_refused(registry: FakeRegistry, client: Client, location: str) -> None:
    registry.faults = [redirect(location)]
    with pytest.raises((Forbidden, SourceUnavailable)):
        get(client, url(registry))


def test_an_error_never_shows_a_signed_query(registry: FakeRegistry, client: Client) -> None:
    assert "secret" not in str(parse_url(f"{url(registry)}?signature=secret"))


def test_a_header_that_holds_a_line_break_is_refused(registry: FakeRegistry, client: Client) -> None:
    with pytest.raises(SourceUnavailable):
        get(client, url(registry), headers={"X": "a\r\nY: b"})
    assert registry.seen == []


def test_an_endless_answer_is_refused(registry: FakeRegistry, client: Client) -> None:
    digest = registry.add_blob(bytes(2000))
    response = client.request("GET", parse_url(url(registry, f"/v2/m/blobs/{digest}")))
    with pytest.raises(SourceUnavailable, match="longer than 1000"):
        response.read(1000)


def test_a_proxy_carries_plain_requests(registry: FakeRegistry) -> None:
    digest = registry.add_blob(b"content")
    with FakeProxy() as proxy:
        client = Client(Network(http_proxy=_proxy(proxy, "Basic dTpw")))
        assert get(client, url(registry, f"/v2/m/blobs/{digest}")) == (200, b"content")
        client.close()
    assert proxy.asked == [f"GET {url(registry)[: -len('/v2/m/blobs/x')]}/v2/m/blobs/{digest} HTTP/1.1"]
    assert b"Proxy-Authorization: Basic dTpw" in proxy.heads[0]


def test_no_proxy_is_direct(registry: FakeRegistry) -> None:
    digest = registry.add_blob(b"content")
    with FakeProxy() as proxy:
        client = Client(Network(http_proxy=_proxy(proxy), no_proxy=("127.0.0.0/8",)))
        assert get(client, url(registry, f"/v2/m/blobs/{digest}")) == (200, b"content")
        client.close()
    assert proxy.asked == []


@pytest.fixture
def trusted(tmp_path: Path) -> Iterator[tuple[FakeRegistry, Path]]:
    certificate, context = make_server_certificate(tmp_path)
    with FakeRegistry(tls=context) as running:
        yield running, certificate


def test_a_certificate_authority_of_the_users_own_is_trusted(trusted: tuple[FakeRegistry, Path]) -> None:
    registry, certificate = trusted
    digest = registry.add_blob(b"content")
    client = Client(Network(ca_file=str(certificate)))
    assert get(client, url(registry, f"/v2/m/blobs/{digest}")) == (200, b"content")
    client.close()


def test_an_unknown_certificate_is_refused_with_a_hint(trusted: tuple[FakeRegistry, Path]) -> None:
    registry, _ = trusted
    client = Client(Network())
    with pytest.raises(SourceUnavailable) as caught:
        get(client, url(registry))
    assert "SSL_CERT_FILE" in caught.value.hint


def test_who_is_woken_out_of_a_read_over_tls_never_takes_what_is_encrypted_for_content(
    trusted: tuple[FakeRegistry, Path],
) -> None:
    registry, certificate = trusted
    digest = registry.add_blob(bytes(8 << 20))
    client = Client(Network(ca_file=str(certificate)))
    response = client.request("GET", parse_url(url(registry, f"/v2/m/blobs/{digest}")))
    buffer = memoryview(bytearray(1 << 20))
    assert response.readinto(buffer[:1]) == 1  # more lies in the kernel by now
    client.abort()
    taken = bytearray()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        while got := response.readinto(buffer):
            taken += buffer[:got]
    assert not any(taken)
    client.close()


def test_a_proxy_tunnels_tls_and_sees_no_credential(trusted: tuple[FakeRegistry, Path]) -> None:
    registry, certificate = trusted
    digest = registry.add_blob(b"content")
    with FakeProxy() as proxy:
        client = Client(Network(ca_file=str(certificate), https_proxy=_proxy(proxy)))
        assert get(client, url(registry, f"/v2/m/blobs/{digest}"), headers=SECRET) == (200, b"content")
        client.close()
    assert proxy.asked == [f"CONNECT {registry.host} HTTP/1.1"]
    assert b"secret" not in b"".join(proxy.heads)


def test_a_redirect_from_https_to_http_is_refused(trusted: tuple[FakeRegistry, Path], registry: FakeRegistry) -> None:
    secure, certificate = trusted
    secure.faults = [redirect(url(registry))]
    client = Client(Network(ca_file=str(certificate)))
    with pytest.raises(SourceUnavailable, match="https to http"):
        get(client, url(secure))
    client.close()
    assert registry.seen == []


def _proxy(proxy: FakeProxy, authorization: str = "") -> Proxy:
    host, _, port = proxy.host.partition(":")
    return Proxy(host, int(port), authorization)


def test_secrets_stay_out_of_reprs() -> None:
    assert "dTpw" not in repr(Network(http_proxy=Proxy("h", 1, "Basic dTpw")))
