"""The pins of publications: which tree each mount holds. On disk before the mount is made, and until it is gone.

Two things could take a pin from under a mount: a change that goes on in a thread after its caller hung up, and a call
that waited in the socket until a later one was done. So changes come one after the other, each to its end, and a
call says when it was made (CLOCK_MONOTONIC, one clock for all processes of a node): what is older than a pin does
not end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

import structlog

from api.digest import Digest
from api.errors import WarmsetError
from api.node import Publication
from cache.store import Pin, Store

ADOPTED = {"model": ""}  # the note of a pin made for a mount that had none: nobody knows whose it is
T = TypeVar("T")

log = structlog.get_logger()


class Pins:
    """Used from one event loop; the store's calls run in threads because they wait for the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Others have pins of their own (open_models.py), which no driver reports.
        self._pins = {id_: pin for id_, pin in store.pins().items() if "model" in pin.note}
        self._made_at: dict[str, int] = {}
        self._sizes: dict[Digest, tuple[int, int]] = {}
        self._turn = asyncio.Lock()

    @property
    def ids(self) -> set[str]:
        return set(self._pins)

    def get(self, publication: str) -> Pin | None:
        return self._pins.get(publication)

    async def hold(self, pin: Pin, *, at: int, group: str = "") -> Publication:
        """Pin for a call made at ``at`` ns. Raises NotFound, InUse or DiskError of the store."""

        def write() -> None:
            self._store.pin(pin.id, tree=pin.tree, note=pin.note)
            self._store.touch(pin.tree, group=group)

        async def change() -> Publication:
            await asyncio.to_thread(write)
            self._pins[pin.id] = pin
            self._made_at[pin.id] = at
            return await self._publication(pin)

        return await self._in_turn(change())

    async def let_go(self, publication: str, *, at: int) -> bool:
        """Give up a pin for a call made at ``at`` ns; False where there is none, or where it is newer than the call."""

        async def change() -> bool:
            if at < self._made_at.get(publication, 0):
                log.info("pin.kept", id=publication, why="it was made after the call that ends it")
                return False
            there = await asyncio.to_thread(self._store.unpin, publication)
            self._pins.pop(publication, None)
            self._made_at.pop(publication, None)
            return there

        return await self._in_turn(change())

    async def adopt(self, trees: Mapping[str, str], *, at: int) -> set[str]:
        """Pin the tree (sha256:<hex>) of mounts that have no pin; the ids for which that worked."""
        adopted = set()
        for publication, tree in trees.items():
            try:
                await self.hold(Pin(publication, Digest.parse(tree), ADOPTED), at=at)
            except WarmsetError as error:
                log.error("pin.not_adopted", id=publication, tree=tree, reason=error.reason, error=str(error))
            else:
                log.warning("pin.adopted", id=publication, tree=tree)
                adopted.add(publication)
        return adopted

    async def all(self) -> list[Publication]:
        return [await self._publication(pin) for pin in list(self._pins.values())]

    async def _in_turn(self, change: Coroutine[Any, Any, T]) -> T:
        async def turn() -> T:
            async with self._turn:
                return await change

        return await asyncio.shield(asyncio.create_task(turn(), name="change a pin"))

    async def _publication(self, pin: Pin) -> Publication:
        if pin.tree not in self._sizes and (tree := await asyncio.to_thread(self._store.tree, pin.tree)) is not None:
            self._sizes[pin.tree] = tree.size, len(tree.files)  # a tree never changes, and may have very many files
        size, files = self._sizes.get(pin.tree, (0, 0))
        return Publication(
            id=pin.id,
            tree=str(pin.tree),
            model=pin.note.get("model", ""),
            revision=pin.note.get("revision", ""),
            bytes=size,
            files=files,
            pod_uid=pin.note.get("pod_uid", ""),
        )
