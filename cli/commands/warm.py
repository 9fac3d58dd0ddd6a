"""``warmset warm``: keep models warm ahead of any pod."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from api import keys
from api.errors import InvalidRequest
from api.resources import API_VERSION, WarmSet
from cli.cluster import FIELD_MANAGER, Target, cluster_options, connected, run
from cli.local import output_option, show_json
from cli.planning import as_json, look, show
from cli.waiting import until
from controller.preview import Preview
from controller.resources import WARM_SET
from kube.client import Object


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option("--name", default="", help="The WarmSet's name [default: the first MODEL's].")
@click.option("--selector", "-l", default="", help="Every node with these labels, such as pool=gpu,zone=a.")
@click.option("--groups", type=click.IntRange(1, 10000), help="How many groups.")
@click.option("--size", type=click.IntRange(1, 10000), help="Nodes in a group.")
@click.option("--spare", type=click.IntRange(0, 1000), default=0, help="Nodes beside those a group needs.")
@click.option("--topology-key", default="", help="Node label; a group stays within one value of it.")
@click.option("--priority", type=click.IntRange(-1000, 1000), default=0, help="Higher pulls first.")
@click.option("--pinned", is_flag=True, help="Never evict while the WarmSet exists.")
@click.option("--wait", is_flag=True, help="Return when it is warm.")
@click.option("--timeout", default="30m", show_default=True, help="For --wait.")
@click.option("--dry-run", is_flag=True, help="Show the plan, as `warmset plan` does, and change nothing.")
@click.option("--level", "levels", multiple=True, help="For --dry-run: as topology_levels of the controller.")
@cluster_options
@output_option
def command(models: tuple[str, ...], name: str, target: Target, output: str, **options: Any) -> None:
    """Keep Models warm on nodes: every node of a selector, or a number of groups.

    \b
    warmset warm llama --groups 2 --size 4 --wait
    warmset warm llama --selector pool=gpu
    """
    body = manifest(models, name=name, options=options)
    if options["dry_run"]:
        planned = run(_plan(body, target, levels=options["levels"]))
        show_json(as_json(planned)) if output == "json" else show(planned)
        return
    result = run(_apply(body, target, wait=options["wait"], within=options["timeout"]))
    if output == "json":
        show_json(result)
    else:
        click.echo(f"{target.namespace}/{body['metadata']['name']}")


def manifest(models: tuple[str, ...], *, name: str, options: dict[str, Any]) -> Object:
    """The WarmSet that the options describe. Raises InvalidRequest."""
    if any("://" in model for model in models):
        raise InvalidRequest(
            "`warmset warm` takes Models by name", hint="create a Model with spec.source, then warm it by its name"
        )
    groups = options["groups"], options["size"]
    if bool(options["selector"]) == any(groups) or any(groups) != all(groups):
        raise InvalidRequest("say where: --selector, or --groups together with --size")
    placement: Object
    if options["selector"]:
        placement = {"nodeSelector": _labels(options["selector"])}
    else:
        found = {"count": groups[0], "size": groups[1]}
        extra = {"spare": options["spare"], "topologyKey": options["topology_key"]}
        placement = {"groups": found | {key: value for key, value in extra.items() if value}}
    spec: Object = {"models": list(models), "placement": placement}
    if options["priority"]:
        spec["priority"] = options["priority"]
    if options["pinned"]:
        spec["retention"] = {"pinned": True}
    return {
        "apiVersion": API_VERSION,
        "kind": WarmSet.__name__,
        # Taken back when it was cooled before.
        "metadata": {"name": name or models[0].rpartition("/")[2], "annotations": {keys.COOL: "false"}},
        "spec": spec,
    }


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


async def _apply(body: Object, target: Target, *, wait: bool, within: str) -> Object:
    name = body["metadata"]["name"]
    async with connected(target) as client:
        result = await client.patch(
            WARM_SET, name, body, namespace=target.namespace, kind="apply", field_manager=FIELD_MANAGER, force=True
        )
        if not wait:
            return result
        found: Object = msgspec.to_builtins(await until(client, name, namespace=target.namespace, within=within))
        return found
