"""``warmset explain``: why a pod or a WarmSet waits."""

from __future__ import annotations

import click
import msgspec

from api import keys
from api.errors import NotFound
from api.resources import Model, WarmSet
from cli.cluster import Target, age, cluster_options, connected, run, state
from cli.local import output_option, show_json, size_text
from controller.pods import gates, models, node
from controller.resources import MODEL, WARM_SET
from kube.client import ApiError, Client, Object
from kube.resources import POD, Resource

# The older of the API's two views of events: it can be asked for those about one object.
CORE_EVENT = Resource("", "v1", "events", "Event")
MOST_EVENTS = 10


@click.command()
@click.argument("name", metavar="POD|WARMSET")
@cluster_options
@output_option
def command(name: str, target: Target, output: str) -> None:
    """Say what a pod or a WarmSet waits for, and what has happened to it."""
    facts = run(_facts(name, target))
    if output == "json":
        show_json(facts)
        return
    for line in facts["lines"]:
        click.echo(line)


async def _facts(name: str, target: Target) -> Object:
    async with connected(target) as client:
        pod = await _find(client, POD, name, target.namespace)
        if pod is not None:
            lines = await _pod_lines(client, pod)
            return {"kind": "Pod", "name": name, "lines": lines + await _event_lines(client, pod)}
        found = await _find(client, WARM_SET, name, target.namespace)
        if found is not None:
            lines = await _warm_set_lines(client, msgspec.convert(found, type=WarmSet))
            return {"kind": "WarmSet", "name": name, "lines": lines + await _event_lines(client, found)}
    raise NotFound(f"there is neither a pod nor a WarmSet {name!r} in namespace {target.namespace!r}")


async def _pod_lines(client: Client, pod: Object) -> list[str]:
    mounted = models(pod)
    if not mounted:
        return [
            "the pod mounts no weights: its template has no warmset.dev/model annotation, or had none when it was made"
        ]
    held = gates(pod)
    where = (
        f"on node {node(pod)}" if node(pod) else f"held by {', '.join(held)}" if held else "waiting for the scheduler"
    )
    lines = [f"pod {pod['metadata']['name']}: {where}"]
    lines += [
        f"  {condition['reason']}: {condition.get('message', '')}"
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition["type"] == keys.READY_CONDITION
    ]
    for mount in mounted:
        namespace, _, name = mount.model.partition("/")
        lines.append(await _model_line(client, namespace, name))
    return lines


async def _warm_set_lines(client: Client, warm_set: WarmSet) -> list[str]:
    status = warm_set.status
    lines = [
        f"WarmSet {warm_set.metadata.name}: {status.groups_ready} of {status.groups_desired} groups,"
        f" {status.nodes_ready} of {status.nodes_desired} nodes are warm"
    ]
    lines += [f"  {c.type}={c.status} {c.reason}: {c.message}" for c in status.conditions]
    for group in status.groups:
        for one in group.nodes:
            if one.state != "Ready":
                share = f"{size_text(one.bytes_done)} of {size_text(one.bytes_total)}"
                lines.append(f"  {group.name} {one.name}: {one.state} {share} {one.reason}".rstrip())
    for name in warm_set.spec.models:
        where, slash, short = name.rpartition("/")
        lines.append(await _model_line(client, where if slash else warm_set.metadata.namespace, short))
    return lines


async def _model_line(client: Client, namespace: str, name: str) -> str:
    found = await _find(client, MODEL, name, namespace)
    if found is None:
        return f"  model {namespace}/{name} does not exist"
    model = msgspec.convert(found, type=Model)
    resolved = state(model.status.conditions, "Resolved")
    if resolved is None or resolved.status != "True":
        words = (
            f"{resolved.reason}: {resolved.message}" if resolved is not None else "the controller has not looked yet"
        )
        return f"  model {namespace}/{name} is not resolved: {words}"
    return f"  model {namespace}/{name}: {model.status.revision}, {size_text(model.status.bytes)}"


async def _event_lines(client: Client, obj: Object) -> list[str]:
    meta = obj["metadata"]
    found = await client.list(
        CORE_EVENT, namespace=meta["namespace"], field_selector=f"involvedObject.uid={meta['uid']}"
    )
    ours = [event for event in found if event.get("reportingComponent") == "warmset.dev/controller"]
    ours.sort(key=lambda event: event.get("eventTime") or "")
    return [f"  {age(e.get('eventTime'))} ago {e['reason']}: {e.get('message', '')}" for e in ours[-MOST_EVENTS:]]


async def _find(client: Client, resource: Resource, name: str, namespace: str) -> Object | None:
    try:
        return await client.get(resource, name, namespace=namespace)
    except ApiError as error:
        if error.status == 404:
            return None
        raise
