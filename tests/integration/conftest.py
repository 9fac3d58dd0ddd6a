"""The real control plane, started once a run and swept after every test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from api.resources import GROUP, VERSION
from kube.client import ApiError, Client, Object
from kube.resources import LEASE, MUTATING_WEBHOOK, NODE, PERSISTENT_VOLUME, POD, Resource
from tests.support.claims import CLAIM
from tests.support.control import install_crds
from tests.support.controlplane import HOW_TO_GET, ControlPlane, missing_binaries, start_control_plane
from tests.support.lws import LEADER_WORKER_SETS, STATEFUL_SETS

MODELS = Resource(GROUP, VERSION, "models", "Model")
WARM_SETS = Resource(GROUP, VERSION, "warmsets", "WarmSet")
NODE_CACHES = Resource(GROUP, VERSION, "nodecaches", "NodeCache", namespaced=False)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, with kube-scheduler and the project's CRDs."""
    if missing := missing_binaries():
        pytest.skip(f"{', '.join(missing)} not found: {HOW_TO_GET}")
    plane = start_control_plane(tmp_path_factory.mktemp("controlplane"))
    try:
        plane.start_scheduler()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[Client]:
    """An administrator's client on a cluster that has our CRDs and nothing of an earlier test."""
    async with await Client.connect(kubeconfig=control_plane.kubeconfig) as client:
        await install_crds(client)
        yield client
        await _sweep(client)


async def _sweep(client: Client) -> None:
    """Delete what a test can have made; webhooks first, since they would see the rest go."""
    workloads = (LEADER_WORKER_SETS, STATEFUL_SETS)
    for resource in (
        MUTATING_WEBHOOK,
        *workloads,
        POD,
        WARM_SETS,
        MODELS,
        NODE_CACHES,
        NODE,
        LEASE,
        CLAIM,
        PERSISTENT_VOLUME,
    ):
        for obj in await _all(client, resource):
            meta = obj["metadata"]
            if meta.get("namespace") == "kube-system":
                continue
            if meta.get("finalizers"):
                await client.patch(
                    resource, meta["name"], {"metadata": {"finalizers": None}}, namespace=meta.get("namespace")
                )
            try:
                await client.delete(
                    resource, meta["name"], namespace=meta.get("namespace"), grace_s=0 if resource is POD else None
                )
            except ApiError as error:
                if error.status != 404:
                    raise


async def _all(client: Client, resource: Resource) -> list[Object]:
    try:
        return await client.list(resource)
    except ApiError as error:
        if error.status != 404:
            raise
        return []  # a type that no test has installed
