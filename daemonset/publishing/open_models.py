"""Shows models that are open to all namespaces at fixed paths, for pods that mount by hostPath (api/open_path.py).

For clusters without CSI. Nobody tells which pods have mounted what, so what is shown has a pin of its own, which lasts
until the controller takes the model away: it does so only when no pod on the node names it. A Model that is not open
to all namespaces is never shown: a host path can be written into any pod, and no file knows who reads it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import NoReturn

import structlog

from api.errors import DiskError, WarmsetError
from api.open_path import FOLDER, open_path
from cache.store import Store
from daemonset.authority.grants import Grants
from daemonset.changed import Changed
from daemonset.pulling.holding import Held
from daemonset.pulling.pulls import Pulls

ALL = "*"
PERIOD_S = 60.0  # how soon a Model that is not open any more is noticed, beside what its grant's age adds

log = structlog.get_logger()


class OpenModels:
    """One job of the agent; used from its event loop."""

    def __init__(self, store: Store, *, pulls: Pulls, grants: Grants, changed: Changed) -> None:
        self._store = store
        self._pulls = pulls
        self._grants = grants
        self._changed = changed
        self._shown: set[Path] = set()  # by this process: after a restart every pin is made sure of once

    async def run(self) -> NoReturn:
        while True:
            seen = self._changed.version
            try:
                await self.refresh()
            except WarmsetError as error:
                log.error("open.failed", reason=error.reason, error=str(error))
            await self._changed.wait(seen, timeout_s=PERIOD_S)

    async def refresh(self) -> None:
        """Show what is here and open, hide the rest, let go of what is to go. Raises a WarmsetError of the store."""
        shown = {}
        for key in self._pulls.desired_or_held():
            held = self._pulls.held(key)
            if held and await self._grants.allows(held.desired, namespace=ALL) and (path := self._path(held)):
                shown[path] = held
        if await asyncio.to_thread(self._settle, shown, self._pulls.to_go()):
            self._pulls.pins_changed()

    def _path(self, held: Held) -> Path | None:
        grant = self._grants.known(held.desired)
        if grant is None:
            return None
        path = open_path(PurePosixPath(self._store.root), model=grant.model, revision=held.revision)
        return None if path is None else Path(path)

    def _settle(self, shown: dict[Path, Held], to_go: set[str]) -> bool:
        """Pins before links, and links away before pins. Whether a pin was let go."""
        try:
            for path in (self._store.root / FOLDER).glob("*/*/*"):
                if path not in shown:
                    path.unlink()
                    self._shown.discard(path)
                    log.info("open.hidden", path=str(path))
            for path, held in shown.items():
                if path in self._shown:
                    continue
                self._store.pin(_pin_id(held), tree=held.tree, note={FOLDER: held.desired.key})
                if not path.is_symlink():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.symlink_to(os.path.relpath(self._store.tree_path(held.tree), path.parent))
                self._shown.add(path)
                log.info("open.shown", path=str(path))
        except OSError as error:
            raise DiskError(f"cannot show models below {self._store.root / FOLDER}: {error.strerror}") from error
        # A model that rots is not held until it is mended, and pods have it all the while: only the word to go counts.
        gone = [id_ for id_, pin in self._store.pins().items() if pin.note.get(FOLDER) in to_go]
        for id_ in gone:
            self._store.unpin(id_)
        return bool(gone)


def _pin_id(held: Held) -> str:
    return hashlib.sha256(f"{FOLDER} {held.desired.key}".encode()).hexdigest()
