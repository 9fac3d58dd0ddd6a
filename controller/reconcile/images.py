"""A WarmSet's engine images: a pod for each node that lacks one, and each pod taken away when it has done its work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from api.resources import WarmSet
from controller.objects.nodes import NodeView
from controller.reconcile.context import Context
from controller.warm_sets import engine_images
from controller.warm_sets.engine_images import Progress
from kube.client import ApiError, Object
from kube.resources import NODE, POD

AT_ONCE = 16  # pods of one WarmSet, and looks at nodes a time
AGAIN = timedelta(minutes=10)  # after a failure
STAYS = timedelta(hours=6)  # then it is looked for again: kubelet may have removed it
LOOK_S = 5.0

log = structlog.get_logger()


async def pull(context: Context, warm_set: WarmSet, nodes: Sequence[str]) -> Progress | None:
    """None where the WarmSet names no images. Raises ApiError or ClusterUnavailable."""
    if not warm_set.spec.images:
        return None
    now = datetime.now(UTC)
    views = [context.world.nodes[name] for name in nodes if name in context.world.nodes]
    wanted = [(view, image) for view in views for image in warm_set.spec.images]
    running, trouble = await _collect(context, warm_set, wanted, now=now)
    rest = [
        (v, i)
        for v, i in wanted
        if (v.uid, i) not in context.images and engine_images.name(warm_set, v, i) not in running
    ]
    for view, image in rest[: max(0, AT_ONCE - len(running))]:
        if engine_images.is_there(image, await _names(context, view)):
            context.images[view.uid, image] = True, now + STAYS
        else:
            trouble = await _start(context, warm_set, view, image) or trouble
    there = sum(context.images.get((view.uid, image), (False, now))[0] for view, image in wanted)
    return Progress(len(wanted), there, trouble)


async def _collect(
    context: Context, warm_set: WarmSet, wanted: Sequence[tuple[NodeView, str]], *, now: datetime
) -> tuple[set[str], str]:
    """Note what has ended and delete it. Returns the names of pods that still run, and one failure."""
    for key, (_, until) in list(context.images.items()):
        if until <= now:
            del context.images[key]
    selector = ",".join(f"{key}={value}" for key, value in engine_images.label(warm_set).items())
    found = await context.client.list(POD, namespace=warm_set.metadata.namespace, label_selector=selector)
    pairs = {engine_images.name(warm_set, view, image): (view, image) for view, image in wanted}
    running, trouble = set(), ""
    for pod in found:
        name = pod["metadata"]["name"]
        state, words = engine_images.outcome(pod)
        if name in pairs:
            view, image = pairs[name]
            if state == "waiting":
                running.add(name)
                continue
            context.images[view.uid, image] = (True, now + STAYS) if state == "there" else (False, now + AGAIN)
            if state == "failed":
                trouble = f"{image} on {view.name}: {words}"
        await _delete(context, pod)
    return running, trouble


async def _start(context: Context, warm_set: WarmSet, view: NodeView, image: str) -> str:
    """Returns what is in the way."""
    try:
        body = engine_images.pod(warm_set, view, image)
        await context.client.create(POD, body, namespace=warm_set.metadata.namespace)
    except ApiError as error:
        if error.status == 409:  # our list was older than it
            return ""
        if error.status in (403, 422):
            context.images[view.uid, image] = False, datetime.now(UTC) + AGAIN
            return f"no pod to pull {image} can be made in the namespace: {error.message}"
        raise
    return ""


async def _names(context: Context, view: NodeView) -> list[str]:
    try:
        node = await context.client.get(NODE, view.name)
    except ApiError as error:
        if error.status != 404:
            raise
        return []
    return [name for image in (node.get("status") or {}).get("images") or () for name in image.get("names") or ()]


async def _delete(context: Context, pod: Object) -> None:
    meta = pod["metadata"]
    try:
        await context.client.delete(POD, meta["name"], namespace=meta["namespace"], uid=meta["uid"], grace_s=0)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
