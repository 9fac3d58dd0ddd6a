"""With whom an agent in a cluster shares a pull: asked from the broker when it begins, and again while it lasts.

Without an answer the pull goes on alone: it takes a copy of its own, as it would without an exchange. Once begun, an
exchange needs no broker: members know each other, and what one has let the other read it goes on letting it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import structlog

from api import keys
from api.broker import Cohort, CohortRequest, Grant
from api.cohort import Seat
from api.errors import NotFound, WarmsetError
from cache.exchange.authority.access import Access
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contact, Contacts, Exchanges, Group

ASK_S = 15.0  # longest that a pull waits for the broker
FIRST_AGAIN_S = 1.0  # while members are not known yet, doubled each time
REFRESH_S = 150.0  # a capability lasts four times as long; agents that were restarted elsewhere are found again
TICK_S = 0.5

Ask = Callable[[CohortRequest], Awaitable[Cohort]]

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Membership:
    """Of one pull under way. ``capability`` and what ``contacts`` hold are renewed by the event loop."""

    request: CohortRequest
    seat: Seat
    contacts: Contacts
    capability: str
    due: float
    pause_s: float = FIRST_AGAIN_S


class Cohorts:
    """``joined`` is for the threads of pulls, ``run`` for ``loop``."""

    def __init__(self, ask: Ask, *, tls: PeerTls, exchanges: Exchanges, loop: asyncio.AbstractEventLoop) -> None:
        self._ask = ask
        self._tls = tls
        self._exchanges = exchanges
        self._loop = loop
        self._memberships: frozenset[_Membership] = frozenset()

    @contextlib.contextmanager
    def joined(self, grant: Grant) -> Iterator[Exchanges | None]:
        """What the pull of ``grant`` is shared through, as long as it lasts; None where it is not."""
        membership = self._member(grant)
        if membership is None:
            yield None
            return
        seat = membership.seat
        group = Group(
            members=_names(seat.cohort, seat.seats),
            me=None if seat.number is None else _name(seat.cohort, seat.number),
            contacts=membership.contacts,
            access=Access(self._tls, lambda: membership.capability),
            above=_names(seat.above, seat.above_seats),
        )
        self._loop.call_soon_threadsafe(self._keep, membership)
        try:
            yield self._exchanges.within(group)
        finally:
            with contextlib.suppress(RuntimeError):  # the agent has ended meanwhile
                self._loop.call_soon_threadsafe(self._drop, membership)

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._loop.time()
            for membership in self._memberships:
                if membership.due <= now:
                    await self._renew(membership)

    def _member(self, grant: Grant) -> _Membership | None:
        namespace, _, name = grant.model.partition("/")
        model = keys.model_key(namespace, name)
        request = CohortRequest(model=model, revision=grant.revision, key=self._tls.identity.key)
        asked = asyncio.run_coroutine_threadsafe(_awaited(self._ask(request)), self._loop)
        try:
            cohort = asked.result(ASK_S)
        except NotFound:
            return None
        except (WarmsetError, TimeoutError) as error:
            asked.cancel()
            log.warning("exchange.no_cohort", model=model, why=str(error) or "the broker takes too long")
            return None
        seat = Seat.parse(cohort.seat)
        if seat is None:
            return None
        log.info("exchange.joined", model=model, seat=cohort.seat, known=len(cohort.peers), above=len(cohort.above))
        due = self._loop.time() + FIRST_AGAIN_S
        return _Membership(request, seat, Contacts(_known(seat, cohort)), cohort.capability, due)

    def _keep(self, membership: _Membership) -> None:
        self._memberships |= {membership}

    def _drop(self, membership: _Membership) -> None:
        self._memberships -= {membership}

    async def _renew(self, membership: _Membership) -> None:
        complete = False
        try:
            cohort = await self._ask(membership.request)
        except WarmsetError as error:
            log.info("exchange.not_renewed", model=membership.request.model, why=str(error))
        else:
            membership.capability = cohort.capability
            seat = membership.seat
            membership.contacts.update(_known(seat, cohort))
            others = seat.seats - (seat.number is not None) + seat.above_seats
            complete = len(cohort.peers) + len(cohort.above) >= others
        membership.pause_s = REFRESH_S if complete else min(REFRESH_S, 2 * membership.pause_s)
        # Jitter, for all members began at the same moment.
        membership.due = self._loop.time() + membership.pause_s * random.uniform(0.75, 1.25)  # noqa: S311


async def _awaited(answer: Awaitable[Cohort]) -> Cohort:
    return await answer


def _known(seat: Seat, cohort: Cohort) -> Mapping[str, Contact]:
    members = [(seat.cohort, peer) for peer in cohort.peers] + [(seat.above, peer) for peer in cohort.above]
    return {_name(of, peer.seat): Contact(peer.address, peer.key, peer.node) for of, peer in members}


def _names(cohort: str, seats: int) -> tuple[str, ...]:
    return tuple(_name(cohort, number) for number in range(seats))


def _name(cohort: str, number: int) -> str:
    """With the cohort's name in it, owners are drawn anew in each: a slow one is not asked by the same one below."""
    return f"{cohort}/{number}"
