"""Waiting for a stand-alone group: until every member holds every model that the agents' configuration lists.

This machine's agent tells which revision it has; of the others it is enough that they serve the same tree whole, which
they do on the port that the group uses, with the group's key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiohttp
import click
import msgspec

from api import keys
from api.errors import AgentUnavailable, InvalidRequest, SourceUnavailable, WaitTimeout, error_class
from api.node import AgentStatus
from api.reference import parse_reference
from api.resources import NodeModelStatus
from cache.exchange.authority.access import Access
from cache.exchange.authority.identity import read
from cache.exchange.authority.tls import PeerTls
from cache.exchange.group import Contact
from cache.exchange.peer import serves_tree
from cache.origin import Origin
from cache.sources.artifact import Filter
from daemonset.config import AgentConfig, StandaloneModel

POLL_S = 1.0
ASK_S = 5.0


async def until_warm(config: AgentConfig, *, within_s: float, say: Callable[[str], None] = click.echo) -> None:
    """Raises WaitTimeout, or the reason for which this machine's agent has given up on a model."""
    peers = config.peers
    if peers is None:
        raise InvalidRequest("the configuration has no 'peers'", hint="wait for one agent with `warmset node`")
    access = Access(PeerTls(read(peers.key_file))) if peers.key_file else None
    every = [(model, member) for model in config.models for member in peers.members]
    left = list(every)
    deadline = time.monotonic() + within_s
    said = ""
    while left:
        words = ""
        for model, member in list(left):
            here = member == peers.listen
            missing = await _missing(config, model, member="" if here else member, access=access)
            if not missing:
                left.remove((model, member))
            words = words or missing
        if words and words != said:
            say(f"waiting for {len(left)} of {len(every)}: {words}")
            said = words
        if left and time.monotonic() >= deadline:
            raise WaitTimeout(
                f"the group was not warm within {within_s:.0f} s: {words}", hint="look at that member's log"
            )
        if left:
            await asyncio.sleep(POLL_S)


async def _missing(config: AgentConfig, model: StandaloneModel, *, member: str, access: Access | None) -> str:
    """What is not there yet; empty when the member holds the model. This machine's is the one without a name."""
    try:
        here = await _here(config, model)
    except AgentUnavailable as error:
        return error.message
    if here.state == "Failed":
        raise error_class(here.reason)(f"{model.name}: {here.message}")
    if here.state != "Ready":
        return f"{model.name} on this machine is {here.state} {here.reason}".rstrip()
    if not member:
        return ""
    key = access.tls.identity.key if access else ""
    exchange = Origin(parse_reference(model.source).pinned(here.revision), Filter()).exchange
    try:
        held = await asyncio.to_thread(
            serves_tree, Contact(member, key), access=access, exchange=exchange, tree=here.tree.removeprefix("sha256:")
        )
    except (OSError, SourceUnavailable) as error:
        return f"{member} does not answer ({error})"
    return "" if held else f"{model.name} on {member}"


async def _here(config: AgentConfig, model: StandaloneModel) -> NodeModelStatus:
    """Raises AgentUnavailable."""
    timeout = aiohttp.ClientTimeout(total=ASK_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"http://{config.listen}/v1/status") as answer,
        ):
            status = msgspec.json.decode(await answer.read(), type=AgentStatus)
    except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
        raise AgentUnavailable(f"this machine's agent does not answer on {config.listen}") from error
    wanted = keys.model_key(model.namespace, model.base_name)
    found = next((one for one in status.models if one.model == wanted), None)
    if found is None:
        raise AgentUnavailable(f"this machine's agent has not been told of {model.name}: restart it")
    return found
