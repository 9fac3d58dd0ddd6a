"""TLS between peers: version 1.3, both sides with their key, and nobody trusted but by the hash of it."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cache.exchange.authority.identity import Identity, authority, key_of_certificate


@dataclass(frozen=True, slots=True)
class PeerTls:
    """One node's two sides. For any thread."""

    identity: Identity
    server: ssl.SSLContext = field(init=False, repr=False)
    client: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        server = _context(ssl.PROTOCOL_TLS_SERVER, self.identity)
        server.num_tickets = 0  # a resumed session would carry over the identity of an earlier one
        object.__setattr__(self, "server", server)
        object.__setattr__(self, "client", _context(ssl.PROTOCOL_TLS_CLIENT, self.identity))

    def connect(self, sock: socket.socket, *, key: str) -> ssl.SSLSocket:
        """Shake hands with the server that has this key. Raises ssl.SSLError; then the socket is closed."""
        secured = self.client.wrap_socket(sock)
        try:
            found = peer_key(secured)
            if found != key:
                raise ssl.SSLCertVerificationError(
                    f"expected the server with key {key[:16]}, found {found[:16] or 'none'}"
                )
        except BaseException:
            secured.close()
            raise
        return secured


def peer_key(secured: ssl.SSLSocket | ssl.SSLObject) -> str:
    """The hash of the other side's key; empty where it showed none of the kind that we use."""
    try:
        return key_of_certificate(secured.getpeercert(binary_form=True) or b"")
    except ValueError:
        return ""


def _context(protocol: int, identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names mean nothing here, the key does
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority())
    # The ssl module reads files only; this one has no name, so that the key does not come to rest on a disk.
    descriptor = os.memfd_create("warmset-peer")
    try:
        os.write(descriptor, identity.certificate + identity.private_pem)
        context.load_cert_chain(Path(f"/proc/self/fd/{descriptor}"))
    finally:
        os.close(descriptor)
    return context
