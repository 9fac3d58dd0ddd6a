"""The reflector on a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kube.client import Client
from kube.reflector import Key, Reflector
from kube.resources import CONFIG_MAP


async def eventually(check: Callable[[], bool], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not check():
            await asyncio.sleep(0.02)


async def test_follows_creation_change_and_deletion(cluster: Client) -> None:
    seen: list[tuple[str, str]] = []

    def on_change(key: Key, old: object, new: object) -> None:
        seen.append((key[1], "gone" if new is None else "changed" if old else "new"))

    reflector = Reflector(cluster, CONFIG_MAP, namespace="default", on_change=on_change)
    body = {"metadata": {"name": "one"}, "data": {"a": "1"}}
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reflector.run())
        await reflector.synced.wait()
        await cluster.create(CONFIG_MAP, body, namespace="default")
        await eventually(lambda: ("default", "one") in reflector.items)
        await cluster.patch(CONFIG_MAP, "one", {"data": {"a": "2"}}, namespace="default")
        await eventually(lambda: reflector.items["default", "one"]["data"]["a"] == "2")
        await cluster.delete(CONFIG_MAP, "one", namespace="default")
        await eventually(lambda: ("default", "one") not in reflector.items)
        running.cancel()
    assert seen == [("one", "new"), ("one", "changed"), ("one", "gone")]


async def test_an_object_that_stops_mattering_is_seen_as_gone(cluster: Client) -> None:
    reflector = Reflector(
        cluster, CONFIG_MAP, namespace="default", keep=lambda obj: obj.get("data", {}).get("keep") == "yes"
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reflector.run())
        await reflector.synced.wait()
        await cluster.create(CONFIG_MAP, {"metadata": {"name": "two"}, "data": {"keep": "yes"}}, namespace="default")
        await eventually(lambda: ("default", "two") in reflector.items)
        await cluster.patch(CONFIG_MAP, "two", {"data": {"keep": "no"}}, namespace="default")
        await eventually(lambda: ("default", "two") not in reflector.items)
        running.cancel()
    await cluster.delete(CONFIG_MAP, "two", namespace="default")
