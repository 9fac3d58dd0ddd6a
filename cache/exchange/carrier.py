"""Bringing a chunk, or a part of it, from where it is read into its file."""

from __future__ import annotations

from dataclasses import dataclass

from cache.exchange.coordinator import Coordinator, Job
from cache.exchange.files import Files
from cache.exchange.peer import PeerSession
from cache.transfer.reader import BlobReader, Link, Session


@dataclass(frozen=True, slots=True)
class Carrier:
    """For the threads that fetch. ``source`` is the peer that the bytes come from, None for the origin."""

    files: Files
    coordinator: Coordinator

    def fetch(
        self, job: Job, session: Session | PeerSession, scratch: memoryview, *, link: Link, source: int | None
    ) -> bool:
        """The whole chunk; False where it has become pointless, and the session with it. Raises what reading does."""
        place = self.files.chunks.place(job.chunk)
        try:
            with self.coordinator.doing(job, session.abort):
                whole = self.part(job, session, scratch, start=place.start, stop=place.stop, link=link, source=source)
        except Exception:
            pointless = self.coordinator.void(job)
            self.coordinator.failed(job)
            if pointless:
                return False
            raise
        if whole:
            self.arrived(job, link=link)
        else:
            self.coordinator.failed(job)
        return whole

    def part(
        self,
        job: Job,
        session: Session | PeerSession,
        scratch: memoryview,
        *,
        start: int,
        stop: int,
        link: Link,
        source: int | None,
    ) -> bool:
        """Some bytes of the chunk's file; False where they have become pointless. Raises what reading does."""
        wanted = self.files.wanted[self.files.chunks.place(job.chunk).file]
        reader = BlobReader(session, wanted.digest, size=wanted.size, start=start, stop=stop, link=link)
        whole = False
        try:
            while start < stop and not self.coordinator.void(job):
                filled = reader.fill(scratch)
                self.files.write(job.chunk, start, scratch[:filled], member=source)
                start += filled
            whole = start == stop
        finally:
            if not whole:
                link.meter.undo(reader.received)
            reader.close()
        return whole

    def arrived(self, job: Job, *, link: Link) -> None:
        """All bytes of the chunk are written."""
        first = self.files.settle(job.chunk)
        self.coordinator.arrived(job)
        if first:
            self.files.arrived(job.chunk)
        else:
            place = self.files.chunks.place(job.chunk)
            link.meter.undo(place.stop - place.start)
