"""How one agent reads from another: chunks by the OCI pull API, and the other's state.

    GET /v2/warmset/<exchange>/blobs/<digest>   Range   -> 206 | 409 StateMessage: it leaves this chunk to others | 404
    GET /v2/warmset/<exchange>/manifests/<digest>       -> the source's manifest, as it pulled it | 404
    GET /exchange/v1/<exchange>?members=<n>             -> StateMessage | 404: not started, or nothing of it here

A request for a chunk is held while the other fetches it. The name of the repository is the exchange's id, which stands
for a revision and the place it comes from: bytes are shared only within the place that they were got through. Where
members prove themselves, all of it goes over TLS, and each request carries the capability by which the asker may read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import msgspec

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.authority.access import Access
from cache.exchange.group import Contact, Group
from cache.exchange.view import State
from cache.http.client import Client
from cache.http.network import Network
from cache.http.ranges import ByteRange, check_partial
from cache.http.response import Response
from cache.http.url import Origin, Url
from cache.sources.oci.manifest import MAX_MANIFEST_BYTES

LIVENESS_S = 3.0  # a peer that does not answer a question about its state for so long is taken for dead
HOLD_HEADER = "Warmset-Hold"  # the asker takes part in the exchange and waits for a chunk that is not here yet
_MAX_STATE_BYTES = 1 << 20
_NETWORK = Network(connect_timeout_s=LIVENESS_S, stall_s=10.0)  # no proxy stands between the nodes of a group
_WATCH = Network(connect_timeout_s=LIVENESS_S, stall_s=LIVENESS_S)


class Line:
    """Requests to one member. Owned by one thread; only ``abort`` may come from another."""

    def __init__(self, contact: Contact, *, access: Access | None, network: Network) -> None:
        self.contact = contact
        self._access = access
        if access is not None:
            network = replace(network, secure=partial(access.tls.connect, key=contact.key))
        host, _, port = contact.address.rpartition(":")
        self.origin = Origin("https" if access else "http", host.strip("[]"), int(port))
        self._client = Client(network)

    def get(self, target: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """Raises SourceUnavailable or OSError."""
        shown = {"Authorization": f"Bearer {self._access.capability()}"} if self._access else {}
        return self._client.request("GET", Url(self.origin, target), headers={**shown, **(headers or {})})

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()


class StateMessage(msgspec.Struct, frozen=True):
    """A State on the wire; sets of chunks as hexadecimal numbers."""

    chunks: int
    have: str
    released: str = "0"
    resigned: bool = False
    sends: int = 0


class Refused(Exception):
    """The peer leaves the chunk to others; ``state`` says so."""

    def __init__(self, state: State) -> None:
        super().__init__("the peer leaves the chunk to others")
        self.state = state


class Busy(Exception):
    """The peer asks to be asked again."""


class PeerSession:
    """Reads chunks from one peer. Owned by one thread; only ``abort`` may come from another."""

    def __init__(self, contact: Contact, *, access: Access | None, exchange: str, chunks: int) -> None:
        self._exchange = exchange
        self._chunks = chunks
        self._line = Line(contact, access=access, network=_NETWORK)

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Response:
        """Raises Refused, Busy, SourceUnavailable or OSError."""
        asked = ByteRange(start, stop)
        target = f"/v2/warmset/{self._exchange}/blobs/{digest}"
        response = self._line.get(target, headers={"Range": asked.header, HOLD_HEADER: "1"})
        try:
            if response.status == 409:
                raise Refused(read_state(response.read(_MAX_STATE_BYTES), chunks=self._chunks))
            if response.status == 503:
                raise Busy
            check_partial(response.status, response.headers, asked=asked, size=size)
        except Exception:
            response.close()
            raise
        return response

    def abort(self) -> None:
        self._line.abort()

    def close(self) -> None:
        self._line.close()


class PeerWatch:
    """Asks one peer for its state, wherever it is by now. Owned by one thread; only ``abort`` may come from another."""

    def __init__(self, group: Group, member: str, *, exchange: str, chunks: int) -> None:
        self._group = group
        self._member = member
        self._target = f"/exchange/v1/{exchange}?members={len(group.members)}"
        self._chunks = chunks
        self._line: Line | None = None
        self._aborted = False

    def state(self) -> State | None:
        """None where the peer has not started. Raises SourceUnavailable or OSError where it does not answer."""
        contact = self._group.contacts.reach(self._member)
        if self._line is None or self._line.contact != contact:
            self.close()
            self._line = Line(contact, access=self._group.access, network=_WATCH)
            if self._aborted:  # meanwhile: it had nothing to abort yet
                self._line.abort()
        response = self._line.get(self._target)
        try:
            body = response.read(_MAX_STATE_BYTES)
        finally:
            response.close()
        if response.status == 404:
            return None
        if response.status != 200:
            raise SourceUnavailable(f"{self._line.origin} answers {response.status}")
        return read_state(body, chunks=self._chunks)

    def abort(self) -> None:
        self._aborted = True
        if self._line is not None:
            self._line.abort()

    def close(self) -> None:
        if self._line is not None:
            self._line.close()


def manifest_of_peer(contact: Contact, *, access: Access | None, exchange: str, name: str) -> bytes | None:
    """The source's manifest by its digest, or that of a tree by 64 digits, not checked; None where the peer has none.

    Raises SourceUnavailable or OSError.
    """
    line = Line(contact, access=access, network=_WATCH)
    try:
        response = line.get(f"/v2/warmset/{exchange}/manifests/{name}")
        body = response.read(MAX_MANIFEST_BYTES)
    finally:
        line.close()
    return body if response.status == 200 else None


def serves_tree(contact: Contact, *, access: Access | None, exchange: str, tree: str) -> bool:
    """Does the peer hold the whole tree (64 hex digits)? Raises SourceUnavailable or OSError."""
    line = Line(contact, access=access, network=_WATCH)
    try:
        return line.get(f"/v2/warmset/{exchange}/manifests/{tree}").status == 200
    finally:
        line.close()


def read_state(body: bytes, *, chunks: int) -> State:
    """Raises SourceUnavailable for what is no state of an exchange of so many chunks."""
    try:
        message = msgspec.json.decode(body, type=StateMessage)
        have, released = int(message.have, 16), int(message.released, 16)
    except (msgspec.DecodeError, ValueError) as error:
        raise SourceUnavailable("a peer tells a state that cannot be read") from error
    if message.chunks != chunks or have < 0 or released < 0 or (have | released) >> chunks or message.sends < 0:
        raise SourceUnavailable(f"a peer tells the state of another exchange, of {message.chunks} chunks")
    return State(have, released, message.resigned, message.sends)


def write_state(state: State, *, chunks: int) -> bytes:
    return msgspec.json.encode(
        StateMessage(chunks, f"{state.have:x}", f"{state.released:x}", state.resigned, state.sends)
    )
