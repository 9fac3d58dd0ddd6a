"""``warmset plan``: which nodes groups would get, and why not the others."""

from __future__ import annotations

import click
import msgspec

from api.errors import InvalidRequest
from api.resources import GroupPlacement, ObjectMeta, Placement, WarmSet, WarmSetSpec
from cli.cluster import Target, cluster_options, connected, run
from cli.local import output_option, show_json
from cli.planning import as_json, look, show
from controller.preview import Preview
from controller.resources import WARM_SET
from kube.client import ApiError


@click.command()
@click.argument("name", metavar="MODEL|WARMSET")
@click.option("--groups", type=click.IntRange(1, 10000), help="How many groups of the Model.")
@click.option("--size", type=click.IntRange(1, 10000), help="Nodes in a group.")
@click.option("--spare", type=click.IntRange(0, 1000), default=0, help="Nodes beside those a group needs.")
@click.option("--topology-key", default="", help="Node label; a group stays within one value of it.")
@click.option("--level", "levels", multiple=True, help="As topology_levels of the controller, widest first.")
@cluster_options
@output_option
def command(
    name: str,
    groups: int | None,
    size: int | None,
    spare: int,
    topology_key: str,
    levels: tuple[str, ...],
    target: Target,
    output: str,
) -> None:
    """Show which nodes groups would get, what those hold already, and why the others are out. Changes nothing.

    \b
    warmset plan llama --groups 2 --size 4      # of a Model
    warmset plan everywhere                     # of a WarmSet, as it would be planned now
    """
    if (groups is None) != (size is None):
        raise InvalidRequest("--groups and --size go together")
    placement = None
    if groups is not None and size is not None:
        placement = GroupPlacement(count=groups, size=size, spare=spare, topology_key=topology_key)
    found = run(_look(name, placement, target, levels=levels))
    if output == "json":
        show_json(as_json(found))
    else:
        show(found)


async def _look(name: str, placement: GroupPlacement | None, target: Target, *, levels: tuple[str, ...]) -> Preview:
    async with connected(target) as client:
        if placement is not None:
            meta = ObjectMeta(name=name.rpartition("/")[2], namespace=target.namespace)
            spec = WarmSetSpec(models=[name], placement=Placement(groups=placement))
            return await look(client, WarmSet(metadata=meta, spec=spec), levels=levels)
        try:
            known = msgspec.convert(await client.get(WARM_SET, name, namespace=target.namespace), type=WarmSet)
        except ApiError as error:
            if error.status != 404:
                raise
            raise InvalidRequest(
                f"there is no WarmSet {name!r} in namespace {target.namespace!r}",
                hint="for a Model say how many: --groups and --size",
            ) from error
        if known.spec.placement.workload is not None:
            raise InvalidRequest(
                f"{name} belongs to a workload, whose pods are planned when they exist",
                hint=f"warmset explain {name}",
            )
        return await look(client, known, levels=levels)
