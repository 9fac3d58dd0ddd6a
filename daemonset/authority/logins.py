"""A pod's own registry login as authority: whoever reads a model at its source may mount what the node holds of it.

A Model's namespaces are one way to be allowed (grants.py). This is the other, for pods whose volume carries a Secret
(nodePublishSecretRef): the source is asked for the manifest of just that revision with the pod's login, and its answer
decides. A yes is remembered for a day, so that a pod starts while the registry is away; a no, and no answer, open
nothing.

    <root>/logins/key       32 random bytes that stay on this node
    <root>/logins/<hex>     when the source last gave its yes, in Unix seconds; the name is an HMAC under that key of
                            repository, revision and login, so neither can be read or guessed from it
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import structlog

from api.broker import Grant
from api.errors import Forbidden, InvalidRequest, WarmsetError
from api.reference import OciReference, parse_reference
from cache.sources import Credential
from cache.sources.oci.credentials import stored_login
from cache.sources.resolve import resolve
from cache.store.files import replace_durably
from daemonset.changed import Changed
from daemonset.pulling.fetch import source_options

FOLDER = "logins"
TRUSTED_S = 24 * 3600.0  # a login revoked at the source opens new mounts at most this much longer
REFUSED_S = 10.0  # soonest that the source is asked again about a login that opened nothing
ASK_S = 4.0  # longest that a publication waits for the source; an answer that comes later is remembered all the same
_KEY_BYTES = 32
_MOST_REFUSED = 1000

log = structlog.get_logger()

Ask = Callable[[Grant, Credential], None]


def ask_source(grant: Grant, login: Credential) -> None:
    """Return if the source gives the grant's revision to ``login``, else raise a WarmsetError. Blocks."""
    options = replace(source_options(grant, ambient=False), credential=login)
    revision = resolve(parse_reference(grant.source), options=options).revision
    if revision != grant.revision:
        raise Forbidden(f"the source gave revision {revision} instead of {grant.revision}")


class Logins:
    """Used from one event loop. ``root`` is the store's root, owned by this process; ``changed`` hears of every yes."""

    def __init__(self, root: Path, *, changed: Changed, ask: Ask = ask_source) -> None:
        self._folder = root / FOLDER
        self._scratch = root / "scratch"
        self._changed = changed
        self._ask = ask
        self._asking: dict[str, asyncio.Task[bool]] = {}
        self._refused_at: dict[str, float] = {}
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._key = self._read_key()
        for path in self._folder.iterdir():
            if path.name != "key" and not _is_fresh(path):
                path.unlink()

    async def opens(self, grant: Grant, *, document: str) -> bool:
        """Does the login for the source's host in ``document`` (a docker configuration) open the grant's revision?"""
        reference = parse_reference(grant.source)
        if not isinstance(reference, OciReference):
            return False
        try:
            login = stored_login(document, host=reference.host)
        except InvalidRequest:
            login = None
        if login is None:
            return False
        name = self._name(reference, grant.revision, login)
        if await asyncio.to_thread(_is_fresh, self._folder / name):
            return True
        if time.monotonic() - self._refused_at.get(name, -REFUSED_S) < REFUSED_S:
            return False
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._ask_once(name, grant, login), name="ask with a login")
            task.add_done_callback(lambda _: self._asking.pop(name))
        try:
            async with asyncio.timeout(ASK_S):
                return await asyncio.shield(task)
        except TimeoutError:
            return False

    async def _ask_once(self, name: str, grant: Grant, login: Credential) -> bool:
        try:
            await asyncio.to_thread(self._ask, grant, login)
            now = repr(time.time()).encode()
            await asyncio.to_thread(replace_durably, self._folder / name, now, scratch=self._scratch)
        except (WarmsetError, OSError) as error:
            # Said here alone: to the pod, a model that is not its own must look like one that does not exist.
            log.info("login.opens_nothing", reason=getattr(error, "reason", type(error).__name__))
            if len(self._refused_at) >= _MOST_REFUSED:
                self._refused_at.clear()
            self._refused_at[name] = time.monotonic()
            return False
        self._changed.set()
        return True

    def _name(self, reference: OciReference, revision: str, login: Credential) -> str:
        parts = [reference.place, revision, login.username, login.password, login.identity_token]
        return hmac.new(self._key, msgspec.json.encode(parts), sha256).hexdigest()

    def _read_key(self) -> bytes:
        path = self._folder / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != _KEY_BYTES:  # a new one voids what was remembered under another
            key = os.urandom(_KEY_BYTES)
            replace_durably(path, key, scratch=self._scratch)
        return key


def _is_fresh(path: Path) -> bool:
    """Fails closed: what cannot be read, and a time that is still to come, count for nothing."""
    try:
        return 0 <= time.time() - float(path.read_bytes()) < TRUSTED_S
    except (OSError, ValueError):
        return False
