"""``warmset explain``: why a pod, a WarmSet or a node is not warm."""

from __future__ import annotations

import click
import msgspec

from api.errors import NotFound
from api.resources import NodeCache, WarmSet
from cli.cluster import Target, cluster_options, connected, find, run
from cli.completion import ClusterName
from cli.explaining import event_lines, node_cache, node_lines, pod_lines, warm_set_lines
from cli.output import Form, form_option, show
from controller.objects.resources import WARM_SET
from kube.client import Object
from kube.resources import POD


@click.command()
@click.argument("name", metavar="POD|WARMSET|NODE", type=ClusterName("WarmSet", "Node"))
@cluster_options
@form_option(wide=False)
def command(name: str, target: Target, output: Form) -> None:
    """Say what a pod, a WarmSet or a node waits for, and what has happened to it.

    A name that several of them have means the pod before the WarmSet before the node.
    """
    facts = run(_facts(name, target))
    show(facts, facts["lines"], form=output)


async def _facts(name: str, target: Target) -> Object:
    async with connected(target) as client:
        pod = await find(client, POD, name, namespace=target.namespace)
        if pod is not None:
            lines = await pod_lines(client, pod)
            return {"kind": "Pod", "name": name, "lines": lines + await event_lines(client, pod)}
        found = await find(client, WARM_SET, name, namespace=target.namespace)
        if found is not None:
            lines = await warm_set_lines(client, msgspec.convert(found, type=WarmSet))
            return {"kind": "WarmSet", "name": name, "lines": lines + await event_lines(client, found)}
        cache = await node_cache(client, name)
        if cache is not None:
            lines = await node_lines(client, msgspec.convert(cache, type=NodeCache), namespace=target.namespace)
            return {"kind": "Node", "name": name, "lines": lines}
    raise NotFound(f"neither a pod nor a WarmSet in namespace {target.namespace!r} nor a node is called {name!r}")
