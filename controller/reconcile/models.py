"""A Model: resolved once a generation."""

from __future__ import annotations

from controller import resolving
from controller.reconcile.context import Context, Work

# A failure that a retry can hardly help may still be mended at the source: a tag pushed later, a repaired login.
AGAIN_S = 60.0
AGAIN_SOON_S = 5.0


async def reconcile(context: Context, work: Work) -> float | None:
    model = context.world.models.get(f"{work.namespace}/{work.name}")
    if model is None or model.metadata.deletion_timestamp:
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
