"""A node's key: kept to itself, and what TLS between peers goes by."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.errors import InvalidRequest
from cache.exchange.authority.identity import Identity, read, read_or_make
from cache.exchange.authority.tls import PeerTls, peer_key


def a_node() -> PeerTls:
    return PeerTls(Identity(Ed25519PrivateKey.generate()))


def test_a_node_keeps_its_key_to_itself_and_has_it_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "peer.key"
    mask = os.umask(0)
    try:
        made = read_or_make(path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_or_make(path).key == made.key
    assert made.private_pem.decode().splitlines()[1] not in repr(made)


def test_a_half_written_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "peer.key.new").write_bytes(b"-----BEGIN")
    assert read_or_make(tmp_path / "peer.key").key


def test_the_documented_command_makes_a_key_that_is_read(tmp_path: Path) -> None:
    command = "umask 077; openssl genpkey -algorithm ed25519 -out group.key"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert read(tmp_path / "group.key").key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "group.key"
    path.write_bytes(Identity(Ed25519PrivateKey.generate()).private_pem)
    path.chmod(mode)
    with pytest.raises(InvalidRequest) as refused:
        read(path)
    assert "chmod 600" in refused.value.hint


def test_what_is_no_key_is_refused_without_being_quoted(tmp_path: Path) -> None:
    path = tmp_path / "group.key"
    path.write_text("hunter2")
    path.chmod(0o600)
    with pytest.raises(InvalidRequest) as refused:
        read(path)
    assert "hunter2" not in str(refused.value)
    assert "openssl genpkey" in refused.value.hint


def test_a_link_is_no_key_file(tmp_path: Path) -> None:
    read_or_make(tmp_path / "peer.key")
    (tmp_path / "link").symlink_to("peer.key")
    with pytest.raises(InvalidRequest):
        read(tmp_path / "link")


def shake(server: ssl.SSLContext, connect: Callable[[socket.socket], ssl.SSLSocket]) -> tuple[str, OSError | None]:
    """The client's key as the server sees it, and what the client met."""
    ours, theirs = socket.socketpair()
    seen: list[str] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secured:
                seen.append(peer_key(secured))
                secured.sendall(b"x")
        except OSError:
            pass
        finally:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    met: OSError | None = None
    try:
        with connect(ours) as secured:
            assert secured.version() == "TLSv1.3"
            if not secured.recv(1):
                met = ConnectionResetError()
    except OSError as error:
        met = error
    finally:
        ours.close()
    thread.join(10)
    return (seen or [""])[0], met


def test_both_sides_know_each_other_by_key() -> None:
    server, client = a_node(), a_node()
    seen, met = shake(server.server, lambda sock: client.connect(sock, key=server.identity.key))
    assert (seen, met) == (client.identity.key, None)


def test_a_server_with_another_key_is_not_talked_to() -> None:
    """An address that somebody else has by now is nobody we know."""
    server, client, expected = a_node(), a_node(), a_node()
    _, met = shake(server.server, lambda sock: client.connect(sock, key=expected.identity.key))
    assert isinstance(met, ssl.SSLCertVerificationError)


def _bare_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = version
    return context


def test_a_client_without_a_certificate_gets_nothing() -> None:
    seen, met = shake(a_node().server, _bare_client(ssl.TLSVersion.TLSv1_3).wrap_socket)
    assert seen == ""
    assert met is not None


def test_an_older_tls_is_refused() -> None:
    seen, met = shake(a_node().server, _bare_client(ssl.TLSVersion.TLSv1_2).wrap_socket)
    assert seen == ""
    assert met is not None


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey ed25519 -nodes -keyout k -out c -subj /CN=warmset-agent -days 2"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True, capture_output=True)
    context = _bare_client(ssl.TLSVersion.TLSv1_3)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    seen, met = shake(a_node().server, context.wrap_socket)
    assert seen == ""
    assert met is not None
