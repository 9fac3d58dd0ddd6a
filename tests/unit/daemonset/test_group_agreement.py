"""A group pulls one revision of a tag, also where the tag moves while its members start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.errors import NotFound, Undecided
from api.reference import parse_reference
from cache.exchange.authority.identity import Identity
from cache.pull import pull
from cache.sources import SourceOptions
from cache.store import Store
from daemonset.config import load
from daemonset.pulling.desired import Desired, from_config
from daemonset.sharing import peers
from daemonset.sharing.exchanges import Sharing, sharing_of
from daemonset.sharing.turnstile import Turnstile
from tests.support.exchange_group import MIB, Model, free_address
from tests.support.fake_registry import FakeRegistry


class Member:
    def __init__(self, sharing: Sharing, desired: Desired, store: Store) -> None:
        self.sharing = sharing
        self.desired = desired
        self.store = store

    async def source(self) -> str:
        """What it would pull."""
        assert self.sharing.agreement is not None
        return (await self.sharing.agreement.grant(self.desired)).source

    async def serve(self, stack: AsyncExitStack) -> None:
        assert self.sharing.agreement is not None
        assert self.sharing.tls is not None
        app = peers.application(
            self.sharing.exchanges,
            store=self.store,
            admission=self.sharing.admission,
            turnstile=Turnstile(),
            revision=self.sharing.agreement.revision,
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, _, port = self.sharing.listen.rpartition(":")
        await web.TCPSite(runner, host, int(port), ssl_context=self.sharing.tls.server).start()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def registry(stack: AsyncExitStack) -> FakeRegistry:
    return stack.enter_context(FakeRegistry())


def members(stack: AsyncExitStack, folder: Path, *, source: str, plain_http: str) -> list[Member]:
    key = folder / "group.key"
    key.touch(mode=0o600)
    key.write_bytes(Identity(Ed25519PrivateKey.generate()).private_pem)
    addresses = sorted(free_address() for _ in range(2))
    made = []
    for number, address in enumerate(addresses):
        root = folder / str(number)
        options = {
            "root": str(root),
            "models": [{"name": "llama", "source": source}],
            "plain_http": [plain_http],
            "peers": {"listen": address, "members": addresses, "key_file": str(key)},
        }
        config = load(None, options=options)
        store = stack.enter_context(Store.open(root))
        sharing = sharing_of(config, store=store)
        assert sharing is not None
        made.append(Member(sharing, from_config(config.models)[0], store))
    return made


async def test_the_first_member_resolves_and_the_others_follow_though_the_tag_moves(
    registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[MIB])
    first, second = members(stack, tmp_path, source=model.reference, plain_http=registry.host)
    await first.serve(stack)
    assert parse_reference(await second.source()) == parse_reference(model.reference).pinned(str(model.revision))
    registry.add_model("models/m", "v1", {"other.safetensors": b"moved"})
    assert await first.source() == await second.source()
    assert parse_reference(await first.source()) == parse_reference(model.reference).pinned(str(model.revision))


async def test_what_the_first_member_holds_already_stays_the_group_s(
    registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[MIB])
    first, second = members(stack, tmp_path, source=model.reference, plain_http=registry.host)
    options = SourceOptions(plain_http=frozenset({registry.host}))
    pull(first.store, parse_reference(model.pinned), options=options, key=first.desired.key)
    registry.add_model("models/m", "v1", {"other.safetensors": b"moved"})
    await first.serve(stack)
    assert (await second.source()).endswith(f"@{model.revision}")


async def test_without_the_first_member_nobody_guesses(
    registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[MIB])
    first, second = members(stack, tmp_path, source=model.reference, plain_http=registry.host)
    with pytest.raises(Undecided, match="has not said"):
        await second.source()
    await first.serve(stack)
    assert await second.source()


async def test_a_source_by_digest_needs_nobody(registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path) -> None:
    model = Model(registry, large=[MIB])
    _, second = members(stack, tmp_path, source=model.pinned, plain_http=registry.host)
    assert await second.source() == model.pinned


async def test_only_the_first_member_says_and_only_of_configured_models(
    registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[MIB])
    first, second = members(stack, tmp_path, source=model.reference, plain_http=registry.host)
    for member, entry in ((second, "a" * 64), (first, "a" * 64)):
        assert member.sharing.agreement is not None
        with pytest.raises(NotFound):
            await member.sharing.agreement.revision(entry)


async def test_all_who_ask_at_once_cost_one_question_to_the_source(
    registry: FakeRegistry, stack: AsyncExitStack, tmp_path: Path
) -> None:
    model = Model(registry, large=[MIB])
    first, second = members(stack, tmp_path, source=model.reference, plain_http=registry.host)
    await first.serve(stack)
    found = await asyncio.gather(*(member.source() for member in (first, second) * 4))
    assert len(set(found)) == 1
    assert sum("/manifests/v1" in seen.path for seen in registry.seen) <= 2  # a HEAD may go before
