"""``warmset plan``: which nodes groups would get, and why not the others."""

from __future__ import annotations

import click
import msgspec

from api.errors import InvalidRequest
from api.fields import ObjectMeta
from api.resources import GroupPlacement, Placement, WarmSet, WarmSetSpec
from cli.cluster import Target, cluster_options, connected, find, run
from cli.completion import ClusterName
from cli.output import Form, form_option
from cli.planning import look, rate_option, report
from controller.cluster.preview import Preview
from controller.objects.resources import WARM_SET


@click.command()
@click.argument("name", metavar="MODEL|WARMSET", type=ClusterName("Model", "WarmSet"))
@click.option("--groups", type=click.IntRange(1, 10000), help="How many groups of the Model.")
@click.option("--size", type=click.IntRange(1, 10000), help="Nodes in a group.")
@click.option("--spare", type=click.IntRange(0, 1000), default=0, help="Nodes beside those a group needs.")
@click.option("--topology-key", "--topology", default="", help="Node label; a group stays within one value of it.")
@click.option("--level", "levels", multiple=True, help="As topology_levels of the controller, widest first.")
@rate_option
@cluster_options
@form_option(wide=False)
def command(
    name: str,
    groups: int | None,
    size: int | None,
    spare: int,
    topology_key: str,
    levels: tuple[str, ...],
    rate: int,
    target: Target,
    output: Form,
) -> None:
    """Show which nodes groups would get, what those hold already and would evict, and why the others are out.

    Changes nothing. Ends with exit code 11 when a group has no nodes.

    \b
    warmset plan llama --groups 2 --size 4      # of a Model
    warmset plan everywhere                     # of a WarmSet, as it would be planned now
    """
    if (groups is None) != (size is None):
        raise InvalidRequest("--groups and --size go together")
    placement = None
    if groups is not None and size is not None:
        placement = GroupPlacement(count=groups, size=size, spare=spare, topology_key=topology_key)
    report(run(_look(name, placement, target, levels=levels)), form=output, rate_bps=rate)


async def _look(name: str, placement: GroupPlacement | None, target: Target, *, levels: tuple[str, ...]) -> Preview:
    async with connected(target) as client:
        if placement is not None:
            meta = ObjectMeta(name=name.rpartition("/")[2], namespace=target.namespace)
            spec = WarmSetSpec(models=[name], placement=Placement(groups=placement))
            return await look(client, WarmSet(metadata=meta, spec=spec), levels=levels)
        found = await find(client, WARM_SET, name, namespace=target.namespace)
        if found is None:
            raise InvalidRequest(
                f"there is no WarmSet {name!r} in namespace {target.namespace!r}",
                hint="for a Model say how many: --groups and --size",
            )
        known = msgspec.convert(found, type=WarmSet)
        if known.spec.placement.workload is not None:
            raise InvalidRequest(
                f"{name} belongs to a workload, whose pods are planned when they exist",
                hint=f"warmset explain {name}",
            )
        return await look(client, known, levels=levels)
