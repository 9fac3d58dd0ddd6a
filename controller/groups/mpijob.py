"""MPI Operator (kubeflow.org/v2beta1): the workers, and the launcher with them where it is made at the start.

With ``launcherCreationPolicy: WaitForWorkersReady`` the launcher's Job is made only when all workers are Ready: it is
then a group of its own, so that no worker's plan counts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.groups.member import GroupMember, Part, Subject, whole_number
from controller.groups.parts import asking, total

_PREFIX = "training.kubeflow.org/"


def resolve(subject: Subject) -> GroupMember | None:
    labels = subject.labels
    if labels.get(_PREFIX + "operator-name") != "mpi-operator":
        return None
    job = labels.get(_PREFIX + "job-name", "")
    role = labels.get(_PREFIX + "job-role", "")
    owner = subject.owner("MPIJob", group="kubeflow.org")
    spec = owner.spec if owner is not None else {}
    late = spec.get("launcherCreationPolicy") == "WaitForWorkersReady"
    together = [role] if late and role else ["launcher", "worker"]
    replicas = spec.get("mpiReplicaSpecs") or {}
    parts = asking(_part(name, replicas.get(name.capitalize())) for name in together)
    return GroupMember(
        system="mpijob",
        namespace=subject.namespace,
        key=f"{job}/{role}" if late else job,
        name=job,
        size=total(parts),
        index=whole_number(labels.get(_PREFIX + "replica-index"), least=0),
        leader=role == "launcher",
        incarnation=owner.uid if owner is not None else "",
        role=role,
        parts=parts,
    )


def _part(role: str, spec: Mapping[str, Any] | None) -> Part:
    if spec is None:
        return Part(role, 0)
    # The launcher's replicas are 1 whatever is written.
    count = 1 if role == "launcher" else int(spec.get("replicas", 1))
    return Part(role, count, spec.get("template") or {})
