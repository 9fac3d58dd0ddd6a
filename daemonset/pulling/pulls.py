"""The reconcile loop: makes what the node holds equal to what it should hold.

Level-triggered: whatever happened, the loop looks at what is desired, held and under way, lets schedule.plan decide,
and does that. It runs in one event loop, which owns all state here; only pulls have threads (flight.in_thread).
Held is what the store's records and trees say at start, so that a restart reports it without asking anybody.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import NoReturn, Protocol

import msgspec
import structlog

from api.broker import Grant
from api.digest import Digest
from api.errors import Corrupted, DigestMismatch, InsufficientCache, InUse, WarmsetError
from api.resources import NodeModelStatus
from cache.pull import Pulled
from cache.store import PullRecord, Store
from cache.store.capacity import Amount, what_holds
from cache.transfer.progress import Progress
from daemonset.authority.grants import Grants
from daemonset.changed import Changed
from daemonset.metrics import Metrics
from daemonset.pulling.desired import Desired
from daemonset.pulling.flight import Flight, in_thread
from daemonset.pulling.holding import Held, Trouble, give_up, held_by, status_of_held, status_of_waiting
from daemonset.pulling.room import Made, hold, make_room
from daemonset.pulling.schedule import Snapshot, plan, retry_delay_s

LEAST_WANTED = -1_000_000  # below any priority of an entry
TICK_S = 1.0  # how soon a stalled pull shows, and how fine the byte counters are; only while a pull is under way

log = structlog.get_logger()


class Fetch(Protocol):
    """Brings what a grant names into the store; runs in a thread. Raises WarmsetError, also when cancelled."""

    def __call__(self, grant: Grant, *, on_progress: Callable[[Progress], None], cancel: threading.Event) -> Pulled: ...


class Pulls:
    """``changed`` tells observers of every change of a state; ``slots`` is how many pulls run at a time."""

    def __init__(
        self, store: Store, *, grants: Grants, fetch: Fetch, slots: int, changed: Changed, metrics: Metrics
    ) -> None:
        self._store = store
        self._grants = grants
        self._fetch = fetch
        self._slots = slots
        self._changed = changed
        self._metrics = metrics
        self._desired: dict[str, Desired] = {}
        self._held = held_by(store)
        self._flights: dict[str, Flight] = {}
        self._trouble: dict[str, Trouble] = {}
        self._corrupted_at: dict[str, str] = {}
        self._in_use: set[str] = set()
        self._may_remove = False
        self._evicting = asyncio.Lock()
        self.paused = False

    # -- what others say -------------------------------------------------------------------------------------

    def set_desired(self, desired: Iterable[Desired]) -> None:
        self._desired = {entry.key: entry for entry in desired}
        self._trouble = {key: trouble for key, trouble in self._trouble.items() if key in self._desired}
        self._in_use &= {key for key, entry in self._desired.items() if entry.absent}
        self._changed.set()

    def pins_are_mounts(self, known: bool) -> None:
        """Whether every mount on the node has its pin, so that what is not pinned may go."""
        self._may_remove = known
        self.pins_changed()

    def pins_changed(self) -> None:
        self._in_use.clear()
        self._changed.set()

    def set_paused(self, paused: bool) -> None:
        """While paused, no pull starts and nothing is removed; what is held goes on being published."""
        if paused != self.paused:
            log.info("agent.paused" if paused else "agent.resumed")
            self.paused = paused
            self._changed.set()

    async def recheck(self) -> None:
        """Some blob went bad: pull again what is not whole any more."""
        held = dict(self._held)
        damaged = await asyncio.to_thread(lambda: [key for key, h in held.items() if self._store.tree(h.tree) is None])
        for key in damaged:
            self._corrupted_at[key] = datetime.now(UTC).isoformat(timespec="seconds")
            self._trouble[key] = Trouble(
                error=Corrupted("bytes rotted on the disk of this node; they are fetched again"),
                attempts=0,
                retry_at=0.0,
                bytes_origin=held[key].bytes_origin,
                bytes_peers=held[key].bytes_peers,
            )
            self.lost(key)

    def lost(self, key: str) -> None:
        """Its tree is not on the disk any more, whatever we believed: pull it again."""
        log.error("tree.lost", key=key)
        self._held.pop(key, None)
        self._changed.set()

    # -- what others see -------------------------------------------------------------------------------------

    def desired_or_held(self) -> Mapping[str, Desired]:
        """All models that a publication may name: the desired ones first, what is to go left out."""
        entries = self._desired | {k: h.desired for k, h in self._held.items() if k not in self._desired}
        return {key: entry for key, entry in entries.items() if key not in self.to_go()}

    def to_go(self) -> set[str]:
        """Keys of the models that the node was told to give up."""
        return {key for key, entry in self._desired.items() if entry.absent}

    def held(self, key: str) -> Held | None:
        return self._held.get(key)

    def status(self, key: str) -> NodeModelStatus | None:
        """None for what is neither desired nor held."""
        status = self._status(key)
        return status and msgspec.structs.replace(status, corrupted_at=self._corrupted_at.get(key, ""))

    def _status(self, key: str) -> NodeModelStatus | None:
        held, flight, desired = self._held.get(key), self._flights.get(key), self._desired.get(key)
        if held is not None:
            going = desired is not None and desired.absent
            return status_of_held(held, why_it_stays=self._why_it_stays(key) if going else None)
        if flight is not None:
            return flight.status(time.monotonic())
        if desired is None or desired.absent:
            return None
        return status_of_waiting(desired, self._trouble.get(key), paused=self.paused)

    def statuses(self) -> list[NodeModelStatus]:
        keys = self._desired | self._flights | self._held  # as an ordered set: the order of the list, then the rest
        return [status for key in keys if (status := self.status(key)) is not None]

    def _why_it_stays(self, key: str) -> tuple[str, str]:
        """Reason and message of a model that is to go."""
        if not self._may_remove:
            return "MountsUnknown", "the CSI driver has not told yet what is mounted"
        return ("InUse", "a pod still has it mounted") if key in self._in_use else ("", "")

    def group(self, key: str) -> str:
        """A group that is planned to run the model on this node, if any is."""
        wish = self._desired.get(key)
        return wish.groups[0] if wish and wish.groups else ""

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Until cancelled; then pulls are told to end and leave what they have for the next start."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                seen = self._changed.version
                now = time.monotonic()
                decision = plan(self._snapshot(now))
                for key in decision.stop:
                    log.info("pull.stopping", key=key)
                    self._flights[key].cancel.set()
                for key in decision.remove:
                    await self._remove(key)
                for desired in decision.start:
                    tasks.create_task(self._fly(self._take_off(desired)), name=f"pull {desired.key}")
                await self._changed.wait(seen, timeout_s=self._pause_s(decision.wake_at, now=now))
                self._look_at_flights()

    def _snapshot(self, now: float) -> Snapshot:
        return Snapshot(
            desired=self._desired,
            held=frozenset(self._held),
            flying={key: flight.desired for key, flight in self._flights.items()},
            stopping=frozenset(key for key, flight in self._flights.items() if flight.cancel.is_set()),
            retry_at={key: trouble.retry_at for key, trouble in self._trouble.items()},
            now=now,
            slots=self._slots,
            removable=frozenset(self._held.keys() - self._in_use if self._may_remove else ()),
            paused=self.paused,
        )

    def _pause_s(self, wake_at: float | None, *, now: float) -> float | None:
        pauses = [TICK_S] if self._flights else []
        if wake_at is not None:
            pauses.append(max(0.0, wake_at - now))
        return min(pauses, default=None)

    def _look_at_flights(self) -> None:
        now = time.monotonic()
        for flight in self._flights.values():
            self._count(flight)
            if flight.turned(now):
                log.warning("pull.stalled" if flight.stalled(now) else "pull.moves_again", flight=repr(flight))
                self._changed.set()

    def _take_off(self, desired: Desired) -> Flight:
        trouble = self._trouble.get(desired.key)
        flight = Flight(
            desired,
            origin_before=trouble.bytes_origin if trouble else 0,
            peers_before=trouble.bytes_peers if trouble else 0,
            trouble=trouble.error.reason if trouble else "",
        )
        self._flights[desired.key] = flight
        self._changed.set()
        log.info("pull.started", key=desired.key, attempt=trouble.attempts + 1 if trouble else 1)
        return flight

    async def _fly(self, flight: Flight) -> None:
        key = flight.desired.key
        result = "Stopped"
        try:
            self._held[key] = await self._pull(flight)
            self._trouble.pop(key, None)
            result = "Ready"
        except Exception as error:
            if not flight.cancel.is_set():
                self._trouble[key] = self._note(flight, error)
                result = self._trouble[key].error.reason
        finally:
            self._count(flight)
            del self._flights[key]
            seconds = time.monotonic() - flight.started_at
            self._metrics.pull_seconds.labels(result).observe(seconds)
            log.info("pull.ended", flight=repr(flight), result=result, seconds=round(seconds, 3))
            self._changed.set()

    async def _pull(self, flight: Flight) -> Held:
        desired = flight.desired
        grant = await self._grants.for_pull(desired)
        fetch = partial(self._fetch, grant, on_progress=flight.told, cancel=flight.cancel)
        name = f"pull {desired.model[:8]}"
        try:
            pulled = await in_thread(fetch, cancel=flight.cancel, name=name)
        except InsufficientCache as error:
            await self._make_room_for(desired, error)
            pulled = await in_thread(fetch, cancel=flight.cancel, name=name)
        if desired.revision and pulled.revision != desired.revision:
            raise DigestMismatch(f"the source gave revision {pulled.revision} instead of {desired.revision}")
        record = PullRecord(key=desired.key, revision=pulled.revision, tree=pulled.tree.digest, source=pulled.source)
        await asyncio.to_thread(self._record, record, group=self.group(desired.key))
        return Held(
            desired=desired,
            tree=pulled.tree.digest,
            revision=pulled.revision,
            size=pulled.tree.size,
            bytes_origin=flight.bytes_origin,
            bytes_peers=flight.bytes_peers,
        )

    def _record(self, record: PullRecord, *, group: str) -> None:
        self._store.record_pull(record)
        self._store.touch(record.tree, group=group)  # what has just come is not what goes first

    async def _make_room_for(self, desired: Desired, error: InsufficientCache) -> None:
        """Raises InsufficientCache, with what holds the rest, where there is none to make."""
        need = Amount(error.missing_bytes, error.missing_inodes)
        if not need or self.paused:
            raise error
        made = await self.make_room(need, below=desired.priority)
        if made.missing:
            raise InsufficientCache(
                f"{error.message}; models here: {what_holds(made.kept) or 'none'}",
                missing_bytes=made.missing.bytes,
                missing_inodes=made.missing.inodes,
                hint=error.hint,
            ) from error

    async def make_room(self, need: Amount, *, below: int | None) -> Made:
        """Evict what may go (daemonset/pulling/room.py), all that is needed or nothing. Raises DiskError."""
        async with self._evicting:
            wishes = self._wishes_by_tree(await asyncio.to_thread(self._store.pull_records))
            known = self._may_remove
            made = await asyncio.to_thread(
                make_room,
                self._store,
                need,
                hold=lambda tree: hold(wishes.get(tree, ()), mounts_known=known, below=below),
                priority=lambda tree: max((w.priority for w in wishes.get(tree, ())), default=LEAST_WANTED),
            )
        for key in [key for key, held in self._held.items() if held.tree in made.removed]:
            del self._held[key]
            if key not in self._desired:
                await self._grants.forget(key)
        self._metrics.evicted.inc(made.freed)
        self._changed.set()
        return made

    def _wishes_by_tree(self, records: Iterable[PullRecord]) -> dict[Digest, list[Desired]]:
        wishes: dict[Digest, list[Desired]] = {}
        for record in records:
            if (wish := self._desired.get(record.key)) is not None and not wish.absent:
                wishes.setdefault(record.tree, []).append(wish)
        return wishes

    def _note(self, flight: Flight, error: Exception) -> Trouble:
        if not isinstance(error, WarmsetError):
            log.error("pull.defect", key=flight.desired.key, exc_info=error)
            error = WarmsetError(f"a defect of the agent: {type(error).__name__}")
        before = self._trouble.get(flight.desired.key)
        attempts = (before.attempts if before and not flight.progressed else 0) + 1
        delay_s = retry_delay_s(error, attempt=attempts)
        log.warning(
            "pull.failed", key=flight.desired.key, reason=error.reason, error=str(error), retry_in_s=round(delay_s, 1)
        )
        return Trouble(
            error=error,
            attempts=attempts,
            retry_at=time.monotonic() + delay_s,
            bytes_origin=flight.bytes_origin,
            bytes_peers=flight.bytes_peers,
        )

    def _count(self, flight: Flight) -> None:
        for source, count in flight.uncounted().items():
            self._metrics.received.labels(source).inc(count)

    async def _remove(self, key: str) -> None:
        held = self._held[key]
        try:
            freed = await asyncio.to_thread(give_up, self._store, key, held.tree)
        except InUse:
            self._in_use.add(key)
        except WarmsetError as error:
            # Nothing else can be done for it now; the next change of the pins or of the list tries again.
            log.error("tree.not_removed", key=key, error=str(error))
            self._in_use.add(key)
        else:
            del self._held[key]
            await self._grants.forget(key)
            log.info("tree.removed", key=key, tree=str(held.tree), bytes_freed=freed)
        self._changed.set()
