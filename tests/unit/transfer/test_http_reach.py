"""Which addresses a connection may lead to: what was named by whom, and where it lies when it is connected to."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Forbidden, SourceUnavailable
from cache.http.client import Client
from cache.http.guard import Reach, reach_of
from cache.http.network import Network, Proxy
from cache.http.url import parse_url
from tests.support.fake_proxy import FakeProxy
from tests.support.fake_registry import FakeRegistry, Fault


@pytest.mark.parametrize(
    ("reach", "addresses"),
    [
        (Reach.PUBLIC, "8.8.8.8 1.1.1.1 2606:4700::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8"),
        (Reach.PRIVATE, "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 198.18.0.1"),
        (Reach.PRIVATE, "fc00::1 fd12:3456::1 fec0::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 2001:db8::1 240.0.0.1"),
        (Reach.LOCAL, "127.0.0.1 127.8.8.8 0.0.0.0 169.254.169.254 224.0.0.1 ::1 :: fe80::1 fe80::1%eth0 ff02::1"),
        (Reach.LOCAL, "::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1::"),
        (Reach.LOCAL, "fd00:ec2::254 fd20:ce::254 100.100.100.200 168.63.129.16 192.0.0.192 ::ffff:168.63.129.16"),
    ],
)
def test_an_address_lies_as_far_inside_as_the_worst_that_it_stands_for(reach: Reach, addresses: str) -> None:
    assert {address: reach_of(address) for address in addresses.split()} == dict.fromkeys(addresses.split(), reach)


@given(st.ip_addresses(v=4))
def test_no_ipv6_spelling_brings_an_ipv4_address_further_out(address: Any) -> None:
    packed = int(address)
    six_to_four = f"2002:{packed >> 16:x}:{packed & 0xFFFF:x}::"
    for spelling in (f"::ffff:{address}", f"64:ff9b::{address}", f"::{address}", six_to_four):
        assert reach_of(spelling) >= reach_of(str(address))


class Names:
    """What names mean, one answer after the other; the last one stays. Only this machine can be connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[list[str]]) -> None:
        self.asked: list[str] = []
        self._answers = answers
        self._system = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)
        connect = socket.socket.connect

        def near(sock: socket.socket, address: Any) -> None:
            if not address[0].startswith("127."):
                raise ConnectionRefusedError(f"nobody at {address[0]}")
            connect(sock, address)

        monkeypatch.setattr(socket.socket, "connect", near)

    def __call__(self, host: str, port: int, **more: Any) -> Any:
        answers = self._answers.get(host)
        if answers is None:
            return self._system(host, port, **more)
        self.asked.append(host)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]


def get(client: Client, text: str, **more: Any) -> bytes:
    try:
        return client.request("GET", parse_url(text), **more).read(1 << 20)
    finally:
        client.close()


def port_of(registry: FakeRegistry) -> str:
    return registry.host.partition(":")[2]


QUICK = Network(stall_s=2)


@pytest.mark.parametrize(
    ("reach", "address", "allowed"),
    [
        (Reach.PUBLIC, "127.0.0.1", False),
        (Reach.PRIVATE, "127.0.0.1", False),
        (Reach.PUBLIC, "10.0.0.1", False),
        (Reach.LOCAL, "127.0.0.1", True),
    ],
)
def test_a_name_may_only_mean_what_its_reach_allows(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, reach: Reach, address: str, allowed: bool
) -> None:
    Names(monkeypatch, inner=[[address]])
    client = Client(QUICK, reach=reach)
    if allowed:
        get(client, f"http://inner:{port_of(registry)}/v2/")
    else:
        with pytest.raises(Forbidden, match="private network") as caught:
            get(client, f"http://inner:{port_of(registry)}/v2/")
        assert address not in caught.value.message, "whoever asks need not learn what names mean inside"
    assert len(registry.seen) == int(allowed)


