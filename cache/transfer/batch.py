"""Small files, fetched into memory over several connections and committed together.

An answer takes longer to come than a small file takes to read, so one request at a time would leave the link idle.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from api.digest import Digest
from api.errors import Cancelled
from cache.http.ranges import RangesIgnored
from cache.transfer.file import PIECE_BYTES, Tools, WantedFile
from cache.transfer.reader import BlobReader, Session

SMALL_BYTES = 1 << 20  # files up to this size are fetched into memory and committed together
CONNECTIONS = PIECE_BYTES // SMALL_BYTES  # most of one worker: each needs a part of its scratch


@dataclass(frozen=True, slots=True)
class WantedBatch:
    """Files of at most SMALL_BYTES, and how many connections of a worker fetch them."""

    files: tuple[WantedFile, ...]
    connections: int = 1


def fetch_batch(
    batch: WantedBatch,
    tools: Tools,
    *,
    open_session: Callable[[], Session],
    leave: Callable[[BaseException], None],
) -> list[tuple[Digest, bytes]]:
    """The files of a batch, in the order in which they came. Sessions that it takes beyond the worker's first stay in
    ``tools``.

    What ends one connection is told to ``leave``, which must end the others. Raises what ended the worker's own one,
    which is Cancelled where another one was the first to end.
    """
    waiting, items = deque(batch.files), list[tuple[Digest, bytes]]()
    while len(tools.sessions) < batch.connections:
        tools.sessions.append(open_session())

    def take(part: int) -> None:
        scratch = tools.scratch[part * SMALL_BYTES :][:SMALL_BYTES]
        own = replace(tools, sessions=[tools.sessions[part]], scratch=scratch)
        while True:
            try:
                file = waiting.popleft()  # in one step of the interpreter
            except IndexError:
                return
            items.append((file.digest, _whole(file, own)))

    def help_with(part: int) -> None:
        try:
            take(part)
        except BaseException as error:
            leave(error)

    name = threading.current_thread().name
    helpers = [
        threading.Thread(target=help_with, args=(part,), name=f"{name}-{part}", daemon=True)
        for part in range(1, batch.connections)
    ]
    try:
        with contextlib.suppress(RuntimeError):  # no more threads to be had: fewer do
            for helper in helpers:
                helper.start()
        take(0)
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
