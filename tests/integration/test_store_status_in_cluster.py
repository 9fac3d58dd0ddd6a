"""What a node's agent says of its disk reaches the people concerned, on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from api import keys
from controller.objects.resources import NODE_CACHE
from kube.client import Client
from kube.resources import EVENT, POD
from tests.support.control import TEAM, Control, agent_says, make_model, make_node, pod
from tests.support.installation import eventually


async def test_pods_that_may_have_read_rotten_bytes_get_an_event(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    await make_node(cluster, "n1")
    await cluster.create(POD, pod("reader", annotations={keys.MODEL: "llama"}, nodeName="n1"), namespace=TEAM)
    found_at = datetime.now(UTC) + timedelta(seconds=1)
    await agent_says(cluster, "n1", {"llama": "Ready"}, corruptedAt=found_at.isoformat(timespec="seconds"))

    async def told() -> bool:
        events = await cluster.list(EVENT, namespace=TEAM)
        return any(e["reason"] == "Corrupted" and e["regarding"]["name"] == "reader" for e in events)

    await eventually(told, what="an event about the rot")


async def test_a_group_goes_to_the_node_that_is_not_paused(control: Control, cluster: Client) -> None:
    await make_model(cluster)
    for name in ("n1", "n2"):
        await make_node(cluster, name)
        await agent_says(cluster, name)
    await cluster.patch(NODE_CACHE, "n1", {"status": {"paused": True}}, subresource="status")
    await cluster.create(POD, pod("waits", annotations={keys.MODEL: "llama"}), namespace=TEAM)

    async def planned() -> bool:
        caches = {cache["metadata"]["name"]: cache for cache in await cluster.list(NODE_CACHE)}
        return bool(caches["n2"].get("spec", {}).get("models")) and not caches["n1"].get("spec", {}).get("models")

    await eventually(planned, what="a plan for n2 alone")
