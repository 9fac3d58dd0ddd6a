"""An HTTP proxy on loopback (CONNECT and absolute form) that counts what it carries.

``upstream`` makes it a plain counting relay instead: every connection goes there.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from urllib.parse import urlsplit


class FakeProxy:
    """Use as a context manager. ``asked`` are the request lines it saw, ``carried`` the bytes towards clients."""

    def __init__(self, *, upstream: str = "", cut_at: tuple[int, ...] = ()) -> None:
        """``cut_at``: after so many bytes from clients in all, the connection that carried the last one is cut."""
        self._upstream = upstream
        self._cut_at = list(cut_at)
        self._uploaded = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.carried = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FakeProxy:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _keep(self, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._sockets.append(sock)
        return sock

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._start(self._serve, self._keep(client))

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._upstream:
                self._relay(client, self._dial(self._upstream))
                return
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            self.heads.append(head)
            line = head.decode().splitlines()[0]
            self.asked.append(line)
            method, target, _ = line.split(" ")
            if method == "CONNECT":
                server = self._dial(target)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                parts = urlsplit(target)
                server = self._dial(parts.netloc)
                path = parts.path + (f"?{parts.query}" if parts.query else "")
                server.sendall(head.replace(target.encode(), path.encode(), 1))
            self._relay(client, server)

    def _dial(self, authority: str) -> socket.socket:
        host, _, port = authority.rpartition(":")
        return self._keep(socket.create_connection((host, int(port)), timeout=20))

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        self._start(self._pump, client, server, False)
        self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                with self._lock:
                    self.carried += len(data) if count else 0
                    self._uploaded += 0 if count else len(data)
                    cut = not count and bool(self._cut_at) and self._uploaded >= self._cut_at[0]
                    if cut:
                        self._cut_at.pop(0)
                sink.sendall(data)
                if cut:
                    break
        for sock in (source, sink):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
