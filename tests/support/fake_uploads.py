"""A registry on loopback that takes uploads, keeps what came of broken ones, and breaks them on request.

Debian's docker-registry forgets the part of a request that broke; others (and the specification, by the Range of an
upload's status) keep it. Manifests and blobs are served by ``FakeRegistry``.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qs, urlsplit


@dataclass
class Break:
    """Reset the connection of a PATCH when the upload holds so many bytes; ``keeps`` says whether it goes on holding
    them, ``forgets`` whether the whole upload is gone."""

    at: int
    keeps: bool = True
    forgets: bool = False


@dataclass
class State:
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)  # by repository and digest
    uploads: dict[str, bytearray] = field(default_factory=dict)
    breaks: list[Break] = field(default_factory=list)
    received: int = 0  # bytes of bodies
    asked: list[tuple[str, str]] = field(default_factory=list)
    mounts: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class FakeUploads(State):
    """Use as a context manager. ``host`` is what a reference names."""

    def __enter__(self) -> FakeUploads:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": self}))
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # breaking is part of the play
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def count(self, method: str) -> int:
        return sum(asked == method for asked, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    state: State

    def do_HEAD(self) -> None:
        repository, digest = self._names("blobs")
        self._answer(200 if (repository, digest) in self.state.blobs else 404)

    def do_POST(self) -> None:
        repository, _ = self._names("blobs")
        query = parse_qs(urlsplit(self.path).query)
        if "mount" in query and self.state.mounts:
            blob = self.state.blobs.get((query["from"][0], query["mount"][0]))
            if blob is not None:
                self.state.blobs[repository, query["mount"][0]] = blob
                return self._answer(201)
        name = f"upload-{len(self.state.asked)}"
        self.state.uploads[name] = bytearray()
        return self._answer(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=x"})

    def do_PATCH(self) -> None:
        repository, name = self._names("blobs/uploads")
        upload = self.state.uploads.get(name)
        if upload is None:
            return self._drop()
        start = int(self.headers["Content-Range"].partition("-")[0])
        if start != len(upload):
            return self._answer(416, {"Range": f"0-{max(len(upload) - 1, 0)}"})
        todo = int(self.headers["Content-Length"])
        before = len(upload)
        while todo:
            breaking = self.state.breaks[0] if self.state.breaks else None
            piece = self.rfile.read(min(todo, 10_000 if breaking else 1 << 20))
            if not piece:
                return self._drop()
            upload += piece
            self.state.received += len(piece)
            todo -= len(piece)
            if breaking and len(upload) >= breaking.at:
                self.state.breaks.pop(0)
                if breaking.forgets:
                    del self.state.uploads[name]
                elif not breaking.keeps:
                    del upload[before:]
                return self._drop()
        return self._stands(repository, name)

    def do_GET(self) -> None:
        repository, name = self._names("blobs/uploads")
        if name in self.state.uploads:
            return self._stands(repository, name, status=204)
        return self._answer(404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.state.received += len(body)
        if "/manifests/" in self.path:
            return self._answer(201)
        repository, name = self._names("blobs/uploads")
        content = bytes(self.state.uploads.pop(name) + body)
        digest = parse_qs(urlsplit(self.path).query)["digest"][0]
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            return self._answer(400)
        self.state.blobs[repository, digest] = content
        return self._answer(201)

    def do_DELETE(self) -> None:
        self.state.uploads.pop(self._names("blobs/uploads")[1], None)
        self._answer(204)

    def _names(self, kind: str) -> tuple[str, str]:
        self.state.asked.append((self.command, self.path))
        match = re.fullmatch(rf"/v2/(.+)/{kind}/(.*)", urlsplit(self.path).path)
        return (match[1], match[2]) if match else ("", "")

    def _stands(self, repository: str, name: str, *, status: int = 202) -> None:
        held = len(self.state.uploads[name])
        location = f"/v2/{repository}/blobs/uploads/{name}?state=y"
        self._answer(status, {"Location": location, "Range": f"0-{max(held - 1, 0)}"})

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *args: object) -> None:
        """Silent."""
