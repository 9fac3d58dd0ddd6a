"""Kueue played on a real API server: its resource types as far as we read them, and what its controllers write."""

from __future__ import annotations

from typing import Any

from controller.kueue.watch import admission_checks, workloads
from kube.client import Client, Object
from kube.resources import POD, Resource
from tests.support import crds
from tests.support.crds import ANYTHING

WORKLOAD = workloads("v1beta2")
ADMISSION_CHECK = admission_checks("v1beta2")
HOSTNAME = "kubernetes.io/hostname"
# Of Kueue's own definition (config/components/crd), what server-side apply goes by.
_CHECKS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {
        "type": "object",
        "required": ["lastTransitionTime", "message", "name", "state"],
        "properties": {
            "name": {"type": "string"},
            "state": {"type": "string", "enum": ["Pending", "Ready", "Retry", "Rejected"]},
            "message": {"type": "string", "maxLength": 32768},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    },
}
_STATUS = ANYTHING | {"properties": {"admissionChecks": _CHECKS}}


async def install_kueue(client: Client) -> None:
    await crds.install(client, _definition(WORKLOAD, status=_STATUS), _definition(ADMISSION_CHECK))


async def uninstall_kueue(client: Client) -> None:
    await crds.uninstall(client, WORKLOAD, ADMISSION_CHECK)


def _definition(resource: Resource, *, status: Object = ANYTHING) -> Object:
    schema = {"type": "object", "properties": {"spec": ANYTHING, "status": status}}
    return crds.definition(resource, schema=schema, status=True)


async def make_workload(client: Client, name: str, *, namespace: str, pod_sets: list[Object]) -> Object:
    body = {
        "apiVersion": WORKLOAD.api_version,
        "kind": "Workload",
        "metadata": {"name": name},
        "spec": {"podSets": pod_sets},
    }
    return await client.create(WORKLOAD, body, namespace=namespace)


async def assign(client: Client, name: str, *, namespace: str, pod_set: str, hosts: list[str], **status: Any) -> None:
    """One pod on each of ``hosts``, as topology-aware scheduling writes it when it reserves quota."""
    part = {"domainCount": len(hosts), "valuesPerLevel": [{"roots": hosts}], "universalPodCount": 1}
    assignment = {"levels": [HOSTNAME], "slices": [part]}
    admission = {
        "clusterQueue": "gpu",
        "podSetAssignments": [{"name": pod_set, "count": len(hosts), "topologyAssignment": assignment}],
    }
    await client.patch(
        WORKLOAD, name, {"status": {"admission": admission, **status}}, namespace=namespace, subresource="status"
    )


async def ungate(client: Client, pod: str, *, namespace: str, host: str) -> None:
    """Admission and the topology ungater: their gates gone, the node selector added."""
    body = await client.get(POD, pod, namespace=namespace)
    kept = [gate for gate in body["spec"]["schedulingGates"] if not gate["name"].startswith("kueue.x-k8s.io/")]
    patch = [
        {"op": "replace", "path": "/spec/schedulingGates", "value": kept},
        {"op": "add", "path": "/spec/nodeSelector", "value": {HOSTNAME: host}},
    ]
    await client.patch(POD, pod, patch, namespace=namespace, kind="json")
