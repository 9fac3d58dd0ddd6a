"""A Model: resolved once a generation, and called verified when a node holds it."""

from __future__ import annotations

from collections.abc import Iterator

from api import keys
from controller.broker.cohorts import is_first
from controller.models import resolving
from controller.node_caches.warmth import has_agent
from controller.reconcile.context import Context, Work

# A failure that a retry can hardly help may still be mended at the source: a tag pushed later, a repaired login.
AGAIN_S = 60.0
AGAIN_SOON_S = 5.0


async def reconcile(context: Context, work: Work) -> float | None:
    model = context.world.models.get(f"{work.namespace}/{work.name}")
    if model is None or model.metadata.deletion_timestamp:
        return None
    if resolving.is_resolved(model):
        known = resolving.known_revision(model, model.status.revision)
        trees = _trees(context, work, known.revision, unhashed=bool(known.unhashed))
        status = resolving.verified(model, trees)
        if status != model.status:
            await resolving.write(context.client, model, status)
        return None
    failure = await resolving.reconcile(context.client, model, sources=context.config.sources)
    if failure is None:
        return None
    await context.events.say(
        {
            "apiVersion": model.api_version,
            "kind": model.kind,
            "metadata": {"namespace": work.namespace, "name": work.name, "uid": model.metadata.uid},
        },
        reason=failure.reason,
        message=f"{failure.message}; {failure.hint}" if failure.hint else failure.message,
        action="Resolve",
        kind="Warning",
    )
    return AGAIN_SOON_S if failure.retryable else AGAIN_S


def _trees(context: Context, work: Work, revision: str, *, unhashed: bool) -> Iterator[str]:
    """What the nodes' agents say the revision's tree is."""
    content = keys.model_key(work.namespace, work.name), revision
    seats = context.world.seats.of(content)
    for name, cache in context.world.caches.items():
        if has_agent(cache, context.world.nodes.get(name)) and (not unhashed or is_first(seats.get(name))):
            for said in cache.status.models:
                if (said.model, said.revision, said.state) == (*content, "Ready") and said.tree:
                    yield said.tree
