"""Heads, ranges, URLs and proxies, as values."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import InvalidRequest, SourceUnavailable
from cache.http.client import Client
from cache.http.network import Network, network_from_env
from cache.http.ranges import ByteRange, RangesIgnored, check_partial
from cache.http.response import MAX_HEAD_BYTES, Pace, parse_head
from cache.http.url import Origin, parse_url


def test_a_head_is_read_with_repeated_fields_joined() -> None:
    head = parse_head(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nX: a\r\nx:  b ")
    assert (head.status, head.content_length, head.headers["x"], head.keep_alive) == (206, 5, "a, b", True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 200 OK\r\nno colon",
        b"HTTP/1.1 200 OK\r\n folded: x",
        b"HTTP/1.1 200 OK\r\nname : x",
    ],
)
def test_a_malformed_head_is_refused(data: bytes) -> None:
    with pytest.raises(SourceUnavailable):
        parse_head(data)


@given(st.binary(max_size=200))
def test_no_head_breaks_the_parser(data: bytes) -> None:
    with contextlib.suppress(SourceUnavailable):
        parse_head(b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.parametrize("value", ["-1", "1, 2", "0x10", "1e3", "", "\u0661"])
def test_a_length_that_is_no_number_is_refused(value: str) -> None:
    head = parse_head(f"HTTP/1.1 200 OK\r\nContent-Length: {value}".encode("latin-1", "replace"))
    with pytest.raises(SourceUnavailable):
        _ = head.content_length


@given(start=st.integers(0, 2**40), length=st.integers(1, 2**40), extra=st.integers(0, 2**40))
def test_exactly_the_range_that_was_asked_for_is_accepted(start: int, length: int, extra: int) -> None:
    asked, size = ByteRange(start, start + length), start + length + extra
    right = f"bytes {start}-{start + length - 1}/{size}"
    check_partial(206, {"content-range": right, "content-length": str(length)}, asked=asked, size=size)
    for wrong in (
        f"bytes {start + 1}-{start + length - 1}/{size}",
        f"bytes {start}-{start + length}/{size}",
        f"bytes {start}-{start + length - 1}/{size + 1}",
    ):
        with pytest.raises(SourceUnavailable):
            check_partial(206, {"content-range": wrong}, asked=asked, size=size)


def test_a_whole_body_for_a_range_is_told_apart() -> None:
    with pytest.raises(RangesIgnored):
        check_partial(200, {}, asked=ByteRange(0, 5), size=10)


def test_a_peer_that_trickles_is_given_up() -> None:
    pace = Pace(within_s=30, at_least=1000, clock=lambda: 10.0)  # each read takes ten seconds
    for _ in range(3):
        pace.count(0.0, 1)
    with pytest.raises(TimeoutError):
        pace.count(0.0, 1)


def test_a_slow_peer_that_keeps_the_pace_is_kept() -> None:
    clock = [0.0]
    pace = Pace(within_s=30, at_least=1000, clock=lambda: clock[0])
    for _ in range(100):
        clock[0] += 20
        pace.count(clock[0] - 20, 1000)


@pytest.mark.parametrize(
    ("rule", "direct"),
    [
        ("registry.example.com", True),
        ("example.com", True),
        (".example.com", True),
        ("*", True),
        ("registry.example.com:5000", True),
        ("registry.example.com:5001", False),
        ("ample.com", False),
        ("10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_hosts_and_their_subdomains(rule: str, direct: bool) -> None:
    network = network_from_env({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": f"other, {rule}"})
    assert (network.proxy_for(Origin("https", "registry.example.com", 5000)) is None) is direct


def test_no_proxy_takes_address_ranges() -> None:
    network = network_from_env({"http_proxy": "proxy:3128", "no_proxy": "10.0.0.0/8"})
    assert network.proxy_for(Origin("http", "10.1.2.3", 80)) is None
    assert network.proxy_for(Origin("http", "11.1.2.3", 80)) is not None


def test_a_proxy_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        network_from_env({"HTTPS_PROXY": "socks5://proxy:1080"})


def test_default_ports_are_left_out_of_the_host_header() -> None:
    assert parse_url("https://Example.com/x?y=1").origin.authority == "example.com"
    assert parse_url("https://[::1]:8443/").origin.authority == "[::1]:8443"


class Script:
    """A server that answers every connection with the same bytes, whatever is asked."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = parse_url(f"http://127.0.0.1:{self._listener.getsockname()[1]}/")
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(self._answer)
        except OSError:
            return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def client() -> Iterator[Client]:
    opened = Client(Network(stall_s=2))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: x\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
    ids=["chunked", "until closed", "after a provisional answer", "without content"],
)
def test_bodies_are_framed_as_their_head_says(client: Client, answer: bytes, body: bytes) -> None:
    server = Script(answer)
    assert client.request("GET", server.url).read(1000) == body
    server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD_BYTES + 65536),
        b"not HTTP at all\r\n\r\n",
    ],
    ids=["malformed chunk", "other encoding", "endless head", "no HTTP"],
)
def test_a_malformed_answer_is_refused(client: Client, answer: bytes) -> None:
    server = Script(answer)
    with pytest.raises((SourceUnavailable, ConnectionError)):
        client.request("GET", server.url).read(1000)
    server.close()
