"""Archives' layers stay beside what was unpacked of them while the cohort may want them, and then go.

Whoever pulls asks every member for its state several times a second, or reads chunks from the cohort above, so silence
means that nobody does.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

import structlog

from api.errors import WarmsetError
from cache.exchange.group import Exchanges
from cache.store import Store

LOOK_S = 60.0
IDLE_S = 600.0  # members of one group start within minutes of each other

log = structlog.get_logger()


async def drop_unasked(exchanges: Exchanges, *, store: Store) -> NoReturn:
    while True:
        await asyncio.sleep(LOOK_S)
        for holding in exchanges.unasked(since_s=IDLE_S):
            layers = [blob.digest for blob in holding.blobs if blob.digest not in holding.tree.blobs]
            try:
                freed = await asyncio.to_thread(store.remove_blobs, layers) if layers else 0
            except WarmsetError as error:
                log.warning("layers.not_dropped", exchange=holding.exchange, error=str(error))
                continue
            if freed:
                log.info("layers.dropped", exchange=holding.exchange, bytes_freed=freed)
