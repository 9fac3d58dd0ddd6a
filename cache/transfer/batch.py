"""Small files, fetched into memory over several connections and committed together.

An answer takes longer to come than a small file takes to read, so one request at a time would leave the link idle.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from api.digest import Digest
from api.errors import Cancelled
from cache.http.ranges import RangesIgnored
from cache.transfer.file import PIECE_BYTES, Tools, WantedFile
from cache.transfer.reader import BlobReader, Session

SMALL_BYTES = 1 << 20  # files up to this size are fetched into memory and committed together
CONNECTIONS = PIECE_BYTES // SMALL_BYTES  # of one worker: each needs a part of its scratch
_FILES_EACH = 64  # fewer are fetched sooner than one more connection is set up


@dataclass(frozen=True, slots=True)
class WantedBatch:
    """Files of at most SMALL_BYTES."""

    files: tuple[WantedFile, ...]


def fetch_batch(
    batch: WantedBatch,
    tools: Tools,
    *,
    open_session: Callable[[], AbstractContextManager[Session]],
    leave: Callable[[BaseException], None],
) -> list[tuple[Digest, bytes]]:
    """The files of a batch, in the order in which they came. What ends one connection is told to ``leave``, which must
    end the others. Raises what does, or Cancelled."""
    waiting, items = deque(batch.files), list[tuple[Digest, bytes]]()

    def take(session: Session, part: int) -> None:
        own = replace(tools, session=session, scratch=tools.scratch[part * SMALL_BYTES :][:SMALL_BYTES])
        while True:
            try:
                file = waiting.popleft()  # in one step of the interpreter
            except IndexError:
                return
            items.append((file.digest, _whole(file, own)))

    def help_with(part: int) -> None:
        try:
            with open_session() as session:
                take(session, part)
        except BaseException as error:
            leave(error)

    parts = range(1, min(CONNECTIONS, len(batch.files) // _FILES_EACH))
    helpers = [
        threading.Thread(target=help_with, args=(part,), name=f"{threading.current_thread().name}-{part}", daemon=True)
        for part in parts
    ]
    try:
        with contextlib.suppress(RuntimeError):  # no more threads to be had: fewer do
            for helper in helpers:
                helper.start()
        take(tools.session, 0)
    except BaseException as error:
        leave(error)
        raise
    finally:
        for helper in helpers:
            if helper.ident is not None:  # it was started
                helper.join()
    if len(items) < len(batch.files):
        raise Cancelled("the transfer was cancelled")
    return items


def _whole(file: WantedFile, tools: Tools) -> bytes:
    """A small file in memory."""
    if file.size == 0:
        return b""
    try:
        return _read_whole(file, tools, sequential=False)
    except RangesIgnored:  # a body broke, and cannot go on in the middle
        return _read_whole(file, tools, sequential=True)


def _read_whole(file: WantedFile, tools: Tools, *, sequential: bool) -> bytes:
    reader = BlobReader(
        tools.session, file.digest, size=file.size, start=0, stop=file.size, link=tools.link, sequential=sequential
    )
    try:
        reader.fill(tools.scratch)
    except RangesIgnored:
        tools.link.meter.undo(reader.received)
        raise
    finally:
        reader.close()
    return bytes(tools.scratch[: file.size])
