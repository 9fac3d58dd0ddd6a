"""A registry on loopback that misbehaves on request.

It serves blobs and manifests as the distribution spec says, keeps account of every request, and applies faults: each
names the requests it is for and how often, and is used up in order. Uploads are not served; the real registry is there
for that.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from api.digest import Digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MODEL_MANIFEST = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
RAW = "application/vnd.cncf.model.weight.v1.raw"
TAR = "application/vnd.cncf.model.weight.v1.tar"
FILEPATH = "org.cncf.model.filepath"


@dataclass
class Fault:
    """What to do instead of the right thing to requests whose path holds ``path``.

    ``status`` answers with it; the others change how a body is sent: cut it after so many bytes (``reset`` by RST
    instead of FIN), ``stall`` there until the registry stops, ``flip`` one byte, ``ignore_range``, or send ``headers``
    over the right ones (None leaves one out).
    """

    path: str = "/blobs/"
    times: int = 1
    method: str = "GET"
    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    reset: bool = False
    stall: bool = False
    flip: int | None = None
    ignore_range: bool = False


@dataclass
class Seen:
    """One request: ``range`` as asked, ``status`` and ``sent`` body bytes as answered so far; ``port`` tells the
    connection that it came over."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0
    port: int = 0

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class FakeRegistry:
    """Use as a context manager. ``host`` is what a reference names."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self._server = (_Server6 if ":" in address else _Server)((address, 0), _Handler)
        self._server.registry = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.host = f"{f'[{address}]' if ':' in address else address}:{self._server.server_address[1]}"
        self.scheme = "https" if tls else "http"
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        # Authentication: none, "basic" or "bearer". The realm may be pointed elsewhere.
        self.auth = ""
        self.users: dict[str, str] = {}
        self.realm = f"{self.scheme}://{self.host}/token"
        self.tokens: set[str] = set()
        self.token_life_s = 300

    def __enter__(self) -> FakeRegistry:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # -- content

    def add_blob(self, content: bytes) -> Digest:
        digest = Digest(hashlib.sha256(content).hexdigest())
        self.blobs[str(digest)] = content
        return digest

    def add_manifest(self, repository: str, tag: str, document: object, *, content_type: str = OCI_MANIFEST) -> Digest:
        """``document`` is JSON, or bytes to be sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        digest = Digest(hashlib.sha256(body).hexdigest())
        self.manifests[repository, tag] = self.manifests[repository, str(digest)] = (content_type, body)
        return digest

    def add_model(self, repository: str, tag: str, files: Mapping[str, bytes]) -> Digest:
        """A ModelPack artifact with one raw layer a file; returns the manifest's digest."""
        return self.add_manifest(repository, tag, self.model(files))

    def model(self, files: Mapping[str, bytes], *, archives: tuple[bytes, ...] = ()) -> dict[str, Any]:
        """The manifest of such an artifact, to be changed before it is added."""
        layers: list[dict[str, Any]] = [
            {
                "mediaType": RAW,
                "digest": str(self.add_blob(content)),
                "size": len(content),
                "annotations": {FILEPATH: path},
            }
            for path, content in files.items()
        ]
        layers += [{"mediaType": TAR, "digest": str(self.add_blob(tar)), "size": len(tar)} for tar in archives]
        return {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": MODEL_MANIFEST,
            "config": {"mediaType": MODEL_CONFIG, "digest": str(self.add_blob(b"{}")), "size": 2},
            "layers": layers,
        }

    # -- account

    def requests(self, path: str = "", *, method: str = "") -> list[Seen]:
        with self.lock:
            return [seen for seen in self.seen if path in seen.path and method in ("", seen.method)]

    def blob_bytes(self) -> int:
        """Body bytes of blobs that were sent so far."""
        return sum(seen.sent for seen in self.requests("/blobs/"))

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.path in path and fault.method == method:
                    fault.times -= 1
                    return fault
        return None

    def refuses(self, authorization: str) -> bool:
        if self.auth == "basic":
            return not self.knows(authorization)
        return self.auth == "bearer" and authorization.removeprefix("Bearer ") not in self.tokens

    def knows(self, authorization: str) -> bool:
        try:
            user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        except ValueError:
            return False
        return self.users.get(user) == password


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: FakeRegistry

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the play."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 20
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.form = self.rfile.read(length).decode()
        self._answer()

    def log_message(self, *args: object) -> None:
        """Silent: tests look at ``seen``."""

    def _answer(self) -> None:
        registry = self.server.registry
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, self.path, headers, port=self.client_address[1])
        with registry.lock:
            registry.seen.append(self.seen)
        path = urlsplit(self.path).path
        fault = registry.take_fault(self.command, self.path)
        if fault is not None and fault.status is not None:
            return self._send(fault.status, {k: v for k, v in fault.headers.items() if v is not None}, fault.body, None)
        if path == "/token":
            return self._token()
        if registry.refuses(self.headers.get("Authorization", "")):
            return self._challenge()
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            found = registry.manifests.get((match[1], match[2]))
            if found is None:
                return self._missing("MANIFEST_UNKNOWN")
            content_type, body = found
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            return self._send(200, {"Content-Type": content_type, "Docker-Content-Digest": digest}, body, fault)
        if match := re.fullmatch(r"/v2/(.+)/blobs/([^/]+)", path):
            blob = registry.blobs.get(match[2])
            return self._missing("BLOB_UNKNOWN") if blob is None else self._blob(blob, fault)
        return self._missing("NAME_UNKNOWN")

    def _blob(self, blob: bytes, fault: Fault | None) -> None:
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
        if fault is not None and fault.flip is not None:
            at = fault.flip
            blob = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        if asked is None or (fault is not None and fault.ignore_range):
            return self._send(200, {"Content-Type": "application/octet-stream"}, blob, fault)
        first, last = int(asked[1]), min(int(asked[2]), len(blob) - 1)
        if first >= len(blob):
            return self._send(416, {"Content-Range": f"bytes */{len(blob)}"}, b"", fault)
        content_range = f"bytes {first}-{last}/{len(blob)}"
        return self._send(206, {"Content-Range": content_range}, blob[first : last + 1], fault)

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, fault: Fault | None) -> None:
        sent: dict[str, str | None] = {"Content-Length": str(len(body)), **headers, **(fault.headers if fault else {})}
        self.seen.status = status
        self.send_response(status)
        for name, value in sent.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._body(body, fault)

    def _body(self, body: bytes, fault: Fault | None) -> None:
        stop = len(body) if fault is None or fault.cut_after is None else min(fault.cut_after, len(body))
        with contextlib.suppress(OSError):
            while self.seen.sent < stop:
                piece = body[self.seen.sent : min(self.seen.sent + 65536, stop)]
                self.seen.sent += len(piece)  # before the client can have it, so that a test never counts too little
                self.wfile.write(piece)
        if fault is not None and fault.stall:
            self.server.registry.released.wait(20)
        if stop < len(body):
            self._drop(reset=fault is not None and fault.reset)

    def _drop(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR) if not reset else self.connection.close()

    def _missing(self, code: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": "not here"}]}).encode()
        return self._send(404, {"Content-Type": "application/json"}, body, None)

    def _challenge(self) -> None:
        registry = self.server.registry
        value = 'Basic realm="test"'
        if registry.auth == "bearer":
            value = f'Bearer realm="{registry.realm}",service="{registry.host}",scope="repository:any:pull"'
        return self._send(401, {"WWW-Authenticate": value}, b'{"errors":[{"code":"UNAUTHORIZED"}]}', None)

    def _token(self) -> None:
        registry = self.server.registry
        authorization = self.headers.get("Authorization", "")
        refresh = parse_qs(getattr(self, "form", "")).get("refresh_token", [""])[0]
        known = registry.knows(authorization) or (refresh != "" and refresh == registry.users.get("<token>"))
        if registry.users and not known:
            return self._send(401, {}, b"{}", None)
        token = f"token-{len(registry.seen)}"
        registry.tokens.add(token)
        body = json.dumps({"token": token, "expires_in": registry.token_life_s}).encode()
        return self._send(200, {"Content-Type": "application/json"}, body, None)
