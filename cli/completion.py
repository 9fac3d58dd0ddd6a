"""Shell completion with the cluster's own names: WarmSets, Models and nodes.

A completion that cannot answer is silent: the shell shows nothing, and the line that the user types stays whole.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

WITHIN_S = 3.0  # longer than that nobody waits at a prompt


class ClusterName(click.ParamType[str]):
    """A name of one of several kinds of object (``api.resources`` or Node), as a plain string otherwise."""

    name = "name"

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from api.errors import WarmsetError
        from kube.client import ApiError

        begun, comma, last = incomplete.rpartition(",")
        try:
            names = asyncio.run(_names(self._kinds, ctx.params))
        except (ApiError, WarmsetError, TimeoutError):
            return []
        return [CompletionItem(f"{begun}{comma}{name}") for name in names if name.startswith(last)]


async def _names(kinds: tuple[str, ...], given: dict[str, Any]) -> list[str]:
    from cli.cluster import Target, connected
    from controller.objects.resources import MODEL, NODE_CACHE, WARM_SET

    resources = {"Model": MODEL, "WarmSet": WARM_SET, "Node": NODE_CACHE}
    kubeconfig, context = given.get("kubeconfig"), given.get("context")
    path = Path(kubeconfig) if kubeconfig else None
    target = Target(path, context, given.get("namespace") or "")
    async with asyncio.timeout(WITHIN_S), connected(target) as client:
        found = [await client.list(resources[kind], namespace=target.namespace) for kind in kinds]
    return sorted({obj["metadata"]["name"] for objects in found for obj in objects})


WARM_SETS = ClusterName("WarmSet")
MODELS = ClusterName("Model")
NODES = ClusterName("Node")
