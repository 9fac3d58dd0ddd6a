"""Warmset installed on the test's control plane: the chart's objects, a controller process, nodes with real agents.

What a cluster would add is stood in for as little as possible: there is no kubelet, so the agents' pods are objects
whose tokens are asked for here, and the API server calls the webhook by address, because no service network exists.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from demo.group import FULL_DISK
from kube.client import ApiError, Client, Object
from kube.resources import CONFIG_MAP, NODE, POD, SERVICE_ACCOUNT
from kube.resources import NAMESPACE as NAMESPACES
from tests.support.chart import NAMESPACE, Manifest, render, resource_of
from tests.support.controlplane import ControlPlane
from tests.support.csi_node import CsiNode
from tests.support.processes import Server, free_port, warmset

GPU = "nvidia.com/gpu"


async def eventually(look: Callable[[], Awaitable[bool]], *, what: str, within_s: float = 30.0) -> float:
    """Wait until ``look`` is true; returns the seconds it took."""
    started = time.monotonic()
    while not await look():
        assert time.monotonic() - started < within_s, f"{what}: not within {within_s:.0f} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - started


async def apply(client: Client, manifests: list[Manifest]) -> None:
    for manifest in manifests:
        meta = manifest["metadata"]
        await client.patch(
            resource_of(manifest), meta["name"], manifest, namespace=meta.get("namespace"), kind="apply", force=True
        )


async def remove(client: Client, manifests: list[Manifest]) -> None:
    for manifest in reversed(manifests):
        meta = manifest["metadata"]
        with suppress(ApiError):
            await client.delete(resource_of(manifest), meta["name"], namespace=meta.get("namespace"))


async def ensure_namespace(client: Client, name: str, **labels: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    await client.patch(NAMESPACES, name, body, kind="apply", force=True)


async def service_account_token(
    client: Client, name: str, *, bound_to: Object | None = None, audience: str = "", namespace: str = NAMESPACE
) -> str:
    """A real token by the TokenRequest API, as kubelet asks for it; bound to a pod where one is given."""
    spec: Object = {"expirationSeconds": 3600} | ({"audiences": [audience]} if audience else {})
    if bound_to:
        meta = bound_to["metadata"]
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    answer = await client.create(
        SERVICE_ACCOUNT,
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        namespace=namespace,
        name=name,
        subresource="token",
    )
    token: str = answer["status"]["token"]
    return token


@dataclass
class WarmNode:
    """One node: its Node object, its agent as a process, its CSI driver in a mount namespace of its own."""

    name: str
    uid: str
    csi: CsiNode
    config: Path
    peers: str
    server: Server | None = None

    def start_agent(self) -> None:
        self.server = warmset("agent", f"--config={self.config}", log=self.csi.folder / "agent.log")

    def kill_agent(self) -> None:
        assert self.server is not None
        self.server.process.kill()
        self.server.process.wait()

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
        self.csi.stop()


@dataclass
class Installation:
    client: Client
    plane: ControlPlane
    folder: Path
    plain_http: list[str]
    controller: Server
    broker_url: str
    ca: Path
    stack: AsyncExitStack
    nodes: dict[str, WarmNode] = field(default_factory=dict)

    @classmethod
    async def start(
        cls,
        client: Client,
        plane: ControlPlane,
        folder: Path,
        *,
        plain_http: list[str],
        stack: AsyncExitStack,
        topology_levels: Sequence[str] = (),
    ) -> Installation:
        """Apply the chart, run the controller with its own rights, wait until it is ready. ``stack`` undoes it all."""
        https, http = free_port(), free_port()
        manifests = [_called_by_address(m, https) for m in render()]
        await ensure_namespace(client, NAMESPACE)
        stack.push_async_callback(remove, client, manifests)
        await apply(client, manifests)
        token = await service_account_token(client, "warmset-controller")
        config = folder / "controller.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "namespace": NAMESPACE,
                    "listen_https": f"127.0.0.1:{https}",
                    "listen_http": f"127.0.0.1:{http}",
                    "certificate_hosts": ["127.0.0.1"],
                    "sources": {"schemes": ["oci"], "plain_http": plain_http},
                    "topology_levels": list(topology_levels),
                }
            )
        )
        controller = warmset(
            "controller",
            f"--config={config}",
            f"--kubeconfig={plane.kubeconfig_for(token, name='controller')}",
            log=folder / "controller.log",
        )
        stack.callback(controller.stop)
        ca = folder / "ca.crt"

        async def answers() -> bool:
            assert controller.process.poll() is None, controller.tail()
            bundle = await client.get(CONFIG_MAP, "warmset-ca", namespace=NAMESPACE)
            data = bundle.get("data") or {}
            ca.write_text(data.get("ca.crt", ""))
            ca.with_name("exchange.keys").write_text(data.get("exchange.keys", ""))
            return bool(ca.read_text()) and await _webhook_answers(client)

        await eventually(answers, what="the controller's webhook", within_s=40)
        return cls(client, plane, folder, plain_http, controller, f"https://127.0.0.1:{https}", ca, stack)

    async def add_node(self, name: str, *, gpus: int = 1, labels: dict[str, str] | None = None) -> None:
        """A Node that a scheduler would take pods on; no agent runs there."""
        await self.client.create(
            NODE,
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
            },
        )
        capacity = {"cpu": "8", "memory": "32Gi", "pods": "20", GPU: str(gpus)}
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}],
        }
        await self.client.patch(NODE, name, {"status": status}, subresource="status")

    async def add_warm_node(
        self, name: str, *, exchange: bool = True, labels: dict[str, str] | None = None, **limits: int
    ) -> WarmNode:
        """A node with everything of ours but its agent, which the test starts when it wants.

        Without ``exchange`` it pulls alone.
        """
        await self.add_node(name, labels=labels)
        pod = await self._agent_pod(name)
        folder = self.folder / name
        folder.mkdir()
        csi = CsiNode(folder, name)
        csi.start()
        token = await service_account_token(self.client, "warmset-node", bound_to=pod)
        broker_token = folder / "broker-token"
        broker_token.write_text(
            await service_account_token(self.client, "warmset-node", bound_to=pod, audience="broker.warmset.dev")
        )
        config = folder / "agent.yaml"
        peers = f"127.0.0.1:{free_port()}"
        shared = {"listen": peers, "signers_file": str(self.ca.with_name("exchange.keys"))}
        config.write_text(
            yaml.safe_dump(
                {
                    "root": str(csi.cache),
                    "watermarks": FULL_DISK,
                    "node": name,
                    "listen": f"127.0.0.1:{free_port()}",
                    "socket": str(csi.agent_socket),
                    "limits": limits,
                    "cluster": {
                        "kubeconfig": str(self.plane.kubeconfig_for(token, name=name)),
                        "advertise": peers,
                        "exchange": shared if exchange else None,
                        "broker": {"url": self.broker_url, "ca_file": str(self.ca), "token_file": str(broker_token)},
                    },
                }
            )
        )
        uid = (await self.client.get(NODE, name))["metadata"]["uid"]
        node = WarmNode(name, uid, csi, config, peers)
        self.stack.callback(node.stop)
        self.nodes[name] = node
        return node

    async def _agent_pod(self, node: str) -> Object:
        """As the DaemonSet controller makes it and kubelet reports it."""
        pod = await self.client.create(
            POD,
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"warmset-node-{node}",
                    "labels": {"app.kubernetes.io/name": "warmset", "app.kubernetes.io/component": "node"},
                },
                "spec": {
                    "nodeName": node,
                    "serviceAccountName": "warmset-node",
                    "containers": [{"name": "agent", "image": "warmset"}],
                },
            },
            namespace=NAMESPACE,
        )
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
        status = {"phase": "Running", "conditions": [ready]}
        return await self.client.patch(
            POD, pod["metadata"]["name"], {"status": status}, namespace=NAMESPACE, subresource="status"
        )


def _called_by_address(manifest: Manifest, port: int) -> Manifest:
    """The webhook configuration with an address in place of the service that nothing would route to."""
    if manifest["kind"] != "MutatingWebhookConfiguration":
        return manifest
    webhooks = [
        w | {"clientConfig": {"url": f"https://127.0.0.1:{port}{w['clientConfig']['service']['path']}"}}
        for w in manifest["webhooks"]
    ]
    return manifest | {"webhooks": webhooks}


async def _webhook_answers(client: Client) -> bool:
    """Whether an annotated pod is refused by the controller's own words rather than for want of an answer."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "probe", "annotations": {"warmset.dev/model": "no such model!"}},
        "spec": {"containers": [{"name": "engine", "image": "engine"}]},
    }
    try:
        await client.create(POD, pod, namespace="default")
    except ApiError as error:
        return "denied the request" in error.message
    await client.delete(POD, "probe", namespace="default", grace_s=0)
    return False
