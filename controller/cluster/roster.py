"""Which pods belong to which group, and which plan each group has. The leader's working memory.

A plan is decided here and written to the NodeCaches afterwards; between the two, and for as long as this process
leads, this is what counts. A new leader reads it back from the NodeCaches (takeover.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.cluster.journal import Journal
from controller.groups import GroupMember, Owner
from controller.models.wanted import Wanted
from controller.objects.quantities import Resources, add
from controller.planning.planner import Plan
from controller.warm_sets.naming import warm_set_name
from kube.reflector import Key


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A pod's place: its group, the controllers above it, and the workload at the top."""

    member: GroupMember
    chain: tuple[Owner, ...]
    top: Owner

    @property
    def warm_set(self) -> Key:
        """The WarmSet of the workload."""
        return self.member.namespace, warm_set_name(self.top)


class Roster:
    def __init__(self) -> None:
        self.journal = Journal()  # nodes of which plans take more or less than before
        self.enrolments: dict[Key, Enrolment] = {}
        self.ahead: dict[str, tuple[Wanted, ...]] = {}  # what groups that a workload has no pods for yet will want
        self._pods: dict[str, set[Key]] = {}
        self._of_workload: dict[Key, Counter[str]] = {}  # pods of each group, by WarmSet
        self._plans: dict[str, Plan] = {}
        self._by_node: dict[str, set[str]] = {}

    # -- pods -----------------------------------------------------------------------------------------------

    def enrol(self, pod: Key, enrolment: Enrolment) -> str | None:
        """Returns the group that the pod has left for this one, if any."""
        before = self.enrolments.get(pod)
        if before is not None and before.member.id == enrolment.member.id and before.warm_set == enrolment.warm_set:
            self.enrolments[pod] = enrolment
            return None
        left = self.withdraw(pod)
        self.enrolments[pod] = enrolment
        self._pods.setdefault(enrolment.member.id, set()).add(pod)
        self._of_workload.setdefault(enrolment.warm_set, Counter())[enrolment.member.id] += 1
        return None if left == enrolment.member.id else left

    def withdraw(self, pod: Key) -> str | None:
        """The pod is gone. Returns the group that it was in."""
        before = self.enrolments.pop(pod, None)
        if before is None:
            return None
        members = self._pods[before.member.id]
        members.discard(pod)
        if not members:
            del self._pods[before.member.id]
        groups = self._of_workload[before.warm_set]
        groups.subtract([before.member.id])
        if not groups[before.member.id]:
            del groups[before.member.id]
        if not groups:
            del self._of_workload[before.warm_set]
        return before.member.id

    def groups(self) -> Iterable[str]:
        return tuple(self._pods)

    def groups_of(self, warm_set: Key) -> Iterable[str]:
        """Those of the workload that the WarmSet is for."""
        return tuple(self._of_workload.get(warm_set, ()))

    def pods(self, group: str) -> tuple[Key, ...]:
        return tuple(sorted(self._pods.get(group, ())))

    def enrolment(self, group: str) -> Enrolment | None:
        """The leader's enrolment where it is known, else any member's: they agree on what is read from it."""
        members = [self.enrolments[pod] for pod in self.pods(group)]
        return min(members, key=lambda e: not e.member.leader, default=None)

    # -- plans ----------------------------------------------------------------------------------------------

    def plan(self, group: str) -> Plan:
        return self._plans.get(group, Plan())

    def set_plan(self, group: str, plan: Plan | None) -> frozenset[str]:
        """Returns the nodes whose NodeCache the change concerns."""
        known = self.plan(group)
        before, after = frozenset(known.all_nodes), frozenset(plan.all_nodes if plan else ())
        if before != after or known.reserved != (plan.reserved if plan else {}):
            self.journal.note(before | after)
        for node in before - after:
            self._by_node[node].discard(group)
        for node in after - before:
            self._by_node.setdefault(node, set()).add(group)
        if plan is None:
            self._plans.pop(group, None)
        else:
            self._plans[group] = plan
        return before ^ after

    def plans(self) -> Mapping[str, Plan]:
        return self._plans

    def groups_on(self, node: str) -> tuple[str, ...]:
        """Groups whose plan holds the node."""
        return tuple(sorted(self._by_node.get(node, ())))

    def reserved(self, node: str, *, besides: str) -> Resources:
        """What the plans of all other groups will take of the node."""
        groups = [group for group in self._by_node.get(node, ()) if group != besides]
        return add(self._plans[group].reserved.get(node, {}) for group in groups) if groups else {}
