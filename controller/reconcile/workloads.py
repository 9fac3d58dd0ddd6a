"""A Workload of Kueue that waits for our admission check, and the check itself (without a namespace)."""

from __future__ import annotations

from datetime import UTC, datetime

from controller.admission import generated
from controller.groups import Owner
from controller.kueue.check import Answer, answer
from controller.kueue.watch import admission_checks, workloads
from controller.kueue.workload import Workload
from controller.reconcile.context import Context, Work
from controller.warm_sets.naming import warm_set_name
from kube.client import Object
from kube.resources import Resource

RESYNC_S = 10.0  # of a check that is pending: its time may run out

_MANAGER = "warmset-admission-check"  # its own, so that nothing else of these objects is applied


async def reconcile(context: Context, work: Work) -> float | None:
    if not work.namespace:
        await _activate(context, work.name)
        return None
    workload = context.world.workloads.get((work.namespace, work.name))
    if workload is None or workload.finished or not workload.reserved_at:
        return None
    ours = {name: state for name, state in workload.checks.items() if name in context.world.admission_checks}
    if not ours:
        return None
    top = Owner(api_version=workload.api_version, kind="Workload", name=workload.name, uid=workload.uid)
    key = (workload.namespace, warm_set_name(top))
    now = datetime.now(UTC)
    found = answer(
        workload,
        context.world.warm_sets.get(key),
        nodes=context.world.nodes,
        most_s=context.config.max_hold_s,
        now=now,
    )
    if found.nodes:
        await generated.ensure_bare(context.client, context.world, found.asked, top=top)
        await generated.ensure_warm_nodes(context.client, context.world, found.asked, found.nodes, top=top, key=key)
    await _answer(context, workload, [name for name, state in ours.items() if state == "Pending"], found, now=now)
    return RESYNC_S if found.state == "Pending" else None


async def _answer(context: Context, workload: Workload, names: list[str], found: Answer, *, now: datetime) -> None:
    if all(found.state == "Pending" and workload.messages[name] == found.message for name in names):
        return
    at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    checks = [
        {"name": name, "state": found.state, "message": found.message, "lastTransitionTime": at} for name in names
    ]
    resource = workloads(workload.api_version.rpartition("/")[2])
    await _apply(context, resource, workload.name, {"admissionChecks": checks}, namespace=workload.namespace)


async def _activate(context: Context, name: str) -> None:
    """Kueue keeps ClusterQueues inactive whose checks nobody answers for."""
    active = context.world.admission_checks.get(name)
    if active is None or active.ready:
        return
    condition = {
        "type": "Active",
        "status": "True",
        "reason": "Active",
        "message": "the Warmset controller answers it",
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    await _apply(context, admission_checks(active.version), name, {"conditions": [condition]}, namespace=None)


async def _apply(context: Context, resource: Resource, name: str, status: Object, *, namespace: str | None) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "status": status}
    await context.client.patch(
        resource,
        name,
        body,
        namespace=namespace,
        subresource="status",
        kind="apply",
        field_manager=_MANAGER,
        force=True,
    )
