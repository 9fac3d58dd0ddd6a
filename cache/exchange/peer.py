"""How one agent reads from another: chunks by the OCI pull API, and the other's state.

    GET /v2/warmset/<exchange>/blobs/<digest>   Range   -> 206 | 409 StateMessage: it leaves this chunk to others | 404
    GET /v2/warmset/<exchange>/manifests/<digest>       -> the source's manifest, as it pulled it | 404
    GET /exchange/v1/<exchange>                         -> StateMessage | 404: not started, or nothing of it here

A request for a chunk is held while the other fetches it. The name of the repository is the exchange's id, which stands
for a revision and the place it comes from: bytes are shared only within the place that they were got through.
"""

from __future__ import annotations

import msgspec

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.view import State
from cache.http.client import Client
from cache.http.network import Network
from cache.http.ranges import ByteRange, check_partial
from cache.http.response import Response
from cache.http.url import Url, parse_url
from cache.sources.oci.manifest import MAX_MANIFEST_BYTES

LIVENESS_S = 3.0  # a peer that does not answer a question about its state for so long is taken for dead
HOLD_HEADER = "Warmset-Hold"  # the asker takes part in the exchange and waits for a chunk that is not here yet
_MAX_STATE_BYTES = 1 << 20
_NETWORK = Network(connect_timeout_s=LIVENESS_S, stall_s=10.0)  # no proxy stands between the nodes of a group
_WATCH = Network(connect_timeout_s=LIVENESS_S, stall_s=LIVENESS_S)


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

    def __init__(self, address: str, *, exchange: str, chunks: int) -> None:
        self._origin = parse_url(f"http://{address}/").origin
        self._exchange = exchange
        self._chunks = chunks
        self._client = Client(_NETWORK)

    def open(self, digest: Digest, *, size: int, start: int, stop: int) -> Response:
        """Raises Refused, Busy, SourceUnavailable or OSError."""
        asked = ByteRange(start, stop)
        url = Url(self._origin, f"/v2/warmset/{self._exchange}/blobs/{digest}")
        response = self._client.request("GET", url, headers={"Range": asked.header, HOLD_HEADER: "1"})
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
        self._client.abort()

    def close(self) -> None:
        self._client.close()


class PeerWatch:
    """Asks one peer for its state. Owned by one thread; only ``abort`` may come from another."""

    def __init__(self, address: str, *, exchange: str, chunks: int) -> None:
        self._url = Url(parse_url(f"http://{address}/").origin, f"/exchange/v1/{exchange}")
        self._chunks = chunks
        self._client = Client(_WATCH)

    def state(self) -> State | None:
        """None where the peer has not started. Raises SourceUnavailable or OSError where it does not answer."""
        response = self._client.request("GET", self._url)
        try:
            body = response.read(_MAX_STATE_BYTES)
        finally:
            response.close()
        if response.status == 404:
            return None
        if response.status != 200:
            raise SourceUnavailable(f"{self._url.origin} answers {response.status}")
        return read_state(body, chunks=self._chunks)

    def abort(self) -> None:
        self._client.abort()

    def close(self) -> None:
        self._client.close()


def manifest_of_peer(address: str, *, exchange: str, digest: Digest) -> bytes | None:
    """The source's manifest, not checked; None where the peer has none. Raises SourceUnavailable or OSError."""
    client = Client(_WATCH)
    try:
        response = client.request(
            "GET", Url(parse_url(f"http://{address}/").origin, f"/v2/warmset/{exchange}/manifests/{digest}")
        )
        body = response.read(MAX_MANIFEST_BYTES)
    finally:
        client.close()
    return body if response.status == 200 else None


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
