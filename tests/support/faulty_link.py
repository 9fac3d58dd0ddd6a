"""A TCP proxy before a server on loopback whose link can be slowed down, or go dead without a word."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from types import TracebackType

_TICK_S = 0.02


class FaultyLink:
    """Use as a context manager; ``address`` stands for ``target``.

    ``rate`` limits what the server sends, in bytes per second over all connections. ``dead`` lets nothing pass and
    answers nothing, as a machine without power does: connections stay open, and nobody takes new ones.
    """

    def __init__(self, address: str, *, target: str) -> None:
        self.address = address
        self.rate: float | None = None
        self.dead = False
        self.passed = 0
        self._target = target
        self._ended = threading.Event()
        host, _, port = address.rpartition(":")
        self._listener = socket.create_server((host, int(port)), backlog=64)
        self._listener.settimeout(_TICK_S)
        self._threads: list[threading.Thread] = []
        self._carried: list[socket.socket] = []
        self._paid_until = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyLink:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._listener.close()
        for carried in self._carried:
            with contextlib.suppress(OSError):  # wakes a thread that waits for somebody who never reads
                carried.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, body: object, *arguments: object) -> None:
        thread = threading.Thread(target=body, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            if self.dead:
                self._ended.wait(_TICK_S)
                continue
            with contextlib.suppress(OSError):
                client, _ = self._listener.accept()
                self._carried.append(client)
                self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        host, _, port = self._target.rpartition(":")
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection((host, int(port))) as server,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while not self._ended.is_set():
                for key, _ in [] if self.dead else ready.select(_TICK_S):
                    data = key.fileobj.recv(self._piece(key.fileobj is server))  # type: ignore[union-attr]
                    if not data:
                        return
                    if key.fileobj is server:
                        self._pay(len(data))
                    key.data.sendall(data)
                if self.dead:
                    self._ended.wait(_TICK_S)

    def _piece(self, limited: bool) -> int:
        return 65536 if not limited or self.rate is None else max(1, int(self.rate / 10))

    def _pay(self, count: int) -> None:
        with self._lock:
            self.passed += count
            if self.rate is None:
                return
            self._paid_until = max(self._paid_until, time.monotonic()) + count / self.rate
            wait_s = self._paid_until - time.monotonic()
        self._ended.wait(max(0.0, wait_s))
