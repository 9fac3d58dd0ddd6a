"""What every reconcile works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from controller.broker.cohorts import Cohorts
from controller.cluster.owners import Owners
from controller.cluster.roster import Roster
from controller.cluster.snapshots import Snapshots
from controller.cluster.world import World
from controller.config import Config
from controller.events import Events
from controller.gate.decide import Decision
from controller.metrics import Metrics
from controller.models.wanted import Wanted
from controller.queue import WorkQueue
from controller.warm_sets.eta import Paces
from kube.client import Client

Kind = Literal["model", "pod", "group", "node", "warmset", "workload"]


class Work(NamedTuple):
    """A key of the queue. Groups go by id and nodes by name, without a namespace."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Queues:
    """Models have their own: a registry that does not answer must not keep groups from being let go."""

    main: WorkQueue[Work] = field(default_factory=WorkQueue)
    models: WorkQueue[Work] = field(default_factory=WorkQueue)

    def of(self, kind: Kind) -> WorkQueue[Work]:
        return self.models if kind == "model" else self.main

    def close(self) -> None:
        self.main.close()
        self.models.close()


@dataclass(frozen=True, slots=True)
class Context:
    client: Client
    config: Config
    world: World
    roster: Roster
    snapshots: Snapshots
    owners: Owners
    events: Events
    metrics: Metrics
    queues: Queues
    reports: dict[str, Decision]  # the last decision about each group, for the WarmSets' status
    freed: dict[str, datetime]  # when a stranded pod of a group was last deleted
    cohorts: Cohorts
    paces: dict[tuple[str, str], Paces]  # of each WarmSet's nodes
    refused: dict[str, frozenset[Wanted]]  # what quotas keep off each node
    # By a node's UID and an image: whether it is there, and until when nobody need look again.
    images: dict[tuple[str, str], tuple[bool, datetime]]

    def group(self, group: str) -> None:
        self.queues.main.add(Work("group", "", group))

    def node(self, name: str) -> None:
        self.queues.main.add(Work("node", "", name))

    def warm_set(self, namespace: str, name: str) -> None:
        """Status of WarmSets: several changes within a moment are one write."""
        self.queues.main.add_later(Work("warmset", namespace, name), STATUS_DELAY_S)


STATUS_DELAY_S = 0.2
