"""One revision for a whole stand-alone group: where a reference may move, the first member resolves it for all.

The first of the sorted list resolves a tag once, and keeps to what it holds. The others ask it and pin what it says;
while it cannot be asked they fail with Undecided and try again, because two revisions are two models.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from contextlib import closing

import msgspec

from api.broker import Grant
from api.errors import NotFound, SourceUnavailable, Undecided
from api.reference import parse_reference
from cache.exchange.group import Group
from cache.exchange.peer import Line
from cache.http.network import Network
from cache.sources.resolve import resolve
from cache.store import Store
from daemonset.authority.standalone import ConfiguredGrants
from daemonset.pulling.desired import Desired
from daemonset.pulling.fetch import source_options

_NETWORK = Network(connect_timeout_s=3.0, stall_s=30.0)  # the first member may have to ask the source
_MAX_BYTES = 4096


class Said(msgspec.Struct, frozen=True):
    revision: str


class Agreement:
    """Grants as configured, each at the revision that the group agreed on. For any event loop."""

    def __init__(self, group: Group, *, grants: ConfiguredGrants, store: Store) -> None:
        self._group = group
        self._grants = grants
        self._store = store
        self._asked: dict[str, Grant] = {_id(key): grant for key, grant in grants.all.items()}
        self._said: dict[str, str] = {}
        self._deciding = threading.Lock()

    async def grant(self, desired: Desired) -> Grant:
        """Raises NotFound, Undecided, or what resolving does."""
        grant = await self._grants.grant(desired)
        reference = parse_reference(grant.source)
        if reference.is_pinned:
            return grant
        if self._group.me == self._first:
            revision = await self.revision(_id(desired.key))
        else:
            revision = await asyncio.to_thread(self._ask, _id(desired.key))
        return msgspec.structs.replace(grant, source=str(reference.pinned(revision)))

    async def revision(self, entry: str) -> str:
        """What the first member says of a configured model. Raises NotFound, also on every other member."""
        grant = self._asked.get(entry)
        if grant is None or self._group.me != self._first:
            raise NotFound("not a model of this group, or not for this member to say")
        return await asyncio.to_thread(self._decided, entry, grant)

    @property
    def _first(self) -> str:
        return self._group.members[0]

    def _decided(self, entry: str, grant: Grant) -> str:
        with self._deciding:
            if entry not in self._said:
                self._said[entry] = self._held_or_resolved(entry, grant)
            return self._said[entry]

    def _held_or_resolved(self, entry: str, grant: Grant) -> str:
        for record in self._store.pull_records():
            if _id(record.key) == entry:
                return record.revision
        options = source_options(grant, ambient=True)
        return resolve(parse_reference(grant.source), options=options).revision

    def _ask(self, entry: str) -> str:
        problem = ""
        with closing(
            Line(self._group.contacts.reach(self._first), access=self._group.access, network=_NETWORK)
        ) as line:
            try:
                response = line.get(f"/exchange/v1/{entry}/revision")
                body = response.read(_MAX_BYTES)
                if response.status == 200:
                    return msgspec.json.decode(body, type=Said).revision
                problem = f"it answers {response.status}"
            except (OSError, SourceUnavailable, msgspec.DecodeError) as error:
                problem = str(error)
        raise Undecided(
            f"member {self._first} has not said which revision the group pulls: {problem}",
            hint="see that member's log, or give the source by its digest",
        )


def _id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
