"""Pods that may have read rotten bytes are told, and no others."""

from __future__ import annotations

import pytest

from api import keys
from api.fields import ObjectMeta
from api.resources import NodeCache, NodeCacheStatus, NodeModelStatus
from controller.node_caches.corruption import readers
from controller.objects.pods import MountedModel, Mounting

BEFORE, FOUND, AFTER = "2026-11-22T10:00:00Z", "2026-11-22T10:00:30+00:00", "2026-11-22T10:01:00Z"


def cache(*, corrupted_at: str) -> NodeCache:
    said = NodeModelStatus(
        model=keys.model_key("team-a", "llama"), revision="r", state="Ready", corrupted_at=corrupted_at
    )
    return NodeCache(metadata=ObjectMeta(name="n"), status=NodeCacheStatus(models=[said]))


def pod(model: str, *, created: str) -> Mounting:
    return Mounting({"metadata": {"name": "p", "creationTimestamp": created}}, (MountedModel(model),))


def test_a_pod_that_mounted_the_model_before_is_told_which_and_when() -> None:
    ((_, message),) = readers(cache(corrupted_at=FOUND), [pod("team-a/llama", created=BEFORE)])
    assert "team-a/llama" in message
    assert FOUND in message


@pytest.mark.parametrize(
    ("model", "created", "corrupted_at"),
    [("team-a/llama", AFTER, FOUND), ("team-a/other", BEFORE, FOUND), ("team-a/llama", BEFORE, "")],
)
def test_others_are_not(model: str, created: str, corrupted_at: str) -> None:
    assert list(readers(cache(corrupted_at=corrupted_at), [pod(model, created=created)])) == []
