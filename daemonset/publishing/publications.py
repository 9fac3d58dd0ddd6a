"""Publications: a pod's mount of a tree, granted here and made by the CSI driver.

A pin is fsynced before the driver mounts, in the call that checks the tree. A pod may mount a model if the model's
grant names its namespace, or if its own login opens the model's source; knowing a digest is never enough. A model that
does not exist, one that is not here yet and one that is somebody else's all look the same to a pod that may not have
it: the call is held and ends in Pulling.
"""

from __future__ import annotations

import asyncio
import math
import re
import time

import structlog

from api.digest import Digest
from api.errors import AlreadyPublished, InvalidRequest, NotFound, Pulling, WarmsetError, error_class
from api.keys import model_key
from api.node import MAX_WAIT_S, LiveSet, Publication, PublishRequest
from cache.store import Pin, Store
from daemonset.authority.grants import Grants
from daemonset.authority.logins import Logins
from daemonset.changed import Changed
from daemonset.publishing.pins import ADOPTED, Pins
from daemonset.publishing.preload import Preload
from daemonset.pulling.desired import Desired
from daemonset.pulling.holding import Held
from daemonset.pulling.pulls import Pulls

_ID = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?")

log = structlog.get_logger()


class Publications:
    """Used from one event loop; the store's calls run in threads because they wait for the disk."""

    def __init__(
        self, store: Store, *, pulls: Pulls, grants: Grants, logins: Logins, preload: Preload, changed: Changed
    ) -> None:
        self._store = store
        self._pulls = pulls
        self._grants = grants
        self._logins = logins
        self._preload = preload
        self._changed = changed
        self._pins = Pins(store)
        self._waiting: set[str] = set()
        self._settled_at = 0

    def count(self) -> int:
        return len(self._pins.ids)

    async def all(self) -> list[Publication]:
        return await self._pins.all()

    async def publish(self, request: PublishRequest) -> Publication:
        """Wait for the tree, at most ``wait_s`` seconds, and pin it.

        Raises Pulling when the time is over, AlreadyPublished when the id stands for another model, or what made the
        pull fail.
        """
        _check(request)
        there = self._pins.get(request.id)
        if there is not None and (again := await self._again(there, request)) is not None:
            return again
        self._waiting.add(request.id)
        try:
            answer = await self._wait(request)
        finally:
            self._waiting.discard(request.id)
        log.info("publication.granted", id=request.id, pod=f"{request.namespace}/{request.pod}")
        if request.preload:
            self._preload.ask(Digest.parse(answer.tree), wanted=lambda: request.id in self._pins.ids)
        return answer

    async def unpublish(self, publication: str, *, at: int = 0) -> None:
        """Give up the pin; nothing happens where there is none, or where it is newer than ``at``."""
        if not _ID.fullmatch(publication):
            raise InvalidRequest("a publication's id is 64 hex digits")
        if await self._pins.let_go(publication, at=at or time.monotonic_ns()):
            log.info("publication.ended", id=publication)
        self._pulls.pins_changed()

    async def settle(self, live: LiveSet) -> None:
        """Make the pins those of what is mounted, and tell the pulls whether that worked.

        The driver counts what it works on as live, so a pin whose mount is about to be made is among them.
        """
        at = live.at or time.monotonic_ns()
        if at < self._settled_at:
            return  # a later report has been heard already
        self._settled_at = at
        ids = set(live.ids)
        for publication in self._pins.ids - ids:
            log.info("publication.not_mounted", id=publication)
            await self.unpublish(publication, at=at)
        unknown = ids - self._pins.ids - self._waiting
        mounted = {publication: live.trees[publication] for publication in unknown & live.trees.keys()}
        unknown -= await self._pins.adopt(mounted, at=at)
        if unknown:
            # Perhaps a mount without a pin, and of a tree that nobody can tell: nothing goes until the next report.
            log.warning("publication.without_pin", ids=sorted(unknown)[:10], count=len(unknown))
        self._pulls.pins_are_mounts(not unknown)

    async def _again(self, pin: Pin, request: PublishRequest) -> Publication | None:
        """kubelet repeats calls: the same answer to the same question. None when the tree is not there any more."""
        if pin.note == ADOPTED:
            return None
        same = pin.note.get("model") == request.model and pin.note.get("namespace") == request.namespace
        if not same or request.revision not in ("", pin.note.get("revision")):
            raise AlreadyPublished(f"publication {request.id} already stands for another model")
        try:
            return await self._pins.hold(pin, at=_at(request))
        except NotFound:
            # A damaged tree is mended under its mount, so it keeps its pin; only one that is gone gives it up.
            if not await asyncio.to_thread(self._store.tree_path(pin.tree).is_dir):
                await self.unpublish(request.id)
            return None

    async def _wait(self, request: PublishRequest) -> Publication:
        deadline = time.monotonic() + min(request.wait_s, MAX_WAIT_S)
        while True:
            seen = self._changed.version
            answer = await self._try(request)
            if isinstance(answer, Publication):
                return answer
            if time.monotonic() >= deadline:
                raise answer
            await self._changed.wait(seen, timeout_s=deadline - time.monotonic())

    async def _try(self, request: PublishRequest) -> Publication | WarmsetError:
        """One look: the publication, or what to answer if it was the last look. Raises what waiting cannot mend."""
        refusal = Pulling(
            f"model {request.model} is not on this node yet, or not for pods of namespace {request.namespace}",
            hint="see `warmset explain`; who may mount it: namespaces in the Model's spec.allowedNamespaces, and pods"
            " whose nodePublishSecretRef opens its source",
        )
        for desired in await self._candidates(request):
            if not await self._may_mount(desired, request):
                continue
            held = self._pulls.held(desired.key)
            if held is not None:
                try:
                    return await self._grant(held, request)
                except NotFound:
                    self._pulls.lost(desired.key)
            status = self._pulls.status(desired.key)
            if status is not None and status.state == "Failed":
                raise error_class(status.reason)(status.message)
            if status is not None:
                why = f": {status.reason}: {status.message}" if status.reason else ""
                refusal = Pulling(
                    f"{request.model} is {status.state.lower()}, {status.bytes_done} of {status.bytes_total} bytes{why}"
                )
        return refusal

    async def _may_mount(self, desired: Desired, request: PublishRequest) -> bool:
        if await self._grants.allows(desired, namespace=request.namespace):
            return True
        grant = self._grants.known(desired)
        return grant is not None and bool(request.login) and await self._logins.opens(grant, document=request.login)

    async def _grant(self, held: Held, request: PublishRequest) -> Publication:
        note = {
            "model": request.model,
            "revision": held.revision,
            "namespace": request.namespace,
            "pod": request.pod,
            "pod_uid": request.pod_uid,
        }
        group = self._pulls.group(held.desired.key)
        return await self._pins.hold(Pin(request.id, held.tree, note), at=_at(request), group=group)

    async def _candidates(self, request: PublishRequest) -> list[Desired]:
        """Entries that answer the request. Where it names no revision and there are several, the Model's present one:
        what happens to be here already could be anything that other pods still have."""
        namespace, _, name = request.model.partition("/")
        model = model_key(namespace, name)
        found = []
        for key, desired in self._pulls.desired_or_held().items():
            held = self._pulls.held(key)
            revision = held.revision if held else desired.revision
            if desired.model == model and request.revision in ("", revision):
                found.append(desired)
        if request.revision or len(found) < 2:
            return found
        return await self._grants.current(found)


def _check(request: PublishRequest) -> None:
    if not _ID.fullmatch(request.id):
        raise InvalidRequest("a publication's id is 64 hex digits")
    if not _MODEL.fullmatch(request.model):
        raise InvalidRequest(f"a model is named namespace/name, got {request.model[:80]!r}")
    if not request.namespace:
        raise InvalidRequest("the pod's namespace is missing")
    if not (math.isfinite(request.wait_s) and request.wait_s >= 0):
        raise InvalidRequest(f"wait_s must be 0 or more seconds, not {request.wait_s}")


def _at(request: PublishRequest) -> int:
    return request.at or time.monotonic_ns()
