"""Who may use which model on this node: asked from the broker, remembered on disk without any credential.

A grant names a model's source and the namespaces whose pods may mount it. A pull always asks anew, because it needs
the credential, which stays in memory and only for that pull. A publication reads the remembered one, so that a node
cut off from the cluster still serves what it holds; it asks anew when that is old or does not name the pod's namespace.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from api.broker import Grant
from api.errors import DiskError, Forbidden, NotFound, WarmsetError
from api.fields import Wire
from cache.store.files import replace_durably
from daemonset.pulling.desired import Desired

FOLDER = "grants"
FRESH_S = 300.0  # a namespace taken out of a Model's list is refused for new pods at most this much later
AGAIN_S = 10.0  # soonest that the same model is asked for again, whoever wants it
ASK_S = 2.0  # longest a publication waits for the broker before it takes the remembered answer
PAUSE_S = 30.0  # after the broker did not answer, publications leave it alone for so long
# A pull believes a refusal only when it is repeated: the broker's replica that answers may not have seen yet the
# NodeCache that another one wrote.
REFUSED_TRIES = 3
REFUSED_PAUSE_S = 1.0

log = structlog.get_logger()

Ask = Callable[[Desired], Awaitable[Grant]]


class Remembered(Wire):
    """What stands in a file. ``grant`` has no credential."""

    key: str
    grant: Grant


class Grants:
    """Used from one event loop. ``root`` is the store's root, owned by this process."""

    def __init__(self, root: Path, *, ask: Ask) -> None:
        self._folder = root / FOLDER
        self._scratch = root / "scratch"  # the store empties it at every start
        self._ask = ask
        self._known: dict[str, Grant] = {}
        self._asked_at: dict[str, float] = {}
        self._silent_until = 0.0
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.json"):
            try:
                entry = msgspec.json.decode(path.read_bytes(), type=Remembered)
            except (OSError, msgspec.DecodeError) as error:
                # Fail closed: without a grant nothing is served until the broker has been asked.
                log.warning("grant.unreadable", file=path.name, error=str(error))
            else:
                self._known[entry.key] = entry.grant

    async def for_pull(self, desired: Desired) -> Grant:
        """A new grant, with its credential. Raises Forbidden, ClusterUnavailable or DiskError."""
        for _ in range(REFUSED_TRIES - 1):
            try:
                return await self._ask_and_remember(desired)
            except Forbidden:
                await asyncio.sleep(REFUSED_PAUSE_S)
        return await self._ask_and_remember(desired)

    async def allows(self, desired: Desired, *, namespace: str) -> bool:
        """May pods of ``namespace`` mount this model? False where nobody could say so yet."""
        known = self._known.get(desired.key)
        age_s = time.monotonic() - self._asked_at.get(desired.key, -FRESH_S)
        wanting = known is None or not permits(known, namespace=namespace)
        if age_s >= (AGAIN_S if wanting else FRESH_S):
            known = await self._refresh(desired)
        return known is not None and permits(known, namespace=namespace)

    async def current(self, revisions: Sequence[Desired]) -> list[Desired]:
        """Of one model's revisions the one that it has now, if the broker said so of any.

        Asked anew, because each of them was the present one once; of two that were so, the later answer counts.
        """
        for desired in revisions:
            if time.monotonic() - self._asked_at.get(desired.key, -AGAIN_S) >= AGAIN_S:
                await self._refresh(desired)
        current = [d for d in revisions if (grant := self._known.get(d.key)) is not None and grant.current]
        return sorted(current, key=lambda desired: self._asked_at.get(desired.key, 0.0))[-1:]

    def known(self, desired: Desired) -> Grant | None:
        """What the broker last said of the model, without a credential; None before it said anything."""
        return self._known.get(desired.key)

    async def forget(self, key: str) -> None:
        if self._known.pop(key, None) is not None:
            await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def _refresh(self, desired: Desired) -> Grant | None:
        if time.monotonic() < self._silent_until:
            return self._known.get(desired.key)
        try:
            async with asyncio.timeout(ASK_S):
                await self._ask_and_remember(desired)
        except (Forbidden, NotFound):
            await self.forget(desired.key)
        except (WarmsetError, TimeoutError) as error:
            self._silent_until = time.monotonic() + PAUSE_S
            log.info("grant.not_refreshed", model=desired.model, error=str(error) or "timed out")
        return self._known.get(desired.key)

    async def _ask_and_remember(self, desired: Desired) -> Grant:
        self._asked_at[desired.key] = time.monotonic()
        grant = await self._ask(desired)
        bare = msgspec.structs.replace(grant, credential=None)
        if bare != self._known.get(desired.key):
            await asyncio.to_thread(self._write, Remembered(key=desired.key, grant=bare))
            self._known[desired.key] = bare
        return grant

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _write(self, entry: Remembered) -> None:
        try:
            replace_durably(self._path(entry.key), msgspec.json.encode(entry), scratch=self._scratch)
        except OSError as error:
            raise DiskError(f"cannot remember a grant in {self._folder}: {error.strerror}") from error


def permits(grant: Grant, *, namespace: str) -> bool:
    """A Model's own namespace always may; others by its list."""
    return namespace == grant.model.partition("/")[0] or bool({namespace, "*"} & set(grant.namespaces))
