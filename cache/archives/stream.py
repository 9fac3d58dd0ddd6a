"""The unpacked bytes of a layer that lies in the store: hashed as they are read, decompressed in another process.

A thread reads and hashes the layer while its caller works on what came out; a pipe between them holds a megabyte.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from api.digest import Digest
from api.errors import InvalidArtifact
from cache.archives.inflate import REFUSED
from cache.archives.packing import Packing
from cache.store.files import write_all
from cache.store.hashing import LOST, pieces

_PIPE_BYTES = 1 << 20  # what an unprivileged process may have (pipe(7)); less only costs speed
_TICK_MS = 100
_END_S = 5.0  # that a child may take to end after its last byte
_SAID_BYTES = 4096


class LayerStream:
    """Used by one thread, as a context manager. ``tick`` is called in it some ten times a second, and may raise to end
    it; ``on_bytes`` gets the packed bytes since its last call, in another thread."""

    def __init__(
        self, layer: Path, *, packing: Packing, size: int, on_bytes: Callable[[int], None], tick: Callable[[], None]
    ) -> None:
        """Raises OSError."""
        self._tick = tick
        self._ticked_at = 0.0
        self._on_bytes = on_bytes
        self._sha256 = hashlib.sha256()
        self._unread: OSError | None = None
        self._out, target, self._child = _start(packing, size)
        self._pump = threading.Thread(target=self._hand_on, args=(layer, target), name="layer", daemon=True)
        try:
            self._pump.start()
        except RuntimeError:  # no more threads to be had
            os.close(target)
            self.close()
            raise

    def fill(self, buffer: memoryview) -> int:
        """Fill ``buffer``, or what is left; returns how much. Raises InvalidArtifact for what cannot be unpacked, and
        OSError where it is not the layer's fault that it cannot be read."""
        filled = 0
        while filled < len(buffer):
            self._wait()
            got = os.readv(self._out, [buffer[filled:]])
            if not got:
                self._check_end()
                break
            filled += got
        return filled

    def digest(self) -> Digest:
        """Of the packed bytes, once ``fill`` has come to their end."""
        self._pump.join()
        return Digest(self._sha256.hexdigest())

    def close(self) -> None:
        os.close(self._out)  # whoever still writes ends by it
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            if self._child.stderr is not None:
                self._child.stderr.close()
        if self._pump.ident is not None:  # it was started
            self._pump.join()

    def __enter__(self) -> LayerStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wait(self) -> None:
        ready = select.poll()
        ready.register(self._out, select.POLLIN)
        while True:
            readable = ready.poll(_TICK_MS)
            if time.monotonic() - self._ticked_at > _TICK_MS / 1000:
                self._tick()
                self._ticked_at = time.monotonic()
            if readable:
                return

    def _check_end(self) -> None:
        ended = _end(self._child) if self._child is not None else 0  # first: it may read no more of what it is given
        self._pump.join()
        if self._unread is not None:
            if self._unread.errno not in LOST:  # says nothing about the layer
                raise self._unread
            raise InvalidArtifact(f"a stored layer cannot be read: {self._unread.strerror}")
        if self._child is None or ended == 0:
            return
        if ended == REFUSED and self._child.stderr is not None:
            message, _, hint = self._child.stderr.read(_SAID_BYTES).decode(errors="replace").partition("\n")
            raise InvalidArtifact(message, hint=hint)
        raise InvalidArtifact(
            f"an archive broke its decompression, which ended with {ended}",
            hint="do not trust whoever made it; else push the model as raw files with `warmset push`",
        )

    def _hand_on(self, layer: Path, target: int) -> None:
        try:
            for piece in pieces(layer):
                self._sha256.update(piece)
                write_all(target, piece)
                self._on_bytes(len(piece))
        except BrokenPipeError:
            pass  # the reader has left, or the child has ended: the reader learns why
        except OSError as error:
            self._unread = error
        finally:
            os.close(target)


def _start(packing: Packing, size: int) -> tuple[int, int, subprocess.Popen[bytes] | None]:
    """Where unpacked bytes come out, where packed ones go in, and the process between them. Raises OSError."""
    out, end = _pipe()
    if packing == "tar":
        return out, end, None
    inlet, packed = _pipe()
    command = [sys.executable, "-I", "-m", "cache.archives.inflate", packing, str(size)]
    try:
        # An empty environment: a credential there is nothing for it.
        child = subprocess.Popen(command, stdin=inlet, stdout=end, stderr=subprocess.PIPE, env={}, bufsize=0)  # noqa: S603
    except OSError:
        os.close(out)
        os.close(packed)
        raise
    finally:
        os.close(inlet)
        os.close(end)
    return out, packed, child


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    with contextlib.suppress(OSError):
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write


def _end(child: subprocess.Popen[bytes]) -> int:
    """How a child ended, that has closed its output."""
    try:
        return child.wait(_END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
