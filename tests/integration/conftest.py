"""What is real: the control plane, started once a run and swept after every test; a controller on it; a registry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from api.resources import GROUP, VERSION
from kube.client import ApiError, Client, Object
from kube.resources import LEASE, MUTATING_WEBHOOK, NODE, PERSISTENT_VOLUME, POD, Resource
from tests.support.claims import CLAIM, DEVICE_CLAIM
from tests.support.control import Control, controlling, install_crds
from tests.support.controlplane import HOW_TO_GET, ControlPlane, control_plane_in_memory, missing_binaries
from tests.support.counting_proxy import CountingProxy
from tests.support.installation import Installation, ensure_namespace
from tests.support.lws import LEADER_WORKER_SETS, STATEFUL_SETS
from tests.support.registry import Registry, start_registry

MODELS = Resource(GROUP, VERSION, "models", "Model")
WARM_SETS = Resource(GROUP, VERSION, "warmsets", "WarmSet")
NODE_CACHES = Resource(GROUP, VERSION, "nodecaches", "NodeCache", namespaced=False)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, with kube-scheduler and the project's CRDs."""
    if missing := missing_binaries():
        pytest.skip(f"{', '.join(missing)} not found: {HOW_TO_GET}")
    with control_plane_in_memory(tmp_path_factory.mktemp("controlplane")) as plane:
        yield plane


@pytest.fixture
async def cluster(control_plane: ControlPlane) -> AsyncIterator[Client]:
    """An administrator's client on a cluster that has our CRDs and nothing of an earlier test."""
    async with await Client.connect(kubeconfig=control_plane.kubeconfig) as client:
        await install_crds(client)
        yield client
        await _sweep(client)


@pytest.fixture
async def control(cluster: Client) -> AsyncIterator[Control]:
    async with controlling(cluster) as control:
        yield control


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    running = start_registry(tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture
async def proxy(registry: Registry) -> AsyncIterator[CountingProxy]:
    """The registry behind a proxy that remembers which bytes left it."""
    async with CountingProxy(registry.host).serving() as proxy:
        yield proxy


@pytest.fixture
def topology_levels() -> list[str]:
    """Labels that the installation plans by; a module may have its own."""
    return []


@pytest.fixture
async def installation(
    cluster: Client, control_plane: ControlPlane, proxy: CountingProxy, tmp_path: Path, topology_levels: list[str]
) -> AsyncIterator[Installation]:
    """Warmset as the chart installs it; its models come through ``proxy``."""
    async with AsyncExitStack() as stack:
        await ensure_namespace(cluster, "team-a")
        sources, levels = [proxy.host], topology_levels
        yield await Installation.start(
            cluster, control_plane, tmp_path, plain_http=sources, stack=stack, topology_levels=levels
        )


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
        DEVICE_CLAIM,
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
