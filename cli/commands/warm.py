"""``warmset warm``: keep models warm ahead of any pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from api import keys
from api.errors import InvalidRequest
from api.resources import API_VERSION, WarmSet
from cli.cluster import FIELD_MANAGER, Target, cluster_options, connected, find, run
from cli.completion import MODELS, NODES
from cli.output import Form, form_option, show
from cli.planning import look, rate_option, report
from cli.waiting import until
from controller.objects import durations
from controller.objects.resources import MODEL, WARM_SET
from kube.client import Client, Object

if TYPE_CHECKING:
    from controller.cluster.preview import Preview


@click.command()
@click.argument("models", nargs=-1, metavar="MODEL...", type=MODELS)
@click.option("--name", default="", help="The WarmSet's name [default: the first MODEL's].")
@click.option("--nodes", default="", metavar="NODE,...", type=NODES, help="These nodes.")
@click.option("--selector", "-l", default="", help="Every node with these labels, such as pool=gpu,zone=a.")
@click.option("--groups", type=click.IntRange(1, 10000), help="How many groups.")
@click.option("--size", type=click.IntRange(1, 10000), help="Nodes in a group.")
@click.option("--spare", type=click.IntRange(0, 1000), default=0, help="Nodes beside those a group needs.")
@click.option("--topology-key", "--topology", default="", help="Node label; a group stays within one value of it.")
@click.option("--spread", default="", metavar="LABEL", help="Node label; groups are spread over its values.")
@click.option("--for", "workload", default="", metavar="KIND/NAME", help="The groups of a workload, before its pods.")
@click.option("--image", "images", multiple=True, help="Engine image to pull beside the weights; may be repeated.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, help="Higher pulls first.")
@click.option("--pin", "--pinned", "pinned", is_flag=True, help="Never evict while the WarmSet exists.")
@click.option("--ttl", default="", help="Give it up when no pod has used it for this long, such as 12h.")
@click.option("--wait", is_flag=True, help="Return when it is warm.")
@click.option("--timeout", default="30m", show_default=True, help="For --wait.")
@click.option("--dry-run", is_flag=True, help="Show the plan, as `warmset plan` does, and change nothing.")
@click.option("--level", "levels", multiple=True, help="For --dry-run: as topology_levels of the controller.")
@rate_option
@cluster_options
@form_option(wide=False)
def command(models: tuple[str, ...], name: str, target: Target, output: Form, **options: Any) -> None:
    """Keep Models warm: on nodes by name or label, on a number of groups of nodes, or for a workload.

    \b
    warmset warm llama --groups 2 --size 4 --wait
    warmset warm llama --selector pool=gpu --pin
    warmset warm llama --nodes gpu-1,gpu-2 --ttl 12h
    warmset warm --for leaderworkerset/vllm --groups 2
    """
    if options["dry_run"] and options["workload"]:
        raise InvalidRequest("--dry-run does not know a workload's pods", hint="use --groups and --size instead")
    body = {} if options["workload"] else manifest(models, name=name, options=options)
    if options["dry_run"]:
        report(run(_plan(body, target, levels=options["levels"])), form=output, rate_bps=options["rate"])
        return
    result = run(_apply(body, models, target, options=options))
    show(result, [f"{target.namespace}/{result['metadata']['name']}"], form=output)


def manifest(models: tuple[str, ...], *, name: str, options: dict[str, Any]) -> Object:
    """The WarmSet that the options describe. Raises InvalidRequest."""
    if not models:
        raise InvalidRequest("say what to warm: MODEL, or --for KIND/NAME")
    if any("://" in model for model in models):
        raise InvalidRequest(
            "`warmset warm` takes Models by name", hint="create a Model with spec.source, then warm it by its name"
        )
    # Taken back when it was cooled before.
    meta = {"name": name or models[0].rpartition("/")[2], "annotations": {keys.COOL: "false"}}
    spec: Object = {"models": list(models), "placement": _placement(options), **_further(options)}
    return {"apiVersion": API_VERSION, "kind": WarmSet.__name__, "metadata": meta, "spec": spec}


def _placement(options: dict[str, Any]) -> Object:
    groups = options["groups"], options["size"]
    if sum(map(bool, (options["selector"], options["nodes"], any(groups)))) != 1 or any(groups) != all(groups):
        raise InvalidRequest("say where: --nodes, --selector, or --groups together with --size")
    if options["selector"]:
        return {"nodeSelector": _labels(options["selector"])}
    if options["nodes"]:
        return {"nodes": sorted({node.strip() for node in options["nodes"].split(",")})}
    extra = {"spare": options["spare"], "topologyKey": options["topology_key"], "spreadKey": options["spread"]}
    return {"groups": {"count": groups[0], "size": groups[1]} | {key: value for key, value in extra.items() if value}}


def _further(options: dict[str, Any]) -> Object:
    """What of a WarmSet's spec is the same whatever its placement."""
    retention: Object = {"pinned": True} if options["pinned"] else {}
    if options["ttl"]:
        durations.seconds(options["ttl"])
        retention["ttlAfterLastUse"] = options["ttl"]
    found = {"priority": options["priority"], "retention": retention, "images": list(options["images"])}
    return {key: value for key, value in found.items() if value}


def _labels(text: str) -> dict[str, str]:
    labels = {}
    for part in text.split(","):
        key, equals, value = part.strip().partition("=")
        if not equals or not key:
            raise InvalidRequest(f"--selector: {part.strip()[:80]!r} is not key=value")
        labels[key] = value.removeprefix("=")
    return labels


async def _plan(body: Object, target: Target, *, levels: tuple[str, ...]) -> Preview:
    meta = body["metadata"] | {"namespace": target.namespace}
    async with connected(target) as client:
        return await look(client, msgspec.convert(body | {"metadata": meta}, type=WarmSet), levels=levels)


async def _for_workload(client: Client, models: tuple[str, ...], target: Target, options: dict[str, Any]) -> Object:
    if models or options["selector"] or options["nodes"] or options["size"]:
        raise InvalidRequest("--for takes models, nodes and size from the workload", hint="only --groups goes with it")
    from cli.workload import warm_set_for  # here, because only --for must pay for what reads workloads

    body = await warm_set_for(client, options["workload"], namespace=target.namespace, groups=options["groups"])
    body["metadata"]["annotations"] = {keys.COOL: "false"}
    body["spec"] |= _further(options)
    return {"apiVersion": API_VERSION, "kind": WarmSet.__name__, **body}


async def _apply(body: Object, models: tuple[str, ...], target: Target, *, options: dict[str, Any]) -> Object:
    async with connected(target) as client:
        body = body or await _for_workload(client, models, target, options)
        name = body["metadata"]["name"]
        result = await client.patch(
            WARM_SET, name, body, namespace=target.namespace, kind="apply", field_manager=FIELD_MANAGER, force=True
        )
        for missing in await _missing(client, result):
            click.echo(f"there is no Model {missing} yet: create it, or correct the name", err=True)
        if not options["wait"]:
            return result
        found: Object = msgspec.to_builtins(
            await until(client, name, namespace=target.namespace, within=options["timeout"])
        )
        return found


async def _missing(client: Client, warm_set: Object) -> list[str]:
    """Models of its own namespace that are not there. Others' may be hidden from the user, a workload's are made."""
    namespace, spec = warm_set["metadata"]["namespace"], warm_set["spec"]
    own = () if "workload" in spec["placement"] else (name for name in spec["models"] if "/" not in name)
    return [name for name in own if await find(client, MODEL, name, namespace=namespace) is None]
