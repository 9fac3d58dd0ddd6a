"""Asking the whole group for something small that any member may have."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from api.digest import Digest
from api.errors import InvalidArtifact, SourceUnavailable
from api.tree import Tree, TreeFile
from cache.exchange.group import Group
from cache.exchange.peer import manifest_of_peer

ASK_S = 2.0  # a peer that needs longer for a few kilobytes is not quicker than the source
_TITLE = "org.opencontainers.image.title"

T = TypeVar("T")


def ask_for_manifest(group: Group, *, exchange: str, digest: Digest) -> bytes | None:
    """The first answer that has ``digest``; None where no member gives one in time. The source is then there to ask."""
    return _first(group, exchange, str(digest), lambda body: body if _digest_of(body) == digest else None)


def ask_for_tree(group: Group, *, exchange: str, digest: Digest) -> Tree | None:
    """The first answer that makes the tree of this digest, as ``ask_for_manifest``."""

    def right(body: bytes) -> Tree | None:
        tree = _read_tree(body)
        return tree if tree is not None and tree.digest == digest else None

    return _first(group, exchange, digest.hex, right)


class _Layer(msgspec.Struct, frozen=True):
    digest: str
    size: int
    annotations: dict[str, str]


class _Manifest(msgspec.Struct, frozen=True):
    layers: list[_Layer]


def _read_tree(body: bytes) -> Tree | None:
    """Of a manifest that names files by their titles, as agents make them; None for what is none."""
    try:
        layers = msgspec.json.decode(body, type=_Manifest).layers
        return Tree.of([TreeFile(one.annotations[_TITLE], one.size, Digest.parse(one.digest)) for one in layers])
    except (msgspec.DecodeError, InvalidArtifact, KeyError):
        return None


def _digest_of(body: bytes) -> Digest:
    return Digest(hashlib.sha256(body).hexdigest())


def _first(group: Group, exchange: str, name: str, right: Callable[[bytes], T | None]) -> T | None:
    answers: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def ask(member: str) -> None:
        try:
            contact = group.contacts.reach(member)
            body = manifest_of_peer(contact, access=group.access, exchange=exchange, name=name)
            answers.put(None if body is None else right(body))
        except (OSError, SourceUnavailable):
            answers.put(None)

    for member in group.others:
        threading.Thread(target=ask, args=(member,), name=f"ask {member}", daemon=True).start()
    deadline = time.monotonic() + ASK_S
    for _ in group.others:
        try:
            found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if found is not None:
            return found
    return None
