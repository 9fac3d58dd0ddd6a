"""``warmset cool``: let nodes give models up."""

from __future__ import annotations

import click

from api import keys
from cli.cluster import FIELD_MANAGER, Target, cluster_options, connected, run, warm_set
from cli.completion import WARM_SETS
from controller.objects.resources import WARM_SET


@click.command()
@click.argument("name", metavar="WARMSET", type=WARM_SETS)
@cluster_options
def command(name: str, target: Target) -> None:
    """Ask for WARMSET no more, and remove its models from nodes where no pod and no other WarmSet wants them.

    The WarmSet stays and shows how far it is; `warmset warm` takes it back. Deleting a WarmSet instead removes
    nothing: its models stay on the nodes until their room is needed.
    """
    run(_cool(name, target))
    click.echo(f"{target.namespace}/{name}")


async def _cool(name: str, target: Target) -> None:
    async with connected(target) as client:
        found = await warm_set(client, name, namespace=target.namespace)
        patch = {"metadata": {"uid": found.metadata.uid, "annotations": {keys.COOL: "true"}}}
        await client.patch(WARM_SET, name, patch, namespace=target.namespace, field_manager=FIELD_MANAGER)
