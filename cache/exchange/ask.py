"""Asking the whole group for something small that any member may have."""

from __future__ import annotations

import hashlib
import queue
import threading
import time

from api.digest import Digest
from api.errors import SourceUnavailable
from cache.exchange.group import Group
from cache.exchange.peer import manifest_of_peer

ASK_S = 2.0  # a peer that needs longer for a few kilobytes is not quicker than the source


def ask_for_manifest(group: Group, *, exchange: str, digest: Digest) -> bytes | None:
    """The first answer that has ``digest``; None where no member gives one in time. The source is then there to ask."""
    answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def ask(member: str) -> None:
        try:
            contact = group.contacts.reach(member)
            answers.put(manifest_of_peer(contact, access=group.access, exchange=exchange, digest=digest))
        except (OSError, SourceUnavailable):
            answers.put(None)

    for member in group.others:
        threading.Thread(target=ask, args=(member,), name=f"ask {member}", daemon=True).start()
    deadline = time.monotonic() + ASK_S
    for _ in group.others:
        try:
            body = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if body is not None and hashlib.sha256(body).hexdigest() == digest.hex:
            return body
    return None
