"""A store, and a web server whose one file a test can replace."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Web:
    """``content`` under any path, with ``etag`` (none where empty) as its version; ``whole`` ignores ranges."""

    def __init__(self) -> None:
        self.content = b""
        self.etag = '"v1"'
        self.whole = False
        self.authorizations: list[str] = []
        self.host = ""


@pytest.fixture
def web() -> Iterator[Web]:
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.authorizations.append(self.headers.get("Authorization", ""))
            if self.headers.get("If-Match", state.etag) != state.etag:
                return self.answer(412, {}, b"")
            asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", self.headers.get("Range", ""))
            if asked is None or state.whole:
                return self.answer(200, {}, state.content)
            first, last = int(asked[1]), int(asked[2])
            if first >= len(state.content):
                return self.answer(416, {"Content-Range": f"bytes */{len(state.content)}"}, b"")
            content_range = f"bytes {first}-{last}/{len(state.content)}"
            return self.answer(206, {"Content-Range": content_range}, state.content[first : last + 1])

        do_HEAD = do_GET

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            etag = {"ETag": state.etag} if state.etag else {}
            for name, value in {**headers, **etag, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
