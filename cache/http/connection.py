"""One connection: dial (through a proxy where one is set), send a request, read the head of the answer."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from api.errors import Forbidden, SourceUnavailable
from cache.http.guard import Reach, reach_of
from cache.http.network import Network, Proxy, tls_context
from cache.http.response import MAX_HEAD_BYTES, Pace, Response, parse_head
from cache.http.url import Origin, Url

if TYPE_CHECKING:
    import ssl

_RECEIVE_BYTES = 4 << 20  # asked of the kernel, which caps it at net.core.rmem_max
_SEND_PIECE = 1 << 20
_MAX_ADDRESSES = 8  # of one name: each may cost a time limit


@dataclass(frozen=True, slots=True)
class FileBody:
    """``size`` bytes of an open file from ``offset``, sent without passing through Python where that is possible."""

    file: BinaryIO
    offset: int
    size: int


Body = bytes | FileBody
_AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as getaddrinfo gives it


class Connection:
    """A connected socket. One request at a time, owned by one thread; only ``abort`` may come from another."""

    def __init__(self, sock: socket.socket, *, network: Network, proxy: Proxy | None) -> None:
        self._sock = sock
        self._network = network
        self._proxy = proxy  # set where requests go to a proxy in absolute form
        self.used = False
        self.idle = True  # no answer of it is still being read

    def request(self, method: str, url: Url, headers: Mapping[str, str], body: Body | None) -> Response:
        """Send one request and read the answer's head.

        Raises OSError when the connection fails, SourceUnavailable when the answer is not HTTP.
        """
        target = url.full if self._proxy else url.target
        lines = [f"{method} {target} HTTP/1.1", f"Host: {url.origin.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if self._proxy and self._proxy.authorization:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        if body is not None:
            lines.append(f"Content-Length: {len(body) if isinstance(body, bytes) else body.size}")
        elif method in ("POST", "PUT", "PATCH"):
            lines.append("Content-Length: 0")
        if any("\r" in line or "\n" in line for line in lines):
            raise SourceUnavailable("a request's header would hold a line break")
        self.used, self.idle = True, False
        self._send("\r\n".join([*lines, "", ""]).encode("latin-1"), body)
        return self._answer(method)

    def _send(self, head: bytes, body: Body | None) -> None:
        try:
            if body is None or isinstance(body, bytes):
                self._sock.sendall(head + (body or b""))
            else:
                self._sock.sendall(head)
                _send_file(self._sock, body)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a body answers and closes: its answer may already be here, and says more.
            if body is None:
                raise

    def _answer(self, method: str) -> Response:
        pace = Pace(self._network.stall_s, self._network.stall_bytes)
        data = bytearray()
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > MAX_HEAD_BYTES:
                    raise SourceUnavailable("the server's answer has an endless head")
                started = pace.clock()
                piece = self._sock.recv(MAX_HEAD_BYTES)
                pace.count(started, len(piece))
                if not piece:
                    raise ConnectionResetError("the connection was closed before an answer")
                data += piece
                continue
            head = parse_head(bytes(data[:end]))
            del data[: end + 4]
            if head.status >= 200 or head.status == 101:
                break
        has_body = method != "HEAD" and head.status not in (204, 304)
        return Response(head, self._sock, left=bytes(data), has_body=has_body, pace=pace, on_end=self._ended)

    def _ended(self, reusable: bool) -> None:
        self.idle = reusable
        if not reusable:
            self.close()

    def close(self) -> None:
        self.idle = False
        with contextlib.suppress(OSError):
            self._sock.close()

    def abort(self) -> None:
        """Wake the owner out of a blocking call: its next read or write fails. Callable from any thread."""
        with contextlib.suppress(OSError):
            # A TLS socket's own method ends TLS first, and the owner would take what is encrypted for content.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)


def dial(origin: Origin, *, network: Network, reach: Reach) -> Connection:
    """Connect to ``origin``, at none of its addresses that lies further inside than ``reach``.

    A proxy connects by itself, and its own rules decide where to; a name is then judged by what it means here, where
    it means anything. Raises Forbidden, or SourceUnavailable for every way in which connecting can fail.
    """
    proxy = network.proxy_for(origin)
    try:
        if proxy is None:
            sock = _connect(_addresses(origin, reach=reach), network=network)
        else:
            with contextlib.suppress(socket.gaierror):
                _addresses(origin, reach=reach)
            there = Origin("http", proxy.host, proxy.port)
            sock = _connect(_addresses(there, reach=Reach.LOCAL), network=network)
        if origin.scheme == "https":
            if proxy is not None:
                _tunnel(sock, origin, proxy=proxy)
            secure = network.secure or partial(_by_authority, origin=origin, network=network)
            sock = secure(sock)
        sock.settimeout(network.stall_s)
    except OSError as error:  # also ssl.SSLError and socket.gaierror
        via = f" through the proxy {proxy.host}:{proxy.port}" if proxy else ""
        raise SourceUnavailable(f"cannot connect to {origin}{via}: {error}", hint=_hint(error, origin)) from error
    absolute = proxy if proxy is not None and origin.scheme == "http" else None
    return Connection(sock, network=network, proxy=absolute)


def _by_authority(sock: socket.socket, *, origin: Origin, network: Network) -> ssl.SSLSocket:
    return tls_context(network.ca_file, network.ca_dir).wrap_socket(sock, server_hostname=origin.host)


def _hint(error: OSError, origin: Origin) -> str:
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text or "record layer failure" in text:
        return f"if {origin.authority} has no TLS, say so with --plain-http"
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "set SSL_CERT_FILE to the certificate authority of this host"
    if isinstance(error, socket.gaierror):
        return "check the host's name; behind a proxy, set HTTPS_PROXY"
    if isinstance(error, ConnectionRefusedError):
        return "check the port, and whether it runs"
    return "check the network on the way there; behind a proxy, set HTTPS_PROXY"


def _addresses(origin: Origin, *, reach: Reach) -> Sequence[_AddrInfo]:
    """What the name means now, and may: these very addresses are connected to, so that no second answer matters."""
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    allowed = [info for info in found if reach_of(str(info[4][0])) <= reach]
    if not allowed:
        raise Forbidden(
            f"{origin} lies where nothing named from outside may lead: in a private network, or on this machine",
            hint="an administrator can list the host by its name (docs/security.md)",
        )
    return allowed[:_MAX_ADDRESSES]


def _connect(addresses: Sequence[_AddrInfo], *, network: Network) -> socket.socket:
    problem: OSError | None = None
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(network.connect_timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem or OSError("the name has no address")


def _tunnel(sock: socket.socket, origin: Origin, *, proxy: Proxy) -> None:
    """CONNECT (RFC 9110 §9.3.6). Read byte by byte up to the empty line: what follows belongs to TLS."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
    data = bytearray()
    while not data.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        if not piece or len(data) > MAX_HEAD_BYTES:
            raise ConnectionResetError("the proxy closed the connection")
        data += piece
    status = parse_head(bytes(data[:-4])).status
    if status != 200:
        raise ConnectionRefusedError(f"the proxy answered {status}")


def _send_file(sock: socket.socket, body: FileBody) -> None:
    if type(sock) is socket.socket:
        sent = sock.sendfile(body.file, offset=body.offset, count=body.size)
        if sent != body.size:
            raise SourceUnavailable("a file became shorter while it was sent")
        return
    # TLS: sendfile of the standard library would go in 8 KiB pieces.
    body.file.seek(body.offset)
    buffer = memoryview(bytearray(_SEND_PIECE))
    todo = body.size
    while todo:
        got = body.file.readinto(buffer[: min(todo, len(buffer))])  # type: ignore[attr-defined]
        if not got:
            raise SourceUnavailable("a file became shorter while it was sent")
        sock.sendall(buffer[:got])
        todo -= got