def test_a_name_that_comes_to_mean_another_address_is_judged_at_every_connection(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R19, rebinding: the first answer is public, the second one this machine."""
    Names(monkeypatch, rebound=[["203.0.113.7"], ["127.0.0.1"]])
    client = Client(QUICK, reach=Reach.PRIVATE)
    with pytest.raises(SourceUnavailable):  # TEST-NET-3 leads nowhere
        client.request("GET", parse_url(f"http://rebound:{port_of(registry)}/"))
    with pytest.raises(Forbidden):
        get(client, f"http://rebound:{port_of(registry)}/")
    assert registry.seen == []


def test_the_addresses_that_were_judged_are_the_ones_connected_to(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, rebound=[["127.0.0.1"], ["203.0.113.7"]])
    get(Client(QUICK), f"http://rebound:{port_of(registry)}/v2/")
    assert names.asked == ["rebound"]


def test_of_several_addresses_the_forbidden_ones_are_left_out(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, mixed=[["127.0.0.1", "203.0.113.7"]])
    with pytest.raises(SourceUnavailable, match="cannot connect"):
        get(Client(QUICK, reach=Reach.PRIVATE), f"http://mixed:{port_of(registry)}/")
    assert registry.seen == []


def test_a_hundred_addresses_do_not_cost_a_hundred_time_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, many=[[f"127.0.0.{n}" for n in range(2, 102)]])
    tried: list[object] = []

    def connect(self: socket.socket, address: object) -> None:
        tried.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(SourceUnavailable):
        get(Client(QUICK), "http://many:1/")
    assert len(tried) == 8


def test_a_name_that_means_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, nowhere=[[]])
    with pytest.raises(SourceUnavailable, match="cannot connect to http://nowhere"):
        get(Client(QUICK), "http://nowhere/")


@pytest.mark.parametrize(("reach", "allowed"), [(Reach.PUBLIC, False), (Reach.PRIVATE, True), (Reach.LOCAL, True)])
def test_a_redirect_may_lead_into_a_private_network_only_from_where_that_is_allowed(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, reach: Reach, allowed: bool
) -> None:
    names = Names(monkeypatch, inner=[["10.255.255.1"]])
    # The fake, which is on this machine, stands for a host on the open internet.
    judge = lambda address: Reach.PUBLIC if address == "127.0.0.1" else reach_of(address)  # noqa: E731
    monkeypatch.setattr("cache.http.connection.reach_of", judge)
    registry.faults = [Fault(path="/", status=307, headers={"Location": "http://inner:1/"})]
    with pytest.raises((Forbidden, SourceUnavailable)) as caught:
        get(Client(QUICK, reach=reach), f"http://{registry.host}/")
    assert names.asked == ["inner"]
    assert isinstance(caught.value, Forbidden) is not allowed


@pytest.mark.parametrize("location", ["http://127.0.0.2:1/", "http://[::1]:1/", "http://169.254.169.254/"])
def test_a_redirect_never_leads_to_this_machine_or_to_metadata(registry: FakeRegistry, location: str) -> None:
    registry.faults = [Fault(path="/", status=307, headers={"Location": location})]
    with pytest.raises(Forbidden):
        get(Client(QUICK, reach=Reach.LOCAL), f"http://{registry.host}/")


def test_a_proxy_is_not_asked_for_what_lies_inside(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, inner=[["169.254.169.254"]])
    with FakeProxy() as proxy:
        host, _, port = proxy.host.partition(":")
        through = Network(http_proxy=Proxy(host, int(port)))
        for target in ("http://inner/", "http://169.254.169.254/latest/meta-data", "http://[::ffff:a9fe:a9fe]/"):
            with pytest.raises(Forbidden):
                get(Client(through, reach=Reach.PRIVATE), target)
    assert proxy.asked == []


def test_a_name_that_only_the_proxy_knows_is_the_proxy_s_to_judge(
    registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, outside=[[]])
    host, _, port = registry.host.partition(":")
    through = Network(http_proxy=Proxy(host, int(port)))
    get(Client(through, reach=Reach.PUBLIC), "http://outside/v2/")
    assert registry.seen[0].path == "http://outside/v2/"
