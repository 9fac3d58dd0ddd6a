"""Which pods may have read bytes that had rotted on their node's disk. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from api import keys
from api.resources import NodeCache
from controller.objects.pods import Mounting, Pod


def readers(cache: NodeCache, mounting: Iterable[Mounting]) -> Iterator[tuple[Pod, str]]:
    """Each of the node's pods that mounted a model before rot was found in it, and what to say of it."""
    rotted = {status.model: status.corrupted_at for status in cache.status.models if status.corrupted_at}
    for pod, models in mounting if rotted else ():
        found = {
            mount.model: at
            for mount in models
            if (at := rotted.get(keys.model_key(*mount.model.split("/", 1)))) and _began(pod) <= _time(at)
        }
        if found:
            named = ", ".join(f"{model} (found {at})" for model, at in sorted(found.items()))
            yield pod, f"bytes had rotted on the node's disk: {named}; restart engines that loaded them before"


def _began(pod: Pod) -> datetime:
    return _time(pod["metadata"]["creationTimestamp"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
