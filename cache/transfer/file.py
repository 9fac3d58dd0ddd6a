"""One file under way: its ingest, its frontier, and what several workers do to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from api.digest import Digest
from cache.transfer.buffers import BufferPool
from cache.transfer.frontier import Frontier
from cache.transfer.progress import Meter
from cache.transfer.reader import BlobReader, Link, Session
from cache.transfer.schedule import Run

PIECE_BYTES = 4 << 20  # one read, one hash, one write; larger gains nothing, smaller costs calls
# How long a full window may stand still before pieces go by disk: many times what hashing a piece takes, and little
# beside the 30 s after which a silent connection is given up.
WINDOW_PATIENCE_S = 0.5


class Ingest(Protocol):
    """One blob on its way into a store. ``write``, ``written`` and ``read`` MUST be callable from several threads."""

    def have(self) -> frozenset[int]: ...
    def write(self, offset: int, data: memoryview, /) -> None: ...
    def written(self, chunk: int, /) -> None: ...
    def read(self, offset: int, into: memoryview, /) -> int: ...
    def commit(self, actual: Digest, /) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A blob to fetch. ``tries`` counts clean starts, of which a wrong digest grants one more."""

    digest: Digest
    size: int
    tries: int = 1


@dataclass(slots=True)
class Tools:
    """What a worker brings along. ``scratch`` is its own buffer, one piece long; ``sessions`` are more than one once it
    has fetched many small files."""

    sessions: list[Session]
    scratch: memoryview
    pool: BufferPool
    link: Link

    @property
    def session(self) -> Session:
        return self.sessions[0]


@dataclass(slots=True)
class OpenFile:
    """A file whose chunks are being written. Shared by the workers on it."""

    wanted: WantedFile
    ingest: Ingest
    chunk_bytes: int
    frontier: Frontier = field(init=False)
    missing: frozenset[int] = field(init=False)

    @classmethod
    def resume(cls, wanted: WantedFile, ingest: Ingest, *, chunk_bytes: int, tools: Tools) -> OpenFile:
        """Take over what an earlier run left; its chunks are hashed again from disk, never trusted."""
        opened = cls(wanted, ingest, chunk_bytes)
        opened.frontier = Frontier(
            size=wanted.size,
            piece_bytes=PIECE_BYTES,
            read=ingest.read,
            release=tools.pool.give,
            moved=tools.pool.wake,
        )
        have = ingest.have()
        for chunk in have:
            start, stop = opened.bounds(Run(chunk, chunk))
            opened.frontier.on_disk(start, stop)
            tools.link.meter.reused(stop - start)
        opened.missing = frozenset(range(-(-wanted.size // chunk_bytes))) - have
        return opened

    def bounds(self, run: Run) -> tuple[int, int]:
        """First byte, and byte after the last, of a run."""
        return run.first * self.chunk_bytes, min((run.last + 1) * self.chunk_bytes, self.wanted.size)

    def fetch(self, run: Run, *, sequential: bool, tools: Tools) -> Digest | None:
        """Bring a run into the ingest, and hash as far as the frontier reaches.

        Returns the file's digest to the one caller that completes it. Raises RangesIgnored before anything is
        written, or a named error.
        """
        start, stop = self.bounds(run)
        reader = BlobReader(
            tools.session,
            self.wanted.digest,
            size=self.wanted.size,
            start=start,
            stop=stop,
            link=tools.link,
            sequential=sequential,
        )
        done: Digest | None = None
        try:
            for offset in range(start, stop, PIECE_BYTES):
                if sequential and offset // self.chunk_bytes in self.ingest.have():
                    reader.fill(tools.scratch[: min(PIECE_BYTES, stop - offset)])  # cannot be skipped, need not be kept
                    continue
                done = self._piece(offset, reader, tools) or done
        finally:
            reader.close()
        return done

    def _piece(self, offset: int, reader: BlobReader, tools: Tools) -> Digest | None:
        # At the frontier no buffer is needed; as always, where one worker streams a file.
        buffer = None if self.frontier.reached == offset else self._buffer(offset, tools.pool)
        if buffer is not None:
            return self._deposit(offset, buffer, reader, tools)
        filled = reader.fill(tools.scratch)
        self._write(offset, tools.scratch[:filled])
        if self.frontier.reached == offset:
            return self.frontier.hash(tools.scratch[:filled], tools.scratch)
        self.frontier.on_disk(offset, offset + filled)
        return self.frontier.advance(tools.scratch)

    def _deposit(self, offset: int, buffer: memoryview, reader: BlobReader, tools: Tools) -> Digest | None:
        try:
            filled = reader.fill(buffer)
            self._write(offset, buffer[:filled])
        except BaseException:
            tools.pool.give(buffer)
            raise
        self.frontier.deposit(offset, buffer, filled)
        return self.frontier.advance(tools.scratch)

    def _buffer(self, offset: int, pool: BufferPool) -> memoryview | None:
        """A buffer; or None when the frontier comes to ``offset``, or stands still in front of a full window, because a
        slower worker has it: then the piece goes by disk. Taken before the bytes, so that nobody holds bytes that have
        no place."""
        reached = -1
        while reached != self.frontier.reached:
            reached = self.frontier.reached
            buffer = pool.take(timeout_s=WINDOW_PATIENCE_S, unless=lambda: self.frontier.reached == offset)
            if buffer is not None or self.frontier.reached == offset:
                return buffer
        return None

    def _write(self, offset: int, data: memoryview) -> None:
        self.ingest.write(offset, data)
        end = offset + len(data)
        if end % self.chunk_bytes == 0 or end == self.wanted.size:
            self.ingest.written(offset // self.chunk_bytes)

    def forget(self, meter: Meter) -> None:
        """Take back what was counted as done, before a clean start."""
        meter.undo(self.wanted.size)
