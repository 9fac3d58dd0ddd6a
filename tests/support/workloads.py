"""Pods and the objects above them, exactly as each workload API's controllers make them (labels, owners, order).

The files hold ``objects`` (owners and PodGroups) and ``pods``; a pod's ``uid`` names it in the tests, since names of
several are made up by the API server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.groups import GroupMember, Owner, gang_reference, resolve
from controller.groups.owner import of_object, of_reference

FOLDER = Path(__file__).resolve().parents[1] / "unit" / "controller" / "groups" / "workloads"
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))

Object = dict[str, Any]


@dataclass(frozen=True)
class Workloads:
    objects: dict[str, Object]
    pods: dict[str, Object]

    def chain(self, pod: Object) -> tuple[Owner, ...]:
        """As the controller walks it, on the objects of the file; one that is not there is known by its reference."""
        found: list[Owner] = []
        reference = _controller(pod)
        while reference is not None:
            owner = self.objects.get(reference["uid"]) or self._pod(reference)
            found.append(of_reference(reference) if owner is None else of_object(owner))
            reference = None if owner is None else _controller(owner)
        return tuple(found)

    def gang(self, pod: Object) -> Owner | None:
        wanted = gang_reference(pod)
        for obj in self.objects.values() if wanted else ():
            if (obj["kind"], obj["metadata"]["name"]) == (wanted.kind, wanted.name):
                return of_object(obj)
        return None

    def member(self, uid: str) -> GroupMember:
        pod = self.pods[uid]
        return resolve(pod, owners=self.chain(pod), gang=self.gang(pod))

    def _pod(self, reference: Object) -> Object | None:
        pod = self.pods.get(reference["uid"]) if reference["kind"] == "Pod" else None
        return None if pod is None else {"apiVersion": "v1", "kind": "Pod", **pod}


def load(name: str) -> Workloads:
    # By way of JSON: what the files share by anchors, the objects must not.
    content = json.loads(json.dumps(yaml.safe_load((FOLDER / f"{name}.yaml").read_text())))
    by_uid = {which: {obj["metadata"]["uid"]: obj for obj in content[which]} for which in ("objects", "pods")}
    return Workloads(objects=by_uid["objects"], pods=by_uid["pods"])


def _controller(obj: Object) -> Object | None:
    references: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((reference for reference in references if reference.get("controller")), None)
