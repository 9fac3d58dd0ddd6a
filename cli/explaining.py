"""The lines of ``warmset explain``: why a pod, a WarmSet or a node is not warm, in one screen."""

from __future__ import annotations

import msgspec

from api import keys
from api.resources import Model, NodeCache, Timeline, WarmGroup, WarmSet
from cli.cluster import age, find, state
from cli.local import size_text
from controller.cluster.owners import Owners, top
from controller.groups import resolve
from controller.objects import nodes
from controller.objects.pods import MountedModel, claims, gates, models, mounted_model, node
from controller.objects.resources import MODEL, NODE_CACHE, WARM_SET
from controller.warm_sets.naming import warm_set_name
from kube.client import ApiError, Client, Object
from kube.resources import NODE, PERSISTENT_VOLUME, Resource

# The older of the API's two views of events: it can be asked for those about one object.
CORE_EVENT = Resource("", "v1", "events", "Event")
CLAIM = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
MOST_EVENTS = 10
_STAGES = {name: name.replace("_", " ") for name in Timeline.__struct_fields__}


async def pod_lines(client: Client, pod: Object) -> list[str]:
    mounted, claimed = models(pod), await _claimed(client, pod)
    if not mounted and not claimed:
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
    if mounted:
        lines += await _group_lines(client, pod)
    for mount in dict.fromkeys((*mounted, *claimed)):
        namespace, _, name = mount.model.partition("/")
        lines.append(await _model_line(client, namespace, name))
    return lines


async def _claimed(client: Client, pod: Object) -> list[MountedModel]:
    """What it mounts by claims, as far as the user may see their volumes."""
    found = []
    for name in claims(pod):
        claim = await _readable(client, CLAIM, name, namespace=pod["metadata"]["namespace"])
        bound_to = claim["spec"].get("volumeName") if claim is not None else ""
        volume = await _readable(client, PERSISTENT_VOLUME, bound_to) if bound_to else None
        if volume is not None and (model := mounted_model(volume["spec"].get("csi") or {})):
            found.append(model)
    return found


async def _group_lines(client: Client, pod: Object) -> list[str]:
    """The pod's group as the controller sees it, with the standing of the group's nodes."""
    owners = Owners(client)
    chain = await owners.chain(pod)
    member = resolve(pod, owners=chain, gang=await owners.gang(pod))
    name = warm_set_name(top(pod, chain))
    lines = [f"  group {member.name} of {member.size} pods ({member.system}), WarmSet {name}"]
    found = await find(client, WARM_SET, name, namespace=member.namespace)
    if found is None:
        return lines
    groups = msgspec.convert(found, type=WarmSet).status.groups
    mine = next((group for group in groups if group.name == member.name), None)
    return lines if mine is None else lines + _standing(mine)


async def warm_set_lines(client: Client, warm_set: WarmSet) -> list[str]:
    status = warm_set.status
    lines = [
        f"WarmSet {warm_set.metadata.name}: {status.groups_ready} of {status.groups_desired} groups,"
        f" {status.nodes_ready} of {status.nodes_desired} nodes are warm"
    ]
    if status.eta:
        lines.append(f"  expected by {status.eta}")
    lines += [f"  {c.type}={c.status} {c.reason}: {c.message}" for c in status.conditions]
    for group in status.groups:
        standing = _standing(group)
        if standing:
            lines += [f"  group {group.name}", *(f"  {line}" for line in standing)]
    for name in warm_set.spec.models:
        where, slash, short = name.rpartition("/")
        lines.append(await _model_line(client, where if slash else warm_set.metadata.namespace, short))
    return lines


def _standing(group: WarmGroup) -> list[str]:
    lines = []
    for one in group.nodes:
        if one.state != "Ready":
            share = f"{size_text(one.bytes_done)} of {size_text(one.bytes_total)}"
            lines.append(f"  {one.name}: {one.state} {share} {one.reason}".rstrip())
    if group.timeline is not None:
        reached = [(getattr(group.timeline, field), words) for field, words in _STAGES.items()]
        lines += [f"  {moment} {words}" for moment, words in reached if moment]
    return lines


async def node_lines(client: Client, cache: NodeCache, *, namespace: str) -> list[str]:
    name, status = cache.metadata.name, cache.status
    found = await _readable(client, NODE, name)
    lines = [
        f"node {name}: {size_text(status.used)} of {size_text(status.capacity)} used,"
        f" {size_text(status.reserved)} reserved, the agent {status.agent.version or '?'} said so"
        f" {age(status.last_update)} ago"
    ]
    if found is not None:
        lines += _node_troubles(nodes.view(found), cache)
    known = await _names(client, namespace)
    said = {(model.model, model.revision): model for model in status.models}
    for entry in cache.spec.models:
        model = said.pop((entry.model, entry.revision), None)
        why = "planned for a group" if entry.groups else "pinned" if entry.pinned else "wanted"
        if entry.desired == "Absent":
            why = "to be given up"
        words = "nothing said yet" if model is None else f"{model.state} {size_text(model.bytes_done)}"
        trouble = f", {model.reason}: {model.message}" if model is not None and model.reason else ""
        lines.append(f"  {known.get(entry.model, entry.model)}: {why}, {words}{trouble}")
    lines += [
        f"  {known.get(model.model, model.model)}: {model.state}, wanted by nobody; stays until its room is needed"
        for model in said.values()
    ]
    lines += [
        f"  takes nothing from {one.peer} any more, {one.reason}: {one.message} ({age(one.at)} ago)"
        for one in status.peers_set_aside
    ]
    return lines


def _node_troubles(view: nodes.NodeView, cache: NodeCache) -> list[str]:
    troubles = []
    if not view.ready:
        troubles.append("NodeNotReady: the node is not Ready")
    if not view.schedulable:
        troubles.append("NodeCordoned: the node is cordoned")
    if cache.status.node_uid != view.uid:
        troubles.append("NoAgent: no Warmset agent reports from the node; look at its pod warmset-node")
    return [f"  {trouble}" for trouble in troubles]


async def _names(client: Client, namespace: str) -> dict[str, str]:
    """Models by their hash, as far as the user may see them."""
    try:
        found = await client.list(MODEL)
    except ApiError as error:
        if error.status != 403:
            raise
        found = await client.list(MODEL, namespace=namespace)
    metas = [model["metadata"] for model in found]
    return {keys.model_key(m["namespace"], m["name"]): f"{m['namespace']}/{m['name']}" for m in metas}


async def _readable(client: Client, resource: Resource, name: str, *, namespace: str = "") -> Object | None:
    try:
        return await find(client, resource, name, namespace=namespace)
    except ApiError as error:
        if error.status != 403:
            raise
        return None


async def node_cache(client: Client, name: str) -> Object | None:
    """Of a node of that name; None also for a user who may not see nodes."""
    return await _readable(client, NODE_CACHE, name)


async def _model_line(client: Client, namespace: str, name: str) -> str:
    found = await find(client, MODEL, name, namespace=namespace)
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


async def event_lines(client: Client, obj: Object) -> list[str]:
    meta = obj["metadata"]
    found = await client.list(
        CORE_EVENT, namespace=meta["namespace"], field_selector=f"involvedObject.uid={meta['uid']}"
    )
    ours = [event for event in found if event.get("reportingComponent") == "warmset.dev/controller"]
    ours.sort(key=lambda event: event.get("eventTime") or "")
    return [f"  {age(e.get('eventTime'))} ago {e['reason']}: {e.get('message', '')}" for e in ours[-MOST_EVENTS:]]
